//! Reading the folders of the archive by several threads: sidecars, call lists, and what `SHA256SUMS` says of them. What
//! they hold is handed on in the order of the folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use anyhow::Context as _;
use jiff::civil::Date;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Damage;
use super::documents::{self, FoundCertificate, Line, ListedVersions};
use crate::archive::{ArchiveError, Folder, Key, Reader, day_file_name};
use crate::base::digest::Digest;
use crate::base::recording::printable;
use crate::formats::call_lines::{self, Format};
use crate::formats::salted::Lines;
use crate::formats::sums;
use crate::proof::certificate::{Names, list_of};
use crate::store::scratch::{FoundFile, ListedFile};

/// Larger files of these kinds were not written by us.
pub(super) const SIDECAR_BYTES_MAX: u64 = 16 << 20;
const LIST_BYTES_MAX: u64 = 1 << 30;
const SUMS_BYTES_MAX: u64 = 1 << 30;

const FILES_PER_PIECE: usize = 256;

/// Sends the content of `folder`, until nobody receives it.
fn read_folder(archive: &dyn Reader, folder: &Folder, pieces: &mpsc::Sender<Piece>) {
    match FolderReader::open(archive, folder, pieces) {
        Ok(reader) => drop(reader.read()),
        Err(damage) => drop(pieces.blocking_send(Piece::Damage(damage))),
    }
}

struct FolderReader<'a> {
    folder: &'a Folder,
    day: Date,
    archive: &'a dyn Reader,
    pieces: &'a mpsc::Sender<Piece>,
    key: Key,
    names: BTreeSet<String>,
    sums: BTreeMap<String, Digest>,
    /// What was read so far, by name: the audio by its sidecar's word.
    there: BTreeMap<String, Digest>,
}

struct Unwanted;

impl<'a> FolderReader<'a> {
    fn open(
        archive: &'a dyn Reader,
        folder: &'a Folder,
        pieces: &'a mpsc::Sender<Piece>,
    ) -> Result<Self, Damage> {
        let damaged = |problem: String| Damage::of(folder.pbx(), folder.as_str(), problem);
        let day = folder.date().ok_or_else(|| damaged("its name is not a day".to_owned()))?;
        let gone = || damaged("it disappeared while callvault read it".to_owned());
        let key = Key::from(folder);
        let listing = archive.list(&key).map_err(|error| damaged(error.to_string()))?.ok_or_else(gone)?;
        let names = listing.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let sums = match archive.read(&key.join(sums::NAME.as_bytes()), SUMS_BYTES_MAX) {
            Ok(bytes) => bytes.map(|bytes| sums::read(&bytes)).unwrap_or_default(),
            // The sums are derived: whatever somebody put in their place, the folder is read.
            Err(ArchiveError::TooLarge { .. }) => BTreeMap::new(),
            Err(error) => return Err(damaged(error.to_string())),
        };
        Ok(Self { folder, day, archive, pieces, key, names, sums, there: BTreeMap::new() })
    }

    fn read(mut self) -> Result<(), Unwanted> {
        let lists = self.lists();
        let mut versions = ListedVersions::new();
        // A first look into the lists: nobody needs the calls of a sidecar that a list has too. Only hashes are kept.
        for number in &lists {
            let Some(bytes) = self.file(&day_file_name(*number), LIST_BYTES_MAX)? else { continue };
            let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
            versions.extend(lines.filter_map(documents::version));
        }
        self.read_files(&versions)?;
        for number in lists {
            self.read_list(number)?;
        }
        let end = self.end()?;
        self.send(Piece::End(end))
    }

    fn lists(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.names.iter().filter_map(|name| list_number(name)).collect();
        numbers.sort_unstable();
        numbers
    }

    fn read_files(&mut self, versions: &ListedVersions) -> Result<(), Unwanted> {
        let sidecars: Vec<String> =
            self.names.iter().filter(|name| name.ends_with(".wav.json")).cloned().collect();
        for names in sidecars.chunks(FILES_PER_PIECE) {
            let mut files = Vec::with_capacity(names.len());
            for name in names {
                files.extend(self.read_sidecar(name, versions)?);
            }
            self.send(Piece::Files(files))?;
        }
        Ok(())
    }

