//! The filesystems that are cut off, and how many of them an installation lies on.

use std::fmt;
use std::path::Path;

use super::tool;

/// A filesystem of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filesystem {
    Ext4,
    Xfs,
    Btrfs,
}

impl Filesystem {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    /// Its name, as `mount` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// Why it cannot be made or mounted here, if it cannot.
    pub(crate) fn lacks(self) -> Option<String> {
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if !known.lines().any(|line| line.split_whitespace().last() == Some(self.name())) {
            return Some(format!("the kernel has no {self}"));
        }
        let tool = format!("mkfs.{self}");
        (!tool::exists(&tool)).then(|| format!("there is no {tool}"))
    }

    /// Makes an empty one on a device, as an operator would who gives no options.
    pub(crate) fn make_on(self, device: &Path) {
        let device = device.as_os_str();
        match self {
            // On a small device it would take smaller blocks than anywhere else.
            Self::Ext4 => tool::run("mkfs.ext4", &["-q".as_ref(), "-b".as_ref(), "4096".as_ref(), device]),
            Self::Xfs => tool::run("mkfs.xfs", &["-q".as_ref(), device]),
            Self::Btrfs => tool::run("mkfs.btrfs", &["-q".as_ref(), device]),
        };
    }

    /// Lets the kernel forget a device that is not mounted any more: an image of the same filesystem comes next.
    pub(crate) fn forget(self, device: &Path) {
        if self == Self::Btrfs {
            let args = ["device".as_ref(), "scan".as_ref(), "--forget".as_ref(), device.as_os_str()];
            // Some have forgotten it by themselves.
            let _ = tool::try_run("btrfs", &args);
        }
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Where the archive lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// On the filesystem of the database.
    Same,
    /// On another one.
    Other,
}

impl Layout {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Same, Self::Other];

    /// How many filesystems there are.
    pub(crate) fn filesystems(self) -> usize {
        match self {
            Self::Same => 1,
            Self::Other => 2,
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Same => "same",
            Self::Other => "other",
        })
    }
}
