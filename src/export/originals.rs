//! Copying originals into the bag, each compared with what was archived.

use std::collections::BTreeSet;
use std::fs::File;

use serde::Serialize;

use super::bag::{Bag, PAYLOAD, Written};
use super::cdr::{Absence, json_line};
use super::log::Log;
use super::rows::FileRow;
use super::selection::{Recording, Selection};
use super::{ExportError, Stop};
use crate::archive::{Destination, Folder, Originals};
use crate::digest::Digest;
use crate::recording::printable;

/// Where damaged files are: no PBX's id begins so.
const DAMAGED: &str = "data/_damaged/";
/// What certificates of a day begin with.
const CERTIFICATE: &str = "certificate-";

/// What became of the originals.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Audio files that are whole.
    pub(super) files: u64,
    /// Bytes of these.
    pub(super) bytes: u64,
    /// Everything that was chosen and is not in the bag as it should be.
    pub(super) absent: Vec<Absence>,
    /// Certificates of days.
    pub(super) certificates: Vec<String>,
}

/// A line of `data/files.jsonl`.
#[derive(Serialize)]
struct FileLine<'a> {
    file: String,
    path: &'a str,
    size_bytes: i64,
    sha256: String,
    sidecar_sha256: String,
    ledger_number: u64,
    proof: String,
}

/// Where a file of the archive is in the bag. Manifests of BagIt write a percent sign as `%25`, which `sha256sum` does not
/// understand: so there is none. No name in an archive has a comma.
pub(super) fn bag_path(path: &str) -> String {
    format!("{PAYLOAD}{}", path.replace('%', ","))
}

/// Copies all that is archived of a selection.
///
/// # Errors
/// If the bag cannot be written. What cannot be read is told in [`Copied::absent`].
pub(super) fn copy(
    selection: &Selection,
    originals: &Originals,
    bag: &mut Bag,
    stop: &Stop,
) -> Result<Copied, ExportError> {
    let mut copied = Copied::default();
    for recording in &selection.recordings {
        if recording.files.is_empty() {
            copied.absent.push(Absence::of(recording));
        }
        for file in &recording.files {
            stop.check()?;
            copy_pair(recording, file, originals, bag, &mut copied)?;
        }
    }
    for folder in day_folders(selection)? {
        copy_certificates(&folder, originals, bag, &mut copied)?;
    }
    Ok(copied)
}

fn copy_pair(
    recording: &Recording,
    file: &FileRow,
    originals: &Originals,
    bag: &mut Bag,
    copied: &mut Copied,
) -> Result<(), ExportError> {
    let place = Destination::parse(&file.path)?;
    let audio = originals.audio(&place).map_err(|error| error.to_string());
    match copy_one(audio, &file.path, &file.sha256, bag)? {
        Ok(written) => {
            copied.files += 1;
            copied.bytes += written.size_bytes;
        }
        Err(damage) => copied.absent.push(damage.of(recording, &file.path)),
    }
    let path = format!("{}.json", file.path);
    let sidecar = originals.sidecar(&place).map_err(|error| error.to_string());
    if let Err(damage) = copy_one(sidecar, &path, &file.sidecar_sha256, bag)? {
        copied.absent.push(damage.of(recording, &path));
    }
    Ok(())
}

/// What is wrong with an original.
struct Damage {
    expected: String,
    found: Option<Digest>,
    problem: String,
    file: Option<String>,
}

impl Damage {
    fn of(self, recording: &Recording, path: &str) -> Absence {
        let state = if self.file.is_some() { "damaged" } else { "gone" };
        Absence {
            path: path.to_owned(),
            state: state.to_owned(),
            reason: Some(self.problem),
            archived_sha256: Some(self.expected),
            found_sha256: self.found.map(|found| found.to_string()),
            file: self.file,
            attempts: None,
            ..Absence::of(recording)
        }
    }
}

