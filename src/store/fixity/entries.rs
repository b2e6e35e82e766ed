//! Ledger and catalog side by side.

use sqlx::SqliteConnection;

use crate::store::sql::{BindAll as _, Fetch as _};

/// An entry of the ledger, with the file that the catalog has for it, if any.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct EntryRow {
    pub number: i64,
    /// Its bytes.
    pub entry: String,
    /// The hash that is stored as its leaf.
    pub leaf_hash: Vec<u8>,
    /// What the catalog has for it.
    #[sqlx(skip)]
    pub file: Option<Named>,
}

/// A file of the catalog as an entry should tell it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Named {
    /// The entry's number, by the catalog.
    pub ledger_number: i64,
    pub pbx: String,
    pub path: String,
    /// The hash of its audio.
    pub sha256: Vec<u8>,
    pub sidecar_sha256: Vec<u8>,
    /// The size of its audio.
    pub size_bytes: i64,
    /// Whether it is the second file of its recording.
    pub conflict: bool,
}

/// The next `limit` entries from `number` on, each once for every file that the catalog has for it.
pub async fn entries(db: &mut SqliteConnection, number: i64, limit: i64) -> anyhow::Result<Vec<EntryRow>> {
    let entries: Vec<EntryRow> = sqlx::query_as(
        "select number, entry, leaf_hash from ledger where number >= ? order by number limit ?",
    )
    .bind_all((number, limit))
    .all(db, "reading the ledger")
    .await?;
    let Some(last) = entries.last().map(|entry| entry.number) else { return Ok(entries) };
    let mut named = named(db, number, last).await?.into_iter().peekable();
    let mut rows = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut of_entry: Vec<Named> = Vec::new();
        while let Some(file) = named.next_if(|file| file.ledger_number <= entry.number) {
            of_entry.extend((file.ledger_number == entry.number).then_some(file));
        }
        match of_entry.is_empty() {
            true => rows.push(entry),
            false => {
                rows.extend(of_entry.into_iter().map(|file| EntryRow { file: Some(file), ..entry.clone() }))
            }
        }
    }
    Ok(rows)
}

async fn named(db: &mut SqliteConnection, from: i64, to: i64) -> anyhow::Result<Vec<Named>> {
    sqlx::query_as(
        "select ledger_number, pbx, file.path, sha256, sidecar_sha256, size_bytes, conflict
         from archived_files file join recordings on recordings.id = recording_id
         where ledger_number between ? and ? order by ledger_number",
    )
    .bind_all((from, to))
    .all(db, "reading the catalog by entry")
    .await
}

/// Files of the catalog whose entry is not there, at most `limit` of them: PBX, path and number.
pub async fn rows_without_entry(
    db: &mut SqliteConnection,
    limit: i64,
) -> anyhow::Result<Vec<(String, String, i64)>> {
    sqlx::query_as(
        "select pbx, file.path, ledger_number
         from archived_files file join recordings on recordings.id = recording_id
         where not exists (select 1 from ledger where number = ledger_number) order by ledger_number limit ?",
    )
    .bind(limit)
    .all(db, "looking for files without an entry")
    .await
}
