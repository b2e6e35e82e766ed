//! What the commands print. A reader that has gone away changes nothing: the work goes on and the exit code stands.

use std::fmt::Display;
use std::io::Write as _;

/// Prints a text that has its own line ends on stdout.
pub(super) fn text(text: &str) {
    drop(std::io::stdout().write_all(text.as_bytes()));
}

/// Prints a line on stdout.
pub(super) fn line(text: impl Display) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Prints a line on stderr.
pub(super) fn error_line(text: impl Display) {
    drop(writeln!(std::io::stderr(), "{text}"));
}
