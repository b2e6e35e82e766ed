//! A library that is loaded before libc, and makes the calls fail that make files durable.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// The library, built.
pub(crate) struct Shim(TempDir);

impl Shim {
    /// Builds it; without a compiler that is said, and there is none.
    pub(crate) fn build() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/shim/fault.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o"]).arg(dir.path().join("fault.so")).arg(source);
        if cc.status().is_ok_and(|status| status.success()) {
            return Some(Self(dir));
        }
        eprintln!("SKIPPED: no C compiler (`cc`); failing system calls are not tested");
        None
    }

    /// The library's file.
    pub(crate) fn file(&self) -> PathBuf {
        self.0.path().join("fault.so")
    }

    /// The test of this name alone, in a process of its own under the library.
    pub(crate) fn run(&self, test: &str) -> Command {
        let mut run = Command::new(std::env::current_exe().unwrap());
        run.args(["--exact", test, "--nocapture", "--test-threads=1"]).env("LD_PRELOAD", self.file());
        run
    }
}
