//! Reading one folder of the archive: its sidecars, its call lists, and what `SHA256SUMS` says of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::civil::Date;

use super::certificates::{self, FoundCertificate};
use super::found::{FolderEnd, FoundFile, FoundList, Piece};
use super::lines;
use super::report::Damage;
use super::sidecar;
use crate::archive::{ArchiveError, Folder, Key, Reader};
use crate::base::digest::Digest;
use crate::base::recording::printable;
use crate::formats::call_lines::{self, Format};
use crate::formats::salted::Lines;
use crate::formats::sums;
use crate::proof::certificate::list_of;
use crate::store::scratch::ListedFile;

/// Larger files of these kinds were not written by us.
pub(super) const SIDECAR_BYTES_MAX: u64 = 16 << 20;
const LIST_BYTES_MAX: u64 = 1 << 30;
const SUMS_BYTES_MAX: u64 = 1 << 30;

const FILES_PER_PIECE: usize = 256;

/// Versions of calls that the lists of a folder tell, each by identity and version.
pub(super) type ToldVersions = HashSet<(Digest, Digest)>;

/// Reads `folder` and hands on its content, until `hand_on` returns false.
pub(super) fn read(archive: &dyn Reader, folder: &Folder, mut hand_on: impl FnMut(Piece) -> bool) {
    match FolderReader::open(archive, folder) {
        Ok(reader) => drop(reader.read(&mut hand_on)),
        Err(damage) => drop(hand_on(Piece::Damage(damage))),
    }
}

struct FolderReader<'a> {
    folder: &'a Folder,
    day: Date,
    archive: &'a dyn Reader,
    key: Key,
    names: BTreeSet<String>,
    sums: BTreeMap<String, Digest>,
    /// What was read so far, by name: the audio by its sidecar's word.
    there: BTreeMap<String, Digest>,
}

/// The receiver has gone.
struct Unwanted;

type HandOn<'a> = &'a mut dyn FnMut(Piece) -> bool;

impl<'a> FolderReader<'a> {
    fn open(archive: &'a dyn Reader, folder: &'a Folder) -> Result<Self, Damage> {
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
        Ok(Self { folder, day, archive, key, names, sums, there: BTreeMap::new() })
    }

    fn read(mut self, hand_on: HandOn<'_>) -> Result<(), Unwanted> {
        let lists = self.lists();
        let told = self.versions_told(&lists, hand_on)?;
        self.read_files(&told, hand_on)?;
        for number in lists {
            self.read_list(number, hand_on)?;
        }
        let end = self.end(hand_on)?;
        give(hand_on, Piece::End(end))
    }

    fn lists(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.names.iter().filter_map(|name| list_number(name)).collect();
        numbers.sort_unstable();
        numbers
    }

    /// A first look into the lists: a sidecar's calls that they tell need not be handed on. Memory stays small, for only
    /// hashes are kept.
    fn versions_told(&self, lists: &[u32], hand_on: HandOn<'_>) -> Result<ToldVersions, Unwanted> {
        let mut told = ToldVersions::new();
        for number in lists {
            let Some(bytes) = self.file(&list_name(*number), LIST_BYTES_MAX, hand_on)? else { continue };
            let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
            told.extend(lines.filter_map(lines::version));
        }
        Ok(told)
    }

    fn read_files(&mut self, told: &ToldVersions, hand_on: HandOn<'_>) -> Result<(), Unwanted> {
        let mut files = Vec::with_capacity(FILES_PER_PIECE);
        let sidecars: Vec<String> =
            self.names.iter().filter(|name| name.ends_with(".wav.json")).cloned().collect();
        for name in sidecars {
            files.extend(self.read_sidecar(name, told, hand_on)?);
            if files.len() == FILES_PER_PIECE {
                give(
                    hand_on,
                    Piece::Files(std::mem::replace(&mut files, Vec::with_capacity(FILES_PER_PIECE))),
                )?;
            }
        }
        if files.is_empty() { Ok(()) } else { give(hand_on, Piece::Files(files)) }
    }

