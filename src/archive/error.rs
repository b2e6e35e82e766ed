//! What can go wrong with the archive, each with one sentence that says what to do.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::base::recording::printable;
use crate::base::users::User;
use crate::formats::sums::Unlistable;

/// Why the archive could not do something. None of them loses what was archived before.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// There is no room: blocks, a quota, inodes, or less than the operator's minimum.
    #[error(
        "`{path}` is full ({shortage}): free some space; nothing is lost, callvault downloads later what is missing"
    )]
    Full { path: PathBuf, shortage: String },
    /// The filesystem is mounted read-only, or the kernel made it so after an error.
    #[error(
        "`{path}` is on a read-only filesystem: look for disk errors in the kernel log, then remount it writable"
    )]
    ReadOnly { path: PathBuf },
    /// The service's user may not do this.
    #[error("no permission to {action} `{path}`: {remedy}")]
    Permission {
        action: &'static str,
        path: PathBuf,
        /// Names the owner, if it is another user, and what to do.
        remedy: String,
    },
    /// The archive that the state speaks of is not there, or went away while it was open.
    #[error(
        "`{path}` is not the mounted archive ({reason}): mount it or correct `[archive] path`, then start again"
    )]
    NotMounted { path: PathBuf, reason: &'static str },
    /// The marker names another state: another callvault owns this folder.
    #[error(
        "`{path}` belongs to another callvault (state {theirs}, ours is {ours}): set `[state] path` to the state \
         that wrote it, or give this PBX another archive path"
    )]
    Foreign { path: PathBuf, theirs: String, ours: String },
    /// Files without a marker in the folder of a PBX that the state knows nothing of.
    #[error("`{path}` holds files but no `.callvault` marker: choose an empty folder as `[archive] path`")]
    Unmarked { path: PathBuf },
    /// The marker cannot be read as one.
    #[error("marker `{path}` is damaged ({reason}): restore it from a backup; callvault never rewrites it")]
    DamagedMarker { path: PathBuf, reason: String },
    /// The archive's root lies in the state folder, which is local and private.
    #[error(
        "archive `{path}` lies inside the state folder `{state}`: set `[archive] path` to a folder outside it"
    )]
    InsideState { path: PathBuf, state: PathBuf },
    /// A symbolic link or a file where the archive needs a folder or a file of its own.
    #[error(
        "`{path}` is not a real {expected}: remove it; in the archive callvault follows no symbolic links"
    )]
    Planted { path: PathBuf, expected: &'static str },
    /// A name or path that the archive never writes.
    #[error("`{path}` is not an archive path ({reason})")]
    UnsafePath { path: String, reason: &'static str },
    /// Somebody else made a file of this name while we were publishing ours.
    #[error(
        "`{path}` appeared while it was being written: find out which other program writes to the archive"
    )]
    Occupied { path: PathBuf },
    /// A file that is written once holds other bytes than belong there.
    #[error(
        "`{path}` exists with different content: it was altered, or comes from another history of this archive"
    )]
    OtherBytes { path: PathBuf },
    /// A file is larger than callvault makes any of its kind. It was not read.
    #[error(
        "`{path}` is larger than {bytes_max} bytes, the limit for such a file: find out who put it there, and move it away"
    )]
    TooLarge { path: PathBuf, bytes_max: u64 },
    #[error("cannot {action} `{path}`: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// What to do so that callvault can use `path`, which may belong to another user, most often root.
