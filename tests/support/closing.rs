//! Waiting for a database to be closed: what has dropped it closes it a moment later, and meanwhile files of it go away.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use callvault::store::db::database_file;

/// Nothing that is dropped stays open for so long, also on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until this process has the database in the state folder open no more.
pub(crate) async fn until_closed(state: &Path) {
    let (began, file) = (Instant::now(), database_file(state));
    while is_open(&file) {
        assert!(began.elapsed() < PATIENCE, "somebody keeps the database open");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

fn is_open(file: &Path) -> bool {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    let mut opened = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    opened.any(|opened| opened == file)
}