    fn read_sidecar(
        &mut self,
        name: String,
        told: &ToldVersions,
        hand_on: HandOn<'_>,
    ) -> Result<Option<FoundFile>, Unwanted> {
        let Some(bytes) = self.file(&name, SIDECAR_BYTES_MAX, hand_on)? else { return Ok(None) };
        let audio = name.trim_end_matches(".json").to_owned();
        let place = format!("{}/{audio}", self.folder);
        let sidecar_sha256 = Digest::of(&bytes);
        match sidecar::read(&bytes, sidecar_sha256, &place, told) {
            Ok(file) => {
                if file.is_displaced {
                    let path = printable(file.sidecar.file.path.as_bytes());
                    self.damaged(&name, format!("it belongs to {path}: somebody moved it"), hand_on)?;
                } else if self.names.contains(&audio) {
                    self.there.insert(audio, file.sidecar.file.sha256);
                }
                self.there.insert(name, sidecar_sha256);
                Ok(Some(file))
            }
            Err(problem) => {
                self.damaged(
                    &name,
                    format!("it cannot be read as a sidecar ({problem}): restore it from a backup"),
                    hand_on,
                )?;
                Ok(None)
            }
        }
    }

    fn read_list(&mut self, number: u32, hand_on: HandOn<'_>) -> Result<(), Unwanted> {
        let name = list_name(number);
        let Some(bytes) = self.file(&name, LIST_BYTES_MAX, hand_on)? else { return Ok(()) };
        let sha256 = Digest::of(&bytes);
        self.there.insert(name.clone(), sha256);
        let text = String::from_utf8_lossy(&bytes);
        let mut rest = text.lines().zip(1..);
        let head = rest.next().map_or("", |(head, _)| head);
        let format = match call_lines::check_head(head, self.folder.pbx(), self.day) {
            Ok(format) => format,
            Err(problem) => return self.damaged(&name, format!("{problem}; nothing in it is used"), hand_on),
        };
        let salted = (format == Format::Salted).then(|| (sha256, Lines::after_head(&text)));
        let mut found = FoundList { number, lines: Vec::new(), salted };
        for (line, at) in rest {
            match lines::read(line, self.day) {
                Ok(line) => found.lines.push(line),
                Err(problem) => self.damaged(
                    &format!("{name} line {at}"),
                    format!("it cannot be read: {problem}"),
                    hand_on,
                )?,
            }
        }
        give(hand_on, Piece::List(found))
    }

    /// What the folder comes to, once all was read.
    fn end(mut self, hand_on: HandOn<'_>) -> Result<FolderEnd, Unwanted> {
        let mut end = FolderEnd::default();
        let day_files: BTreeSet<String> =
            self.names.iter().chain(self.sums.keys()).filter(|name| is_day_file(name)).cloned().collect();
        for name in day_files {
            let found = self.day_file(&name, &mut end.certificates, hand_on)?;
            // What is listed counts: a file that was changed since is what verification looks for.
            let listed = self.sums.get(&name).copied();
            if found != listed && listed.is_some() {
                let problem =
                    if found.is_some() { "it is not what `SHA256SUMS` lists" } else { "it is gone" };
                self.damaged(&name, format!("{problem}: restore it from a backup"), hand_on)?;
            }
            if let Some(sha256) = listed.or(found) {
                end.day_files.push((format!("{}/{name}", self.folder), sha256));
            }
        }
        for found in &mut end.certificates {
            found.page_sha256 = self.there.get(&found.names.page()).copied();
            self.check_companion(found, hand_on)?;
        }
        end.is_in_step = self.there == self.sums;
        end.listed = self.listed_otherwise();
        Ok(end)
    }

