//! What an export came to, or why there is none. A failure changes nothing in the archive, and leaves nothing incomplete.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Contents;
use super::lists::Absence;
use crate::archive::ArchiveError;
use crate::base::digest::Digest;
use crate::formats::tlog::TlogError;
use crate::proof::notary::PublishedError;

/// Further lines of the operator's list, and further absences, are only counted.
const NAMED_MAX: usize = 100;

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub path: PathBuf,
    /// The SHA-256 of `tagmanifest-sha256.txt`, which covers the whole bag.
    pub bag_sha256: Digest,
    /// The ledger entry of the export; none before the export is handed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger_number: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    pub calls: u64,
    pub recordings: u64,
    /// Audio files that are in it as archived.
    pub files: u64,
    pub bytes: u64,
    pub ledger_size: u64,
    pub anchors: u64,
    pub anchors_not_verified: u64,
    pub certificates: u64,
    /// Never archived, and not excluded by a rule.
    pub not_archived: u64,
    pub excluded: u64,
    /// Archived files that are gone or have changed.
    pub damaged: u64,
    /// Up to 100.
    pub damaged_paths: Vec<String>,
    /// Lines of the operator's list that match nothing.
    pub unknown: u64,
    /// Up to 100.
    pub unknown_lines: Vec<String>,
}

impl Report {
    pub(super) fn of(contents: &Contents<'_>, path: PathBuf, bag_sha256: Digest) -> Self {
        let Contents { selection, copied, log, tokens, .. } = contents;
        let days = selection.days();
        let verified = tokens.iter().filter(|token| token.is_verified()).count();
        let (damage, others): (Vec<&Absence>, Vec<&Absence>) =
            copied.absent.iter().partition(|absence| absence.is_damage());
        let excluded = others.iter().filter(|absence| absence.is_excluded()).count();
        Self {
            path,
            bag_sha256,
            ledger_number: None,
            from: days.map(|(from, _)| from.to_owned()),
            to: days.map(|(_, to)| to.to_owned()),
            calls: selection.calls.len() as u64,
            recordings: selection.recordings.len() as u64,
            files: copied.files,
            bytes: copied.bytes,
            ledger_size: log.checkpoint.size,
            anchors: verified as u64,
            anchors_not_verified: (tokens.len() - verified) as u64,
            certificates: copied.certificates.len() as u64,
            not_archived: (others.len() - excluded) as u64,
            excluded: excluded as u64,
            damaged: damage.len() as u64,
            damaged_paths: damage.iter().take(NAMED_MAX).map(|absence| absence.path.clone()).collect(),
            unknown: selection.unknown.len() as u64,
            unknown_lines: selection.unknown.iter().take(NAMED_MAX).cloned().collect(),
        }
    }
}

pub(super) type Result<T, E = ExportError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("cannot {action} `{path}`: {error}")]
    Io { action: &'static str, path: PathBuf, error: io::Error },
    #[error("`{0}` already exists and is not overwritten: name another folder with --out")]
    Taken(PathBuf),
    #[error("`{0}` is not a name for a new folder: name one with --out")]
    NoName(PathBuf),
    /// No folder can get the name of a link or a mount point.
    #[error("`{0}` is a link or a mount point: name a new folder in it with --out")]
    Elsewhere(PathBuf),
    #[error("`{0}` is in the archive or in the state folder: name a folder elsewhere with --out")]
    Inside(PathBuf),
    #[error("`{0}` does not exist: create that folder first")]
    NoParent(PathBuf),
    #[error(
        "`{path}` has room for {free_bytes} bytes, but the originals need {needed_bytes}: make room or export less"
    )]
    NoRoom { path: PathBuf, free_bytes: u64, needed_bytes: u64 },
    #[error("the ledger is not signed as far as this export needs: `callvault status` says why")]
    Unsealed,
    #[error(
        "the published ledger differs from what was signed: `callvault ledger check` says which file is damaged"
    )]
    Ledger,
    #[error(transparent)]
    Published(#[from] PublishedError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("interrupted: nothing was exported; run the same command again")]
    Interrupted,
}

impl ExportError {
    pub(super) fn io(action: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), error }
    }

    /// Whether the operator can solve it by another command line or more room.
    pub fn is_usage(&self) -> bool {
        !self.is_damage() && !matches!(self, Self::Unsealed | Self::Interrupted)
    }

    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Ledger | Self::Published(_))
    }
}

impl From<TlogError> for ExportError {
    fn from(_: TlogError) -> Self {
        Self::Ledger
    }
}
