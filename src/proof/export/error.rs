//! What can go wrong with an export. None of it changes the archive, and nothing incomplete is left behind.

use std::io;
use std::path::{Path, PathBuf};

use crate::archive::ArchiveError;
use crate::formats::tlog::TlogError;
use crate::proof::notary::PublishedError;

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Outside the archive.
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

    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Ledger | Self::Published(_))
    }
}

impl From<TlogError> for ExportError {
    fn from(_: TlogError) -> Self {
        Self::Ledger
    }
}
