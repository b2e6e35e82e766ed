//! What the program is doing when it is killed or a call fails, and what there is before.

use std::fmt;

/// A work of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    /// The first backfill of all: database, keys and archive are made.
    First,
    /// A backfill that finds one day archived, and two new.
    Later,
    /// A backfill when all is archived and all days have settled: it certifies them.
    Settled,
    /// What was given up is asked for again.
    Retry,
    Verify,
    RotateKey,
    Export,
    ExportZip,
    Backup,
    /// The database is lost, and made anew.
    Rebuild,
    /// The service finds one day archived, and two new, archives them, and is asked to end.
    Service,
}

impl Work {
    /// All of them.
    pub(crate) const ALL: [Self; 11] = [
        Self::First,
        Self::Later,
        Self::Settled,
        Self::Retry,
        Self::Verify,
        Self::RotateKey,
        Self::Export,
        Self::ExportZip,
        Self::Backup,
        Self::Rebuild,
        Self::Service,
    ];

    /// What is there before it begins.
    pub(crate) fn base(self) -> Base {
        match self {
            Self::First => Base::Nothing,
            Self::Later | Self::Service => Base::OneDay,
            Self::Settled => Base::SettledDays,
            Self::Retry => Base::GivenUp,
            Self::Rebuild => Base::LostDatabase,
            Self::Verify | Self::RotateKey | Self::Export | Self::ExportZip | Self::Backup => Base::Archived,
        }
    }

    /// Whether it makes something beside the archive, which has its name only when it is whole.
    pub(crate) fn hands_out(self) -> bool {
        matches!(self, Self::Export | Self::ExportZip | Self::Backup)
    }

    /// Whether it leaves all archived, if nothing goes wrong.
    pub(crate) fn archives_all(self) -> bool {
        matches!(self, Self::First | Self::Later | Self::Settled | Self::Service)
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first",
            Self::Later => "later",
            Self::Settled => "settled",
            Self::Retry => "retry",
            Self::Verify => "verify",
            Self::RotateKey => "rotate-key",
            Self::Export => "export",
            Self::ExportZip => "export-zip",
            Self::Backup => "backup",
            Self::Rebuild => "rebuild",
            Self::Service => "service",
        })
    }
}

/// An installation as it is before a work begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Base {
    Nothing,
    OneDay,
    Archived,
    SettledDays,
    GivenUp,
    LostDatabase,
}