/// Copies one file. One that is not what was archived comes into a folder of its own, so that nobody takes it for the
/// original.
fn copy_one(
    original: Result<Option<File>, String>,
    path: &str,
    sha256: &[u8],
    bag: &mut Bag,
) -> Result<Result<Written, Damage>, ExportError> {
    let expected = crate::digest::hex(sha256);
    let gone = |problem: String| Damage { expected: expected.clone(), found: None, problem, file: None };
    let mut original = match original {
        Ok(Some(original)) => original,
        Ok(None) => return Ok(Err(gone("it was archived and is gone".to_owned()))),
        Err(problem) => return Ok(Err(gone(problem))),
    };
    let to = bag_path(path);
    let (found, problem) = match bag.copy(&to, &mut original)? {
        Ok(written) if written.sha256.as_bytes() == sha256 => return Ok(Ok(written)),
        Ok(written) => (Some(written.sha256), "it has other bytes than were archived".to_owned()),
        Err(error) => (None, format!("it could be read in part only: {error}")),
    };
    let aside = to.replacen(PAYLOAD, DAMAGED, 1);
    bag.rename(&to, &aside)?;
    Ok(Err(Damage { expected, found, problem, file: Some(aside) }))
}

/// The day folders of all that was chosen.
fn day_folders(selection: &Selection) -> Result<BTreeSet<Folder>, ExportError> {
    let of_calls = selection.calls.iter().map(|call| (&*call.pbx, &*call.day));
    let of_recordings =
        selection.recordings.iter().map(|recording| (&*recording.row.pbx, &*recording.row.day));
    let days: BTreeSet<(&str, &str)> = of_calls.chain(of_recordings).collect();
    let folders = days.into_iter().filter_map(|(pbx, day)| Some(Folder::day(pbx, day.parse().ok()?)));
    Ok(folders.collect::<Result<_, _>>()?)
}

fn copy_certificates(
    folder: &Folder,
    originals: &Originals,
    bag: &mut Bag,
    copied: &mut Copied,
) -> Result<(), ExportError> {
    for name in originals.names(folder)?.iter().filter(|name| is_certificate(name)) {
        if let Some(mut file) = originals.file(folder, name)? {
            let path = bag_path(&format!("{folder}/{name}"));
            let read = bag.copy(&path, &mut file)?;
            read.map_err(|error| ExportError::io("read", std::path::Path::new(name), error))?;
            copied.certificates.push(path);
        }
    }
    Ok(())
}

/// Names are not ours alone: whoever may write to the archive chose them.
fn is_certificate(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.starts_with(CERTIFICATE) && name.bytes().all(is_plain)
}

/// Writes the proof of each file, and a list of the files with their proofs.
pub(super) fn write_proofs(
    selection: &Selection,
    log: &Log,
    bag: &mut Bag,
    stop: &Stop,
) -> Result<(), ExportError> {
    let mut lines = Vec::new();
    for file in selection.recordings.iter().flat_map(|recording| &recording.files) {
        stop.check()?;
        let (ledger_number, proof) = (entry_number(file), proof_path(file));
        bag.put(&proof, log.prove(ledger_number)?)?;
        let line = FileLine {
            file: bag_path(&file.path),
            path: &file.path,
            size_bytes: file.size_bytes,
            sha256: crate::digest::hex(&file.sha256),
            sidecar_sha256: crate::digest::hex(&file.sidecar_sha256),
            ledger_number,
            proof,
        };
        json_line(&mut lines, &line).map_err(|error| ExportError::io("write", bag.folder(), error))?;
    }
    bag.write_with("data/files.jsonl", |to| to.write_all(&lines))?;
    Ok(())
}

/// Where the proof of a file is in the bag.
pub(super) fn proof_path(file: &FileRow) -> String {
    format!("proofs/{}.tlog-proof", entry_number(file))
}

/// The number of the entry that says that a file was archived.
pub(super) fn entry_number(file: &FileRow) -> u64 {
    u64::try_from(file.ledger_number).unwrap_or(0)
}

/// The name of a recording, as a page and a terminal may show it.
pub(super) fn name_of(recording: &Recording) -> String {
    printable(&recording.row.name)
}
