//! Programs of the system that make, mount and take away disks.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// Runs a tool, and returns what it said on stdout.
pub(crate) fn try_run<S: AsRef<OsStr>>(tool: &str, args: &[S]) -> Result<String, String> {
    let output = Command::new(tool).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{tool}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(format!("{tool}: {} {}", text(&output.stdout), text(&output.stderr)))
}

/// The same for a tool that must succeed.
pub(crate) fn run<S: AsRef<OsStr>>(tool: &str, args: &[S]) -> String {
    try_run(tool, args).unwrap_or_else(|problem| panic!("{problem}"))
}

/// Whether there is such a tool.
pub(crate) fn exists(tool: &str) -> bool {
    Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
