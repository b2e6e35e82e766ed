//! What the process and its files come to, again and again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use callvault::archive::is_temporary;

use super::house::House;
use super::keeper::Kept;
use super::stop::Stop;

/// What is measured; each has a value in every look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Resident memory, in KiB.
    Memory,
    /// Of that, what is the process's own.
    Heap,
    /// Open file descriptors.
    Descriptors,
    Threads,
    /// Bytes of the write-ahead log.
    Wal,
    /// Bytes of the database.
    Database,
    /// Recordings and messages in the catalog.
    Archived,
    /// Names of temporaries in archive and state.
    Temporaries,
    /// Files in the state folder, of any kind.
    StateFiles,
    /// Lines logged so far.
    Logged,
}

/// One look.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// When, counted from the start.
    pub(crate) at: Duration,
    values: [f64; 10],
}

impl Look {
    /// What stands above the lines.
    pub(crate) const HEAD: &str = "second\tmemory_kib\theap_kib\tfds\tthreads\twal\tdatabase\tarchived\ttemporaries\tstate_files\tlogged\n";

    pub(crate) fn get(&self, measure: Measure) -> f64 {
        self.values[measure as usize]
    }

    /// It as a line of a table.
    pub(crate) fn line(&self) -> String {
        let cells: String = self.values.iter().map(|value| format!("\t{value}")).collect();
        format!("{:.1}{cells}\n", self.at.as_secs_f64())
    }
}

/// Looks again and again until told to stop.
pub(crate) fn watch(house: &House, kept: &Kept, every: Duration, stop: &Stop) -> Vec<Look> {
    let (began, mut looks) = (Instant::now(), Vec::new());
    while !stop.comes_within(every) {
        let pid = kept.with(|service| service.pid().as_raw_nonzero().get());
        // Between a kill and the next start there is nothing to look at; it may also end while it is looked at.
        if let Some(values) = pid.and_then(|pid| look(house, kept, pid)) {
            looks.push(Look { at: began.elapsed(), values });
        }
    }
    looks
}

fn look(house: &House, kept: &Kept, pid: i32) -> Option<[f64; 10]> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let status = fs::read_to_string(proc.join("status")).ok()?;
    let descriptors = fs::read_dir(proc.join("fd")).ok()?.count();
    let state = house.folder.path("state");
    let size = |name: &str| fs::metadata(state.join(name)).map_or(0, |metadata| metadata.len());
    let (temporaries, _) = count(&house.folder.path("archive"));
    let (in_state, state_files) = count(&state);
    Some([
        number_in(&status, "VmRSS:")?,
        number_in(&status, "RssAnon:")?,
        descriptors as f64,
        number_in(&status, "Threads:")?,
        size("callvault.db-wal") as f64,
        size("callvault.db") as f64,
        house.folder.number("select count(*) from archived_files") as f64,
        (temporaries + in_state) as f64,
        state_files as f64,
        kept.logged() as f64,
    ])
}

fn number_in(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Temporaries and all files below a folder, which changes meanwhile.
pub(crate) fn count(folder: &Path) -> (usize, usize) {
    let Ok(entries) = fs::read_dir(folder) else { return (0, 0) };
    let mut counted = (0, 0);
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            let below = count(&entry.path());
            counted = (counted.0 + below.0, counted.1 + below.1);
        } else {
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let is_stray = is_temporary(name) || name.ends_with(".tmp") || name.ends_with(".part");
            counted = (counted.0 + usize::from(is_stray), counted.1 + 1);
        }
    }
    counted
}
