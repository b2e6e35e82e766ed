//! Where a secret could be told: files, processes, pages, what others were sent.

use std::fs;
use std::path::{Path, PathBuf};

use super::feed_reader::ask;
use super::house::{House, is_key};

/// Something that was told or kept, and where.
pub(crate) struct Reported {
    pub(crate) place: String,
    pub(crate) bytes: Vec<u8>,
}

impl Reported {
    pub(crate) fn new(place: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { place: place.into(), bytes: bytes.into() }
    }
}

/// Every file of archive and state, database, write-ahead log and snapshots too, but those that are there to hold a
/// secret; and what was exported. Audio is what the PBX made.
pub(crate) fn files(house: &House) -> Vec<Reported> {
    let exports: Vec<PathBuf> = fs::read_dir(house.folder.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("export-"))
        .collect();
    let mut told = Vec::new();
    for top in [house.folder.path("archive"), house.folder.path("state")].iter().chain(&exports) {
        read_below(top, &mut told);
    }
    told
}

fn read_below(path: &Path, told: &mut Vec<Reported>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            read_below(&entry.unwrap().path(), told);
        }
    } else if !is_key(path) && path.extension().is_none_or(|extension| extension != "wav") {
        // What goes meanwhile is read at the next look.
        told.extend(fs::read(path).ok().map(|bytes| Reported::new(path.display().to_string(), bytes)));
    }
}

/// How a process was started, and by what environment; and its children.
pub(crate) fn process(pid: i32) -> Vec<Reported> {
    let mut told = Vec::new();
    for name in ["cmdline", "environ"] {
        let file = format!("/proc/{pid}/{name}");
        // Its environment is closed to all but root.
        told.extend(fs::read(&file).ok().map(|bytes| Reported::new(file, bytes)));
    }
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        told.extend(children.split_whitespace().filter_map(|child| child.parse().ok()).flat_map(process));
    }
    told
}

/// Every page that is served to whoever asks.
pub(crate) fn pages(house: &House) -> Vec<Reported> {
    let paths = [
        "/",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/feed/entries?limit=1000",
        "/feed/entries?after=x",
        "/feed/checkpoint",
        "/feed/tile/0/000",
        "/feed/tile/entries/000",
        "/feed/audio/0",
        "/feed/sidecar/9",
        "/feed/keys/",
        "/nothing",
    ];
    let read = |path: &&str| {
        let answer = ask(house.web_port, path)?;
        Some(Reported::new(format!("page {path}"), [answer.head.into_bytes(), answer.body].concat()))
    };
    paths.iter().filter_map(read).collect()
}

/// What others were sent: alerts, mail, the ledger.
pub(crate) fn sent(house: &House) -> Vec<Reported> {
    let alerts = house.far_sides.received().into_iter().map(|body| Reported::new("alert", body));
    let mails = house.far_sides.mail.mails().into_iter().map(|mail| Reported::new("mail", mail));
    let delivered = house.receiver.taken().into_iter().map(|taken| Reported::new("delivery", taken.body));
    alerts.chain(mails).chain(delivered).collect()
}
