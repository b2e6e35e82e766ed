//! A house with an archive to export from, and a bag that came of it.

use std::fs;
use std::path::{Path, PathBuf};

use callvault::simulator::{SimAudio, SimCall};
use serde_json::Value;

use crate::support::program::{Folder, Pbx};

/// The days settle, as if they had been read again half a day after their end.
const SETTLE: &str = "update days set state = 'settled', settled_at_ms = last_read_at_ms, revision = 1";

/// An archive of a PBX with calls and voicemail.
pub(crate) struct House {
    pub(crate) pbx: Pbx,
    pub(crate) folder: Folder,
}

impl House {
    /// With so many recordings of calls, all archived, and six messages.
    pub(crate) fn with(recordings: u64) -> Self {
        Self::of(Pbx::with(recordings), 0)
    }

    /// Of this PBX; with the exit code of its first backfill.
    pub(crate) fn of(pbx: Pbx, code: i32) -> Self {
        let folder = Folder::for_pbx(&pbx.url());
        folder.run(&["backfill", "--voicemail"]).exits(code);
        Self { pbx, folder }
    }

    /// Adds a call beside the others, and archives it.
    pub(crate) fn add_call(&self, change: impl FnOnce(&mut SimCall)) {
        self.pbx.world(|world| {
            let mut call = world.all_rows().last().unwrap().clone();
            call.audio = Some(SimAudio::pcm(1_000, 7));
            change(&mut call);
            // The id of a call begins with its start.
            let number = call.callid.rsplit('.').next().unwrap_or("77").to_owned();
            call.callid = format!("{}.{number}", call.start.as_second());
            world.add_call(call);
        });
        self.folder.run(&["backfill"]).exits(0);
    }

    /// Lets the days settle, and certifies them.
    pub(crate) fn certify(&self) {
        self.folder.write(SETTLE);
        self.folder.run(&["reconcile"]).exits(0);
    }

    /// Exports into `bag`, with further arguments.
    pub(crate) fn export(&self, arguments: &[&str], code: i32) -> Bag {
        drop(fs::remove_dir_all(self.folder.path("bag")));
        let said = self.folder.run(&[&["export", "--out", "bag", "--json"], arguments].concat()).exits(code);
        Bag { path: self.folder.path("bag"), report: said.json() }
    }
}

/// An export as its reader has it.
pub(crate) struct Bag {
    pub(crate) path: PathBuf,
    pub(crate) report: Value,
}

impl Bag {
    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path.join(path)).unwrap()
    }

    /// The lines of a list in it.
    pub(crate) fn lines(&self, path: &str) -> Vec<Value> {
        self.text(path).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Its files, by their paths in it.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        collect(&self.path, &mut files);
        files.iter().map(|file| file.strip_prefix(&self.path).unwrap().to_str().unwrap().to_owned()).collect()
    }

    /// The audio in it.
    pub(crate) fn audio(&self) -> Vec<String> {
        let mut files = self.files();
        files.retain(|file| file.ends_with(".wav"));
        files
    }

    pub(crate) fn count(&self, member: &str) -> u64 {
        self.report[member].as_u64().unwrap_or_else(|| panic!("{member}: {}", self.report))
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() { collect(&entry, files) } else { files.push(entry) }
    }
}
