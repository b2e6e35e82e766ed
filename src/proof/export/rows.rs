//! The SQL of exporting: it only reads.

use std::collections::BTreeMap;

use anyhow::Context as _;
use sqlx::{FromRow, SqliteConnection};

use crate::base::digest::Digest;
use crate::proof::certificate::Names;
use crate::store::queue::DayRange;

/// A call.
#[derive(Debug, Clone, FromRow)]
pub(super) struct CallRow {
    pub(super) id: i64,
    pub(super) pbx: String,
    pub(super) day: String,
    pub(super) started_at_ms: Option<i64>,
    pub(super) utc_offset_s: i64,
    pub(super) offset_source: String,
    pub(super) zone_offset_s: Option<i64>,
    pub(super) talk_s: Option<i64>,
    pub(super) first_seen_at_ms: i64,
    pub(super) row: String,
    pub(super) recording_id: Option<i64>,
    /// Of the recording that it names.
    pub(super) path: Option<String>,
    /// Of the same.
    pub(super) state: Option<String>,
}

/// A recording, archived or not.
#[derive(Debug, Clone, FromRow)]
pub(super) struct RecordingRow {
    pub(super) id: i64,
    pub(super) pbx: String,
    pub(super) kind: String,
    pub(super) sn: String,
    pub(super) name: Vec<u8>,
    pub(super) day: String,
    pub(super) started_at_ms: i64,
    pub(super) path: String,
    pub(super) state: String,
    pub(super) reason: Option<String>,
    #[sqlx(rename = "final")]
    pub(super) is_final: bool,
    pub(super) attempts: i64,
    /// Of a voicemail message.
    pub(super) extension: Option<String>,
    /// Of a voicemail message.
    pub(super) caller: Option<String>,
    /// By the PBX's clock.
    pub(super) utc_offset_s: Option<i64>,
}

/// A file of a recording.
#[derive(Debug, Clone, FromRow)]
pub(super) struct FileRow {
    pub(super) path: String,
    pub(super) size_bytes: i64,
    pub(super) sha256: Vec<u8>,
    pub(super) sidecar_sha256: Vec<u8>,
    pub(super) format: String,
    pub(super) duration_ms: Option<i64>,
    pub(super) suspect: String,
    pub(super) archived_at_ms: i64,
    pub(super) ledger_number: i64,
}

/// A certificate of a day.
#[derive(Debug, Clone, FromRow)]
pub(super) struct CertificateRow {
    pub(super) revision: i64,
    /// Of its document.
    pub(super) path: String,
    pub(super) pbx: String,
    pub(super) day: String,
    /// The hash of its document when it was issued.
    sha256: Vec<u8>,
    /// The hash of its page, in hex, by its entry of the ledger; none in entries of version 0.1.
    page_sha256: Option<String>,
    /// All its files, and their hashes.
    #[sqlx(skip)]
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

impl CertificateRow {
    /// Where its file of this name is in the archive.
    pub(super) fn path_of(&self, name: &str) -> String {
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{name}")
    }

    /// Whether the ledger has the hash of its page.
    pub(super) fn is_page_proven(&self) -> bool {
        self.page_sha256.is_some()
    }
}

/// The certificates of a PBX's days, all revisions.
pub(super) async fn certificates(
    db: &mut SqliteConnection,
    pbx: &str,
    days: DayRange,
) -> anyhow::Result<Vec<CertificateRow>> {
    let (from, to) = days.bounds();
    let mut certificates: Vec<CertificateRow> = sqlx::query_as(
        "select revision, path, pbx, day, sha256,
             (select entry ->> 'page_sha256' from ledger where number = ledger_number) as page_sha256
         from certificates where pbx = ? and day between ? and ? order by day, revision",
    )
    .bind(pbx)
    .bind(from)
    .bind(to)
    .fetch_all(&mut *db)
    .await
    .context("reading certificates")?;
    for certificate in &mut certificates {
        let stem = certificate.path.strip_suffix(".json").unwrap_or(&certificate.path);
        let files: Vec<(String, Vec<u8>)> =
            sqlx::query_as("select path, sha256 from day_files where path glob ?")
                .bind(format!("{stem}.*"))
                .fetch_all(&mut *db)
                .await
                .context("reading the files of a certificate")?;
        certificate.files = files.into_iter().collect();
        // What the ledger tells was issued, whatever the catalog was rebuilt from.
        let document = (certificate.path.clone(), certificate.sha256.clone());
        let page = certificate.page_sha256.as_deref().and_then(|hex| hex.parse::<Digest>().ok());
        let page = page.map(|page| {
            let name = Names { revision: certificate.revision }.page();
            (certificate.path_of(&name), page.as_bytes().to_vec())
        });
        certificate.files.extend([document].into_iter().chain(page));
    }
    Ok(certificates)
}

/// Every PBX that was ever heard of.
pub async fn pbxs(db: &mut SqliteConnection) -> anyhow::Result<Vec<String>> {
    sqlx::query_scalar("select id from pbx order by id").fetch_all(db).await.context("listing the PBXs")
}

/// The calls of a PBX within `days`, in their order.
pub(super) async fn calls(
    db: &mut SqliteConnection,
    pbx: &str,
    days: DayRange,
) -> anyhow::Result<Vec<CallRow>> {
    let (from, to) = days.bounds();
    sqlx::query_as(
        "select calls.*, path, state from calls left join recordings on recordings.id = recording_id
         where calls.pbx = ? and calls.day between ? and ? order by calls.day, calls.started_at_ms, calls.id",
    )
    .bind(pbx)
    .bind(from)
    .bind(to)
    .fetch_all(db)
    .await
    .context("reading calls")
}

/// All calls that name a recording.
pub(super) async fn calls_of_recording(db: &mut SqliteConnection, id: i64) -> anyhow::Result<Vec<CallRow>> {
    sqlx::query_as(
        "select calls.*, path, state from calls join recordings on recordings.id = recording_id
         where recording_id = ?",
    )
    .bind(id)
    .fetch_all(db)
    .await
    .context("reading the calls of a recording")
}

/// The recordings of a PBX within `days`.
pub(super) async fn recordings(
    db: &mut SqliteConnection,
    pbx: &str,
    days: DayRange,
) -> anyhow::Result<Vec<RecordingRow>> {
    let (from, to) = days.bounds();
    sqlx::query_as(
        "select recordings.*, extension, caller, utc_offset_s from recordings
         left join voicemails on recording_id = recordings.id
         where recordings.pbx = ? and day between ? and ? order by recordings.id",
    )
    .bind(pbx)
    .bind(from)
    .bind(to)
    .fetch_all(db)
    .await
    .context("reading recordings")
}

/// One recording.
pub(super) async fn recording(db: &mut SqliteConnection, id: i64) -> anyhow::Result<RecordingRow> {
    sqlx::query_as(
        "select recordings.*, extension, caller, utc_offset_s from recordings
         left join voicemails on recording_id = recordings.id where recordings.id = ?",
    )
    .bind(id)
    .fetch_one(db)
    .await
    .context("reading a recording")
}

/// The files of a recording, in the order in which they were archived.
pub(super) async fn files(db: &mut SqliteConnection, recording: i64) -> anyhow::Result<Vec<FileRow>> {
    sqlx::query_as("select * from archived_files where recording_id = ? order by id")
        .bind(recording)
        .fetch_all(db)
        .await
        .context("reading the files of a recording")
}
