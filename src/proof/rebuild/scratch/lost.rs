//! Entries of the ledger whose file was not found as it was, and what may have been it.

use anyhow::Context as _;
use sqlx::{FromRow, SqliteConnection};

use crate::proof::rebuild::entry::FileEntry;
use crate::proof::rebuild::found::ListedFile;

/// Notes a file that is listed and not there as it was.
pub(in crate::proof::rebuild) async fn keep_listed(
    tx: &mut SqliteConnection,
    listed: &ListedFile,
) -> anyhow::Result<()> {
    sqlx::query("insert into scratch.listed (path, sha256, sidecar_sha256) values (?, ?, ?)")
        .bind(&listed.path)
        .bind(&listed.sha256.as_bytes()[..])
        .bind(&listed.sidecar_sha256.as_bytes()[..])
        .execute(tx)
        .await
        .with_context(|| format!("noting {}", listed.path))?;
    Ok(())
}

/// Notes an entry without a file.
pub(in crate::proof::rebuild) async fn keep_entry(
    tx: &mut SqliteConnection,
    entry: &FileEntry,
) -> anyhow::Result<()> {
    sqlx::query(
        "insert into scratch.entries (number, conflict, pbx, day, recording, sha256, sidecar_sha256, size_bytes, gap, at_ms)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(entry.number)
    .bind(entry.conflict)
    .bind(&entry.pbx)
    .bind(entry.day.to_string())
    .bind(&entry.recording.as_bytes()[..])
    .bind(&entry.sha256.as_bytes()[..])
    .bind(&entry.sidecar_sha256.as_bytes()[..])
    .bind(i64::try_from(entry.size_bytes)?)
    .bind(entry.gap)
    .bind(entry.at.as_millisecond())
    .execute(tx)
    .await
    .with_context(|| format!("noting entry {}", entry.number))?;
    Ok(())
}

/// Notes what is odd about the audio of an entry without a file.
pub(in crate::proof::rebuild) async fn keep_suspicion(
    tx: &mut SqliteConnection,
    number: i64,
    suspect: &[String],
) -> anyhow::Result<()> {
    sqlx::query("update scratch.entries set suspect = ? where number = ?")
        .bind(suspect.join(","))
        .bind(number)
        .execute(tx)
        .await
        .context("noting what is odd about a file")?;
    Ok(())
}

/// An entry without a file.
#[derive(Debug, FromRow)]
pub(in crate::proof::rebuild) struct OpenEntry {
    pub(in crate::proof::rebuild) number: i64,
    pub(in crate::proof::rebuild) conflict: bool,
    pub(in crate::proof::rebuild) pbx: String,
    pub(in crate::proof::rebuild) day: String,
    pub(in crate::proof::rebuild) recording: Vec<u8>,
    pub(in crate::proof::rebuild) sha256: Vec<u8>,
    pub(in crate::proof::rebuild) sidecar_sha256: Vec<u8>,
    pub(in crate::proof::rebuild) size_bytes: i64,
    pub(in crate::proof::rebuild) gap: Option<i64>,
    pub(in crate::proof::rebuild) at_ms: i64,
    pub(in crate::proof::rebuild) suspect: String,
}

/// The next entry without a file, after that of number `after`.
pub(in crate::proof::rebuild) async fn open_entry_after(
    db: &mut SqliteConnection,
    after: i64,
) -> anyhow::Result<Option<OpenEntry>> {
    sqlx::query_as("select * from scratch.entries where number > ? order by number limit 1")
        .bind(after)
        .fetch_optional(db)
        .await
        .context("reading entries without a file")
}

/// Makes files findable that no entry tells of: all entries have been seen.
pub(in crate::proof::rebuild) async fn index_unnamed(tx: &mut SqliteConnection) -> anyhow::Result<()> {
    for index in [
        "create index scratch.files_unnamed on files (pbx, day) where number is null",
        "create index scratch.listed_by_sidecar on listed (sidecar_sha256)",
    ] {
        sqlx::query(index).execute(&mut *tx).await.context("sorting what no entry tells of")?;
    }
    Ok(())
}

/// Where the file of an entry was by the word of a `SHA256SUMS`.
pub(in crate::proof::rebuild) async fn listed_path(
    db: &mut SqliteConnection,
    entry: &OpenEntry,
) -> anyhow::Result<Option<String>> {
    sqlx::query_scalar("select path from scratch.listed where sidecar_sha256 = ? and sha256 = ? limit 1")
        .bind(&entry.sidecar_sha256)
        .bind(&entry.sha256)
        .fetch_optional(db)
        .await
        .context("looking for the name of a file")
}

/// A file whose sidecar is not the one that an entry tells of, but which is that entry's all the same: by its place, by
/// what the entry names the recording by, or by its audio.
pub(in crate::proof::rebuild) async fn altered_file(
    tx: &mut SqliteConnection,
    entry: &OpenEntry,
    path: Option<&str>,
) -> anyhow::Result<Option<(i64, String)>> {
    sqlx::query_as(
        "select id, path from scratch.files where number is null and pbx = ?1 and day = ?2
             and (path = ?3 or commitment = ?4 or sha256 = ?5)
         order by path = ?3 desc, commitment = ?4 desc, displaced, id limit 1",
    )
    .bind(&entry.pbx)
    .bind(&entry.day)
    .bind(path)
    .bind(&entry.recording)
    .bind(&entry.sha256)
    .fetch_optional(tx)
    .await
    .context("looking for an altered file")
}

/// Takes a file for that of an entry, whose word counts.
pub(in crate::proof::rebuild) async fn take_file(
    tx: &mut SqliteConnection,
    id: i64,
    entry: &OpenEntry,
) -> anyhow::Result<()> {
    sqlx::query(
        "update scratch.files set number = ?, conflict = ?, gap = ?, at_ms = ?, sha256 = ?, sidecar_sha256 = ?,
             size_bytes = ? where id = ?",
    )
    .bind(entry.number)
    .bind(entry.conflict)
    .bind(entry.gap)
    .bind(entry.at_ms)
    .bind(&entry.sha256)
    .bind(&entry.sidecar_sha256)
    .bind(entry.size_bytes)
    .bind(id)
    .execute(tx)
    .await
    .context("taking an altered file for what it was")?;
    Ok(())
}

/// Notes the file of an entry, which was at `path` and is gone.
pub(in crate::proof::rebuild) async fn keep_gone(
    tx: &mut SqliteConnection,
    entry: &OpenEntry,
    path: &str,
    recording_id: i64,
) -> anyhow::Result<()> {
    sqlx::query(
        "insert into scratch.files (recording_id, pbx, kind, day, path, size_bytes, sha256, sidecar_sha256, format, suspect,
             commitment, displaced, number, conflict, gap, at_ms)
         values (?, ?, '', ?, ?, ?, ?, ?, 'other', ?, ?, 0, ?, ?, ?, ?)",
    )
    .bind(recording_id)
    .bind(&entry.pbx)
    .bind(&entry.day)
    .bind(path)
    .bind(entry.size_bytes)
    .bind(&entry.sha256)
    .bind(&entry.sidecar_sha256)
    .bind(&entry.suspect)
    .bind(&entry.recording)
    .bind(entry.number)
    .bind(entry.conflict)
    .bind(entry.gap)
    .bind(entry.at_ms)
    .execute(tx)
    .await
    .with_context(|| format!("noting {path}"))?;
    Ok(())
}
