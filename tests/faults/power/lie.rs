//! Disks that lie: negative controls. Each of them must cost something that was acknowledged, or the campaign sees nothing.

use std::fmt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::tool;

/// What is said to be on the disk, and is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The bytes of files.
    Files,
    /// The names in folders.
    Directories,
    /// What SQLite does not sync with `synchronous = NORMAL`.
    Normal,
    /// All of it.
    Everything,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Files, Self::Directories, Self::Normal, Self::Everything];
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Files => "no fsync of files",
            Self::Directories => "no fsync of folders",
            Self::Normal => "synchronous = NORMAL",
            Self::Everything => "no fsync at all",
        })
    }
}

/// The library that swallows syncs, built.
pub(crate) struct Library(TempDir);

impl Library {
    /// Builds it; without a compiler that is said, and there is none.
    pub(crate) fn build() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/power/swallow.c"));
        let library = dir.path().join("swallow.so");
        let flags = ["-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-o"].map(AsRef::as_ref);
        match tool::try_run("cc", &[&flags[..], &[library.as_os_str(), source.as_os_str()]].concat()) {
            Ok(_) => Some(Self(dir)),
            Err(problem) => {
                eprintln!("SKIPPED: no C compiler ({problem}); that power cuts are noticed is not tested");
                None
            }
        }
    }
}

/// A disk that lies.
pub(crate) struct Lie<'a> {
    pub(crate) library: &'a Library,
    pub(crate) kind: Kind,
}

impl Lie<'_> {
    /// Lets a program be lied to.
    pub(crate) fn tell(&self, command: &mut Command, state: &Path) {
        let what = match self.kind {
            Kind::Files => "files",
            Kind::Directories => "directories",
            Kind::Normal => "normal",
            Kind::Everything => "everything",
        };
        command.env("LD_PRELOAD", self.library.0.path().join("swallow.so"));
        command.env("SWALLOW", what).env("SWALLOW_STATE", state);
    }
}