fn remedy_for_permission(path: &Path) -> String {
    let us = User::of_this_process();
    // A path that cannot be examined is in a folder that may belong to another user.
    let nearest = path.ancestors().find_map(|near| User::of(near).ok().map(|owner| (near, owner)));
    match nearest {
        Some((theirs, Some(owner))) if owner != us => {
            let (theirs, owner) = (theirs.display(), owner.in_words());
            let (us, chown) = (us.in_words(), format!("sudo chown -R {} {theirs}", us.for_chown()));
            format!("`{theirs}` belongs to {owner}, and callvault runs as {us}: give it back with `{chown}`")
        }
        _ => "give the user that runs callvault write access to the archive".to_owned(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// It concerns one file: count it as a failed attempt and try again later, from a new download.
    Retry,
    /// It concerns the whole archive and passes when mended: take no ticket until then. Costs no attempt.
    Pause,
    /// Only the operator can decide: say it and exit.
    Stop,
}

impl ArchiveError {
    /// Classifies an answer of the operating system. `action` completes "cannot …".
    pub(super) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let path = path.to_owned();
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC) => Self::Full { path, shortage: "no space or no inodes left".to_owned() },
            Some(Errno::DQUOT) => Self::Full { path, shortage: "the disk quota is used up".to_owned() },
            Some(Errno::ROFS) => Self::ReadOnly { path },
            Some(Errno::ACCESS | Errno::PERM) => {
                let remedy = remedy_for_permission(&path);
                Self::Permission { action, path, remedy }
            }
            Some(Errno::LOOP | Errno::NOTDIR) => Self::Planted { path, expected: "folder" },
            Some(Errno::STALE | Errno::NOTCONN | Errno::NODEV | Errno::HOSTDOWN) => {
                Self::NotMounted { path, reason: "the filesystem went away" }
            }
            _ => Self::Io { action, path, source },
        }
    }

    /// Refuses a name or path, for a reason such as "it is too long".
    pub(super) fn unsafe_path(path: impl AsRef<[u8]>, reason: &'static str) -> Self {
        Self::UnsafePath { path: printable(path.as_ref()), reason }
    }

    pub fn reaction(&self) -> Reaction {
        match self {
            Self::Full { .. } | Self::ReadOnly { .. } | Self::Permission { .. } => Reaction::Pause,
            Self::NotMounted { .. }
            | Self::Foreign { .. }
            | Self::Unmarked { .. }
            | Self::DamagedMarker { .. }
            | Self::InsideState { .. } => Reaction::Stop,
            Self::Planted { .. }
            | Self::UnsafePath { .. }
            | Self::Occupied { .. }
            | Self::OtherBytes { .. }
            | Self::TooLarge { .. }
            | Self::Io { .. } => Reaction::Retry,
        }
    }

    /// Whether it concerns the file that was read, and not the whole archive or this process.
    pub fn concerns_what_was_read(&self) -> bool {
        match self {
            Self::Permission { .. }
            | Self::Planted { .. }
            | Self::UnsafePath { .. }
            | Self::TooLarge { .. } => true,
            // A process without descriptors or memory knows nothing about the file.
            Self::Io { source, .. } => !matches!(
                source.raw_os_error().map(Errno::from_raw_os_error),
                Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM)
            ),
            _ => false,
        }
    }
}

impl From<Unlistable> for ArchiveError {
    fn from(Unlistable(path): Unlistable) -> Self {
        Self::UnsafePath { path, reason: "SHA256SUMS lists safe names only" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_the_system_has_its_sentence_and_its_reaction() {
        let cases = [
            (Errno::NOSPC, "`/a/x` is full", Reaction::Pause),
            (Errno::DQUOT, "quota", Reaction::Pause),
            (Errno::ROFS, "read-only filesystem", Reaction::Pause),
            (Errno::ACCESS, "no permission to write `/a/x`", Reaction::Pause),
            (Errno::PERM, "no permission to write `/a/x`", Reaction::Pause),
            (Errno::LOOP, "follows no symbolic links", Reaction::Retry),
            (Errno::STALE, "the filesystem went away", Reaction::Stop),
            (Errno::IO, "cannot write `/a/x`", Reaction::Retry),
        ];
        for (errno, words, reaction) in cases {
            let error = ArchiveError::io("write", Path::new("/a/x"), errno);
            assert!(error.to_string().contains(words), "{error}");
            assert!(!error.to_string().contains('\n'));
            assert_eq!(error.reaction(), reaction, "{error}");
        }
    }

    #[test]
    fn a_process_without_descriptors_or_memory_knows_nothing_of_what_it_read() {
        let failed = |errno: Errno| {
            ArchiveError::io(
                "read",
                Path::new("hq/a.wav"),
                io::Error::from_raw_os_error(errno.raw_os_error()),
            )
        };
        for (errno, concerns) in [
            (Errno::IO, true),
            (Errno::NOENT, true),
            (Errno::ACCESS, true),
            (Errno::LOOP, true),
            (Errno::NOSPC, false),
            (Errno::STALE, false),
            (Errno::MFILE, false),
            (Errno::NFILE, false),
            (Errno::NOMEM, false),
        ] {
            assert_eq!(failed(errno).concerns_what_was_read(), concerns, "{errno:?}");
        }
    }
}
