//! What an export reads.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Serialize;
use sqlx::FromRow;

use super::queue::DayRange;
use crate::base::digest::Digest;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, MaybeMs, Ms, RowText};

/// A call, as a line of `data/cdr.jsonl`.
#[derive(Debug, Clone, FromRow, Serialize)]
pub struct CallRow {
    #[serde(skip)]
    pub id: i64,
    pub pbx: String,
    pub day: String,
    #[sqlx(rename = "started_at_ms", try_from = "MaybeMs")]
    pub started_at: Option<Timestamp>,
    pub utc_offset_s: i64,
    pub offset_source: String,
    pub zone_offset_s: Option<i64>,
    #[serde(skip)]
    pub talk_s: Option<i64>,
    #[sqlx(rename = "first_seen_at_ms", try_from = "Ms")]
    pub first_seen_at: Timestamp,
    #[serde(skip)]
    pub recording_id: Option<i64>,
    /// Of the recording that it names, like `state`.
    #[serde(rename = "recording")]
    pub path: Option<String>,
    #[serde(rename = "recording_state")]
    pub state: Option<String>,
    pub row: RowText,
}

#[derive(Debug, Clone, FromRow)]
pub struct RecordingRow {
    pub id: i64,
    pub pbx: String,
    pub kind: String,
    pub sn: String,
    pub name: Vec<u8>,
    pub day: String,
    #[sqlx(rename = "started_at_ms", try_from = "Ms")]
    pub started_at: Timestamp,
    pub path: String,
    pub state: String,
    pub reason: Option<String>,
    #[sqlx(rename = "final")]
    pub is_final: bool,
    pub attempts: i64,
    /// Of a voicemail message, like `caller`.
    pub extension: Option<String>,
    pub caller: Option<String>,
    /// By the PBX's clock.
    pub utc_offset_s: Option<i64>,
}

/// An archived file, as `data/files.jsonl` tells of it.
#[derive(Debug, Clone, FromRow, Serialize)]
pub struct FileRow {
    pub path: String,
    pub size_bytes: u64,
    pub sha256: Digest,
    pub sidecar_sha256: Digest,
    #[serde(skip)]
    pub format: String,
    #[serde(skip)]
    pub duration_ms: Option<i64>,
    #[serde(skip)]
    pub suspect: String,
    #[serde(skip)]
    #[sqlx(rename = "archived_at_ms", try_from = "Ms")]
    pub archived_at: Timestamp,
    pub ledger_number: u64,
}

#[derive(Debug, Clone, FromRow)]
pub struct CertificateRow {
    pub revision: i64,
    pub path: String,
    pub pbx: String,
    pub day: String,
    sha256: Digest,
    /// The hash of its page from its ledger entry, in hex; none in entries of version 0.1.
    page_sha256: Option<String>,
    #[sqlx(skip)]
    pub files: BTreeMap<String, Digest>,
}

impl CertificateRow {
    pub fn path_of(&self, name: &str) -> String {
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{name}")
    }

    pub fn is_page_proven(&self) -> bool {
        self.page_sha256.is_some()
    }
}

pub async fn certificates(db: &mut Conn, pbx: &str, days: DayRange) -> Result<Vec<CertificateRow>> {
    let (from, to) = days.bounds();
    let mut certificates: Vec<CertificateRow> = sqlx::query_as(
        "select revision, path, pbx, day, sha256,
             (select entry ->> 'page_sha256' from ledger where number = ledger_number) as page_sha256
         from certificates where pbx = ? and day between ? and ? order by day, revision",
    )
    .bind_all((pbx, from, to))
    .all(db, "reading certificates")
    .await?;
    for certificate in &mut certificates {
        let stem = certificate.path.strip_suffix(".json").unwrap_or(&certificate.path).to_owned();
        let files: Vec<(String, Digest)> =
            sqlx::query_as("select path, sha256 from day_files where path glob ?")
                .bind(format!("{stem}.*"))
                .all(db, "reading the files of a certificate")
                .await?;
        certificate.files = files.into_iter().collect();
        // The ledger says what was issued, whatever the catalog was rebuilt from.
        let document = (certificate.path.clone(), certificate.sha256);
        let page = certificate.page_sha256.as_deref().map(str::parse::<Digest>).transpose();
        let page = page.context("reading the hash of a page from the ledger")?;
        let page = page.map(|page| (format!("{stem}.html"), page));
        certificate.files.extend([document].into_iter().chain(page));
    }
    Ok(certificates)
}

pub async fn pbxs(db: &mut Conn) -> Result<Vec<String>> {
    sqlx::query_scalar("select id from pbx order by id").all(db, "listing the PBXs").await
}

/// The calls of a PBX within `days`, in their order.
pub async fn calls(db: &mut Conn, pbx: &str, days: DayRange) -> Result<Vec<CallRow>> {
    let (from, to) = days.bounds();
    sqlx::query_as(
        "select calls.*, path, state from calls left join recordings on recordings.id = recording_id
         where calls.pbx = ? and calls.day between ? and ? order by calls.day, calls.started_at_ms, calls.id",
    )
    .bind_all((pbx, from, to))
    .all(db, "reading calls")
    .await
}

pub async fn calls_of_recording(db: &mut Conn, id: i64) -> Result<Vec<CallRow>> {
    sqlx::query_as(
        "select calls.*, path, state from calls join recordings on recordings.id = recording_id
         where recording_id = ?",
    )
    .bind(id)
    .all(db, "reading the calls of a recording")
    .await
}

pub async fn recordings(db: &mut Conn, pbx: &str, days: DayRange) -> Result<Vec<RecordingRow>> {
    let (from, to) = days.bounds();
    sqlx::query_as(
        "select recordings.*, extension, caller, utc_offset_s from recordings
         left join voicemails on recording_id = recordings.id
         where recordings.pbx = ? and day between ? and ? order by recordings.id",
    )
    .bind_all((pbx, from, to))
    .all(db, "reading recordings")
    .await
}

pub async fn recording(db: &mut Conn, id: i64) -> Result<RecordingRow> {
    sqlx::query_as(
        "select recordings.*, extension, caller, utc_offset_s from recordings
         left join voicemails on recording_id = recordings.id where recordings.id = ?",
    )
    .bind(id)
    .one(db, "reading a recording")
    .await
}

/// The files of a recording, in the order in which they were archived.
pub async fn files(db: &mut Conn, recording: i64) -> Result<Vec<FileRow>> {
    sqlx::query_as("select * from archived_files where recording_id = ? order by id")
        .bind(recording)
        .all(db, "reading the files of a recording")
        .await
}