    fn read_sidecar(&mut self, name: &str, versions: &ListedVersions) -> Result<Option<FoundFile>, Unwanted> {
        let Some(bytes) = self.file(name, SIDECAR_BYTES_MAX)? else { return Ok(None) };
        let audio = name.trim_end_matches(".json").to_owned();
        let place = format!("{}/{audio}", self.folder);
        let sidecar_sha256 = Digest::of(&bytes);
        match documents::read_sidecar(&bytes, sidecar_sha256, &place, versions) {
            Ok(file) => {
                if file.is_displaced {
                    let path = printable(file.sidecar.file.path.as_bytes());
                    self.damaged(name, format!("it belongs to {path}: someone moved it"))?;
                } else if self.names.contains(&audio) {
                    self.there.insert(audio, file.sidecar.file.sha256);
                }
                self.there.insert(name.to_owned(), sidecar_sha256);
                Ok(Some(file))
            }
            Err(problem) => {
                self.lost(name, format!("it cannot be read as a sidecar ({problem})")).map(|()| None)
            }
        }
    }

    fn read_list(&mut self, number: u32) -> Result<(), Unwanted> {
        let name = day_file_name(number);
        let Some(bytes) = self.file(&name, LIST_BYTES_MAX)? else { return Ok(()) };
        let sha256 = Digest::of(&bytes);
        self.there.insert(name.clone(), sha256);
        let text = String::from_utf8_lossy(&bytes);
        let mut rest = text.lines().zip(1..);
        let head = rest.next().map_or("", |(head, _)| head);
        let format = match call_lines::check_head(head, self.folder.pbx(), self.day) {
            Ok(format) => format,
            Err(problem) => return self.damaged(&name, format!("{problem}; nothing in it is used")),
        };
        let salted = (format == Format::Salted).then(|| (sha256, Lines::after_head(&text)));
        let mut found = FoundList { number, lines: Vec::new(), salted };
        for (line, at) in rest {
            match documents::read_line(line, self.day) {
                Ok(line) => found.lines.push(line),
                Err(problem) => {
                    self.damaged(&format!("{name} line {at}"), format!("it cannot be read: {problem}"))?
                }
            }
        }
        self.send(Piece::List(found))
    }

    fn end(&mut self) -> Result<FolderEnd, Unwanted> {
        let mut end = FolderEnd::default();
        let day_files: BTreeSet<String> =
            self.names.iter().chain(self.sums.keys()).filter(|name| is_day_file(name)).cloned().collect();
        for name in day_files {
            if !self.there.contains_key(&name)
                && self.names.contains(&name)
                && let Some(bytes) = self.file(&name, LIST_BYTES_MAX)?
            {
                end.certificates.extend(documents::read_certificate(&name, &bytes));
                self.there.insert(name.clone(), Digest::of(&bytes));
            }
            let found = self.there.get(&name).copied();
            // What is listed counts: a file that was changed since is what verification looks for.
            let listed = self.sums.get(&name).copied();
            if found != listed && listed.is_some() {
                let problem =
                    if found.is_some() { "it is not what `SHA256SUMS` lists" } else { "it is gone" };
                self.lost(&name, problem)?;
            }
            if let Some(sha256) = listed.or(found) {
                end.day_files.push((format!("{}/{name}", self.folder), sha256));
            }
        }
        for found in &mut end.certificates {
            found.page_sha256 = self.there.get(&found.names.page()).copied();
            self.check_companion(found)?;
        }
        end.is_in_step = self.there == self.sums;
        end.listed = self.listed_otherwise();
        Ok(end)
    }

    /// Whether the names of a certificate come to the root that was signed, and the list for `sha256sum` to the names.
    fn check_companion(&self, found: &FoundCertificate) -> Result<(), Unwanted> {
        let Some(signed) = &found.companion else { return Ok(()) };
        let (document, companion, list) =
            (found.names.document(), found.names.companion(), found.names.files());
        let (there, listed) = (self.there.get(&companion), self.sums.get(&companion));
        // What the sums list otherwise was reported already.
        let is_news = listed.is_none_or(|listed| Some(listed) == there);
        let report = |problem| if is_news { self.lost(&companion, problem) } else { Ok(()) };
        if there.is_none() {
            return report(format!("it is gone, and {document} has its root"));
        }
        let Some(bytes) = self.file(&companion, LIST_BYTES_MAX)? else { return Ok(()) };
        let text = String::from_utf8_lossy(&bytes);
        if !signed.is_of(&text) {
            return report(format!("it does not come to the root in {document}"));
        }
        let listed = self.there.get(&list);
        if listed.is_some_and(|listed| *listed != Digest::of(list_of(&text)))
            && self.sums.get(&list) == listed
        {
            return self.lost(&list, format!("it lists other files than {companion}"));
        }
        Ok(())
    }

