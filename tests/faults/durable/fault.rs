//! What happens to a call.

use std::fmt;
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;

use crate::support::shim::Shim;

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// The process is killed in its place.
    Kill,
    /// It did not happen, and fails; the later ones too, if `for_ever`.
    Fails { errno: Errno, for_ever: bool },
    /// It happened, and is reported as failed.
    FailsAfterwards,
    /// It is interrupted by a signal.
    Interrupted,
    /// A write takes half of what it is given, and says so; the later ones too, if `for_ever`.
    Short { for_ever: bool },
}

impl Fault {
    /// Every way to fail.
    pub(crate) const ERRORS: [Self; 12] = [
        Self::Fails { errno: Errno::IO, for_ever: false },
        Self::Fails { errno: Errno::NOSPC, for_ever: true },
        Self::Short { for_ever: false },
        Self::Fails { errno: Errno::ROFS, for_ever: true },
        Self::FailsAfterwards,
        Self::Fails { errno: Errno::DQUOT, for_ever: true },
        Self::Fails { errno: Errno::NOSPC, for_ever: false },
        Self::Interrupted,
        Self::Fails { errno: Errno::IO, for_ever: true },
        Self::Fails { errno: Errno::DQUOT, for_ever: false },
        Self::Short { for_ever: true },
        Self::Fails { errno: Errno::ROFS, for_ever: false },
    ];

    /// Whether the program must not even notice: whoever writes goes on with the rest, or again.
    pub(crate) fn is_harmless(self) -> bool {
        matches!(self, Self::Interrupted | Self::Short { .. })
    }

    /// Lets it happen at call number `at` of the command, which leaves word of it in `notes`.
    pub(crate) fn tell(self, command: &mut Command, shim: &Shim, at: usize, notes: &Path) {
        watch(command, shim, notes);
        command.env("FAULT_AT", at.to_string());
        let (how, errno, for_ever) = match self {
            Self::Kill => ("kill", None, false),
            Self::Fails { errno, for_ever } => ("before", Some(errno), for_ever),
            Self::FailsAfterwards => ("after", None, false),
            Self::Interrupted => ("again", None, false),
            Self::Short { for_ever } => ("short", None, for_ever),
        };
        command.env("FAULT_HOW", how);
        if let Some(errno) = errno {
            command.env("FAULT_ERRNO", errno.raw_os_error().to_string());
        }
        if for_ever {
            command.env("FAULT_FOR_EVER", "1");
        }
    }
}

/// Lets the library count the calls of the command, and leave word in `notes`.
pub(crate) fn watch(command: &mut Command, shim: &Shim, notes: &Path) {
    command
        .env("LD_PRELOAD", shim.file())
        .env("FAULT_WIDE", "1")
        .env("FAULT_FIRED", notes.join("fired"))
        .env("FAULT_RETRIED", notes.join("retried"));
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = |for_ever: bool| if for_ever { "-for-ever" } else { "" };
        match self {
            Self::Kill => f.write_str("kill"),
            Self::Fails { errno, for_ever } => {
                let word = match *errno {
                    Errno::IO => "EIO",
                    Errno::NOSPC => "ENOSPC",
                    Errno::DQUOT => "EDQUOT",
                    _ => "EROFS",
                };
                write!(f, "{word}{}", until(*for_ever))
            }
            Self::FailsAfterwards => f.write_str("fails-afterwards"),
            Self::Interrupted => f.write_str("EINTR"),
            Self::Short { for_ever } => write!(f, "short{}", until(*for_ever)),
        }
    }
}