    /// Whether the names of a certificate come to the root that was signed, and the list for `sha256sum` to the names.
    fn check_companion(&self, found: &FoundCertificate, hand_on: HandOn<'_>) -> Result<(), Unwanted> {
        let Some(told) = &found.companion else { return Ok(()) };
        let (companion, list) = (found.names.companion(), found.names.files());
        let Some(sha256) = self.there.get(&companion) else {
            // If the sums list it, it was reported already.
            if self.sums.contains_key(&companion) {
                return Ok(());
            }
            let problem = format!("it is gone, and {} has its root", found.names.document());
            return self.damaged(&companion, format!("{problem}: restore it from a backup"), hand_on);
        };
        let Some(bytes) = self.file(&companion, LIST_BYTES_MAX, hand_on)? else { return Ok(()) };
        let text = String::from_utf8_lossy(&bytes);
        if !told.is_of(&text) {
            let is_told = self.sums.get(&companion).is_some_and(|listed| listed != sha256);
            let problem = format!("it does not come to the root in {}", found.names.document());
            return match is_told {
                true => Ok(()),
                false => self.damaged(&companion, format!("{problem}: restore it from a backup"), hand_on),
            };
        }
        let listed = self.there.get(&list);
        if listed.is_some_and(|listed| *listed != Digest::of(list_of(&text)))
            && self.sums.get(&list) == listed
        {
            let problem = format!("it lists other files than {companion}: restore it from a backup");
            return self.damaged(&list, problem, hand_on);
        }
        Ok(())
    }

    fn day_file(
        &mut self,
        name: &str,
        certificates: &mut Vec<FoundCertificate>,
        hand_on: HandOn<'_>,
    ) -> Result<Option<Digest>, Unwanted> {
        if !self.there.contains_key(name)
            && self.names.contains(name)
            && let Some(bytes) = self.file(name, LIST_BYTES_MAX, hand_on)?
        {
            certificates.extend(certificates::read(name, &bytes));
            self.there.insert(name.to_owned(), Digest::of(&bytes));
        }
        Ok(self.there.get(name).copied())
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
    fn file(&self, name: &str, bytes_max: u64, hand_on: HandOn<'_>) -> Result<Option<Vec<u8>>, Unwanted> {
        match self.archive.read(&self.key.join(name.as_bytes()), bytes_max) {
            Ok(Some(bytes)) => Ok(Some(bytes)),
            Ok(None) => self.damaged(name, "it is not a regular file".to_owned(), hand_on).map(|()| None),
            Err(error) => self.damaged(name, error.to_string(), hand_on).map(|()| None),
        }
    }

    fn damaged(&self, name: &str, problem: String, hand_on: HandOn<'_>) -> Result<(), Unwanted> {
        let subject = printable(format!("{}/{name}", self.folder).as_bytes());
        give(hand_on, Piece::Damage(Damage::of(self.folder.pbx(), subject, problem)))
    }
}

fn give(hand_on: HandOn<'_>, piece: Piece) -> Result<(), Unwanted> {
    if hand_on(piece) { Ok(()) } else { Err(Unwanted) }
}

fn list_name(number: u32) -> String {
    crate::archive::day_file_name(number)
}

fn list_number(name: &str) -> Option<u32> {
    let number = name.strip_prefix("calls-")?.strip_suffix(".jsonl")?.parse().ok()?;
    // `calls-01.jsonl` is none of ours.
    (list_name(number) == name).then_some(number)
}

/// What the names of a certificate's files end in, after `certificate-<revision>`.
const CERTIFICATE_SUFFIXES: [&str; 5] = [".json", ".json.sig", ".names.jsonl", ".html", ".sha256"];

/// Whether `SHA256SUMS` lists a file of this name that is no recording.
fn is_day_file(name: &str) -> bool {
    let is_certificate = |rest: &str| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        digits > 0 && CERTIFICATE_SUFFIXES.contains(&&rest[digits..])
    };
    list_number(name).is_some() || name.strip_prefix("certificate-").is_some_and(is_certificate)
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
