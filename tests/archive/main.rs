//! The archive as others use it: real files, every way of writing them, and whatever may stand in the way.

mod derived;
mod failing;
mod keeping;
mod opening;

#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other programs of tests use the rest")]
mod support;

use std::path::{Path, PathBuf};

use callvault::archive::{
    Abilities, Archive, ArchiveError, Destination, Folder, Kept, Opening, PbxPresence, VouchKey,
};
use callvault::base::digest::Digest;
use callvault::base::recording::{RecordingKind, Text};
use callvault::base::salt::Salt;
use callvault::formats::raw_row::RawRow;
use callvault::formats::sidecar::{
    FileFacts, Program, SCHEMA, Sidecar, SidecarAudio, SidecarCall, SidecarOrigin, SidecarPbx,
    SidecarRecording, SidecarTimes,
};
use jiff::Timestamp;
use jiff::civil::date;
use tempfile::TempDir;

/// Every way that the archive has of writing files, the best first.
pub(crate) const EVERY_WAY: [Abilities; 3] = [
    Abilities::all(),
    Abilities { unnamed_temporaries: false, rename_no_replace: true },
    Abilities { unnamed_temporaries: false, rename_no_replace: false },
];

/// A folder with a root and a state beside each other.
pub(crate) struct Site {
    base: PathBuf,
    abilities: Abilities,
    /// Removes the folder in the end.
    _dir: Option<TempDir>,
}

impl Site {
    pub(crate) fn new(abilities: Abilities) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { base: dir.path().to_owned(), abilities, _dir: Some(dir) }
    }

    /// As new, in memory where there is a folder for that: for tests of many runs, each with many syncs.
    pub(crate) fn in_memory(abilities: Abilities) -> Self {
        match tempfile::tempdir_in("/dev/shm") {
            Ok(dir) => Self { base: dir.path().to_owned(), abilities, _dir: Some(dir) },
            Err(_) => Self::new(abilities),
        }
    }

    /// The site of another process.
    pub(crate) fn at_path(base: &Path, abilities: Abilities) -> Self {
        Self { base: base.to_owned(), abilities, _dir: None }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.base.join("archive")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.base.join("state")
    }

    /// Opens the archive as the state `s1`, which knows nothing yet.
    pub(crate) fn open(&self) -> Archive {
        self.try_open("s1", false).unwrap()
    }

    pub(crate) fn try_open(&self, state_id: &str, has_rows: bool) -> Result<Archive, ArchiveError> {
        let (root, state_path) = (self.root(), self.state());
        let pbxs = [PbxPresence { id: "hq", has_rows }];
        let opening = Opening {
            root: &root,
            state_path: &state_path,
            state_id,
            vouch_key: &VouchKey::new([7; 32]),
            pbxs: &pbxs,
            now: Timestamp::UNIX_EPOCH,
        };
        Archive::open_with(&opening, self.abilities)
    }

    /// All files below the root with their content, markers aside, sorted by path.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        if self.root().exists() {
            collect(&self.root(), &self.root(), &mut files);
        }
        files.retain(|(path, _)| path != "hq/.callvault");
        files.sort();
        files
    }

    /// The paths of [`Site::files`].
    pub(crate) fn paths(&self) -> Vec<String> {
        self.files().into_iter().map(|(path, _)| path).collect()
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Puts a file where callvault did not.
    pub(crate) fn plant(&self, path: &str, content: &[u8]) {
        std::fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        std::fs::write(self.at(path), content).unwrap();
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push((name, std::fs::read(&path).unwrap_or_default()));
        }
    }
}

pub(crate) fn day() -> Folder {
    Folder::day("hq", date(2026, 11, 21)).unwrap()
}

pub(crate) fn place() -> Destination {
    Destination::new(day(), "a.wav").unwrap()
}

/// A sidecar for the recording `name`; the archive fills in its file.
pub(crate) fn sidecar(name: &str) -> Sidecar {
    Sidecar {
        schema: SCHEMA.to_owned(),
        pbx: SidecarPbx { id: "hq".to_owned(), sn: "1".to_owned() },
        recording: SidecarRecording { kind: RecordingKind::Call, name: Text::Utf8(name.to_owned()) },
        voicemail: None,
        call: Some(SidecarCall {
            identity: Digest::of(name),
            raw: RawRow::new([("recording".to_owned(), Text::Utf8(name.to_owned()))]),
            other_rows: Vec::new(),
            other_rows_left_out: None,
        }),
        times: SidecarTimes {
            started_at: Timestamp::UNIX_EPOCH,
            utc_offset_s: 0,
            offset_source: "callid".to_owned(),
            zone_offset_s: None,
            local: Text::Utf8("1970-01-01 00:00:00".to_owned()),
        },
        file: FileFacts { path: String::new(), size_bytes: 0, sha256: Digest::of("") },
        audio: SidecarAudio {
            container: None,
            format: "pcm".to_owned(),
            tag: 1,
            channels: 1,
            sample_rate_hz: 8000,
            bits: 16,
            duration_ms: Some(1),
            suspect: Vec::new(),
        },
        attempts: 1,
        archived_at: Timestamp::UNIX_EPOCH,
        salt: Salt::random(),
        origin: Some(SidecarOrigin {
            run: "0123456789abcdef".to_owned(),
            transport: "plain".to_owned(),
            key_sha256: None,
            tag: String::new(),
        }),
        program: Program::this(),
    }
}

/// Receives and keeps audio of the recording `a.wav`, in two pieces, the second of which is written when it is kept.
pub(crate) fn try_keep(archive: &Archive, place: &Destination, audio: &[u8]) -> Result<Kept, ArchiveError> {
    let mut incoming = archive.begin(place)?;
    let (first, second) = audio.split_at(audio.len() / 2);
    incoming.write(first)?;
    let received = incoming.finish(vec![second.to_vec().into()]);
    assert_eq!(received.sha256(), Digest::of(audio));
    archive.keep(received, sidecar("a.wav"), &[])
}

pub(crate) fn keep(archive: &Archive, audio: &[u8]) -> Kept {
    try_keep(archive, &place(), audio).unwrap()
}
