//! What can go wrong with an export, each with one sentence that says what to do. Nothing of the archive is changed by any
//! of them, and nothing half is left behind.

use std::io;
use std::path::{Path, PathBuf};

use crate::archive::ArchiveError;
use crate::formats::tlog::TlogError;
use crate::proof::notary::PublishedError;

/// Why nothing was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Something cannot be written or read outside the archive.
    #[error("cannot {action} `{path}`: {error}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the filesystem says.
        error: io::Error,
    },
    /// There is something at the place of the export.
    #[error("`{0}` is there already, and nothing is overwritten: name another folder with --out")]
    Taken(PathBuf),
    /// The place of the export has no name.
    #[error("`{0}` is no name for a new folder: name one with --out")]
    NoName(PathBuf),
    /// The place of the export is a link, or where a filesystem is mounted: no folder can get that name.
    #[error("`{0}` is a link, or where a filesystem is mounted: name a new folder in it with --out")]
    Elsewhere(PathBuf),
    /// The place of the export is in the archive or in the state.
    #[error("`{0}` is in the archive or in the state folder: name a folder elsewhere with --out")]
    Inside(PathBuf),
    /// The folder that the export is to be in does not exist.
    #[error("`{0}` is not there: make that folder first")]
    NoParent(PathBuf),
    /// There is less room than the originals need.
    #[error(
        "`{path}` has room for {free_bytes} bytes, and the originals are {needed_bytes}: make room or export less"
    )]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// What there is.
        free_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// The checkpoint does not cover all that is to be exported.
    #[error("the ledger is not signed up to what is to be exported: `callvault status` says why")]
    Unsealed,
    /// The published ledger is not what was signed.
    #[error(
        "the published ledger is not what was signed: `callvault ledger check` says which file is damaged"
    )]
    Ledger,
    /// A file of the published ledger cannot be read.
    #[error(transparent)]
    Published(#[from] PublishedError),
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The operator ended it.
    #[error("interrupted: nothing was exported; run the same command again")]
    Interrupted,
}

impl ExportError {
    pub(super) fn io(action: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), error }
    }

    /// Whether an operator can mend it by another command line or more room.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Io { .. }
                | Self::NoName(_)
                | Self::Elsewhere(_)
                | Self::Taken(_)
                | Self::Inside(_)
                | Self::NoParent(_)
                | Self::NoRoom { .. }
                | Self::Archive(_)
        )
    }

    /// Whether the published ledger is damaged.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Ledger | Self::Published(_))
    }
}

impl From<TlogError> for ExportError {
    fn from(_: TlogError) -> Self {
        Self::Ledger
    }
}