    /// Pairs of audio and sidecar that `SHA256SUMS` lists, and whose sidecar is another one now, or gone.
    fn listed_otherwise(&self) -> Vec<ListedFile> {
        let sidecars = self
            .sums
            .iter()
            .filter(|(name, sha256)| name.ends_with(".wav.json") && self.there.get(*name) != Some(sha256));
        let listed = sidecars.filter_map(|(name, sidecar_sha256)| {
            let audio = name.strip_suffix(".json")?;
            Some(ListedFile {
                path: format!("{}/{audio}", self.folder),
                sha256: *self.sums.get(audio)?,
                sidecar_sha256: *sidecar_sha256,
            })
        });
        listed.collect()
    }

    /// The content of a file; one that cannot be read is reported and skipped.
    fn file(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, Unwanted> {
        match self.archive.read(&self.key.join(name.as_bytes()), bytes_max) {
            Ok(Some(bytes)) => Ok(Some(bytes)),
            Ok(None) => self.damaged(name, "it is not a regular file").map(|()| None),
            Err(error) => self.damaged(name, error.to_string()).map(|()| None),
        }
    }

    fn damaged(&self, name: &str, problem: impl Into<String>) -> Result<(), Unwanted> {
        let subject = printable(format!("{}/{name}", self.folder).as_bytes());
        self.send(Piece::Damage(Damage::of(self.folder.pbx(), subject, problem)))
    }

    /// Reports a file that nothing but a backup has.
    fn lost(&self, name: &str, problem: impl Display) -> Result<(), Unwanted> {
        self.damaged(name, format!("{problem}: restore it from a backup"))
    }

    fn send(&self, piece: Piece) -> Result<(), Unwanted> {
        self.pieces.blocking_send(piece).map_err(|_| Unwanted)
    }
}

fn list_number(name: &str) -> Option<u32> {
    let number = name.strip_prefix("calls-")?.strip_suffix(".jsonl")?.parse().ok()?;
    // `calls-01.jsonl` is none of ours.
    (day_file_name(number) == name).then_some(number)
}

/// Whether `SHA256SUMS` lists a file of this name that is no recording.
fn is_day_file(name: &str) -> bool {
    list_number(name).is_some() || Names::of_file(name).is_some()
}

/// A part of what a folder holds. Files come before the lists, whose calls name them.
#[derive(Debug)]
pub(super) enum Piece {
    Files(Vec<FoundFile>),
    List(FoundList),
    End(FolderEnd),
    Damage(Damage),
}

#[derive(Debug)]
pub(super) struct FoundList {
    pub(super) number: u32,
    pub(super) lines: Vec<Line>,
    /// Its hash, and what its lines come to, if they are salted.
    pub(super) salted: Option<(Digest, Lines)>,
}

#[derive(Debug, Default)]
pub(super) struct FolderEnd {
    /// Files of the day that are no recordings: path, and hash as it should be.
    pub(super) day_files: Vec<(String, Digest)>,
    pub(super) certificates: Vec<FoundCertificate>,
    /// Whether `SHA256SUMS` lists exactly what is there.
    pub(super) is_in_step: bool,
    /// Archived files that `SHA256SUMS` lists, and whose sidecar is not there any more as it was.
    pub(super) listed: Vec<ListedFile>,
}

/// Folders that are read at the same time: the writer is one, and half as fast as a reader.
pub(super) const FOLDERS_AT_ONCE: usize = 3;

/// Pieces of one folder that wait to be taken: memory stays bounded, however large a folder is.
const PIECES_WAITING: usize = 4;

/// A folder that is being read. Dropped, it is given up.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) folder: Folder,
    pieces: mpsc::Receiver<Piece>,
    thread: JoinHandle<()>,
}

impl UnderWay {
    pub(super) fn begin(archive: Arc<dyn Reader>, folder: Folder) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        let read = folder.clone();
        let thread = tokio::task::spawn_blocking(move || read_folder(&*archive, &read, &sender));
        Self { folder, pieces, thread }
    }

    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Piece>> {
        if let Some(piece) = self.pieces.recv().await {
            return Ok(Some(piece));
        }
        (&mut self.thread).await.with_context(|| format!("reading {}", self.folder))?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_known_by_their_names() {
        let table = [
            ("calls-1.jsonl", Some(1)),
            ("calls-12.jsonl", Some(12)),
            ("calls-01.jsonl", None),
            ("calls-.jsonl", None),
        ];
        for (name, number) in table {
            assert_eq!(list_number(name), number, "{name}");
        }
        assert!(is_day_file("certificate-2.json.sig") && is_day_file("calls-1.jsonl"));
        assert!(
            !is_day_file("certificate-.html") && !is_day_file("certificate-2.wav") && !is_day_file("a.wav")
        );
    }
}
