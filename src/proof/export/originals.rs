//! Copies originals into the bag, each compared with its hash in the ledger.

use serde::Serialize;

use super::bag::{Bag, PAYLOAD, Written};
use super::cdr::{Absence, json_line};
use super::log::Log;
use super::selection::{Recording, Selection};
use super::{ExportError, Stop, certificates};
use crate::archive::{Destination, Key, Reader, Stream};
use crate::base::digest::Digest;
use crate::base::recording::printable;
use crate::formats::tlog::VerifyingKey;
use crate::store::export::FileRow;

/// No id of a PBX begins with an underscore.
const DAMAGED: &str = "data/_damaged/";

/// What became of the originals.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Audio files that are unchanged.
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Everything selected that is not in the bag as it should be.
    pub(super) absent: Vec<Absence>,
    /// Files of certificates.
    pub(super) certificates: Vec<String>,
    /// Pages of certificates whose hash is in no ledger entry, because version 0.1 issued them.
    pub(super) unproven_pages: Vec<String>,
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

/// Where a file of the archive is in the bag. BagIt manifests write a percent sign as `%25`, which `sha256sum` does not
/// understand, so a comma replaces it. No name in an archive contains a comma.
pub(super) fn bag_path(path: &str) -> String {
    format!("{PAYLOAD}{}", path.replace('%', ","))
}

/// Copies everything archived of a selection. What cannot be read goes into [`Copied::absent`].
pub(super) fn copy(
    selection: &Selection,
    archive: &dyn Reader,
    keys: &[VerifyingKey],
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
            copy_pair(recording, file, archive, bag, &mut copied)?;
        }
    }
    for certificate in &selection.certificates {
        stop.check()?;
        certificates::copy(certificate, archive, keys, bag, &mut copied)?;
    }
    Ok(copied)
}

fn copy_pair(
    recording: &Recording,
    file: &FileRow,
    archive: &dyn Reader,
    bag: &mut Bag,
    copied: &mut Copied,
) -> Result<(), ExportError> {
    let place = Destination::parse(&file.path)?;
    let audio = archive.file(&Key::from(&place)).map_err(|error| error.to_string());
    match copy_one(audio, &file.path, &file.sha256, bag)? {
        Ok(written) => {
            copied.files += 1;
            copied.bytes += written.size_bytes;
        }
        Err(damage) => copied.absent.push(damage.of(recording, &file.path)),
    }
    let path = format!("{}.json", file.path);
    let sidecar = archive.file(&place.sidecar()).map_err(|error| error.to_string());
    if let Err(damage) = copy_one(sidecar, &path, &file.sidecar_sha256, bag)? {
        copied.absent.push(damage.of(recording, &path));
    }
    Ok(())
}

pub(super) struct Damage {
    /// In hex.
    pub(super) expected: Option<String>,
    pub(super) found: Option<Digest>,
    pub(super) problem: String,
    /// Where it is in the bag.
    pub(super) file: Option<String>,
    pub(super) state: &'static str,
}

impl Damage {
    fn of(self, recording: &Recording, path: &str) -> Absence {
        self.on(Absence { attempts: None, ..Absence::of(recording) }, path)
    }

    pub(super) fn on(self, absence: Absence, path: &str) -> Absence {
        Absence {
            path: path.to_owned(),
            state: self.state.to_owned(),
            reason: Some(self.problem),
            archived_sha256: self.expected,
            found_sha256: self.found.map(|found| found.to_string()),
            file: self.file,
            ..absence
        }
    }
}

/// Copies one file. If it is not what was archived, it goes into a folder of its own, so that nobody takes it for the
/// original.
pub(super) fn copy_one(
    original: Result<Option<Stream>, String>,
    path: &str,
    sha256: &[u8],
    bag: &mut Bag,
) -> Result<Result<Written, Damage>, ExportError> {
    let expected = Some(crate::base::digest::hex(sha256));
    let lacking =
        |state, problem| Damage { expected: expected.clone(), found: None, problem, file: None, state };
    let mut original = match original {
        Ok(Some(original)) => original,
        Ok(None) => return Ok(Err(lacking("gone", "it was archived and is gone".to_owned()))),
        Err(problem) => return Ok(Err(lacking("unreadable", problem))),
    };
    let to = bag_path(path);
    let (state, found, problem) = match bag.copy(&to, &mut original)? {
        Ok(written) if written.sha256.as_bytes() == sha256 => return Ok(Ok(written)),
        Ok(written) => ("damaged", Some(written.sha256), "it has other bytes than were archived".to_owned()),
        Err(error) => ("unreadable", None, format!("it could be read in part only: {error}")),
    };
    let file = Some(lay_apart(path, bag)?);
    Ok(Err(Damage { expected, found, problem, file, state }))
}

/// Moves a file of the bag to where nobody takes it for the original; returns its new place.
pub(super) fn lay_apart(path: &str, bag: &mut Bag) -> Result<String, ExportError> {
    let from = bag_path(path);
    let aside = from.replacen(PAYLOAD, DAMAGED, 1);
    bag.rename(&from, &aside)?;
    Ok(aside)
}

/// Writes the proof of each file, and the list of files with their proofs.
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
            sha256: crate::base::digest::hex(&file.sha256),
            sidecar_sha256: crate::base::digest::hex(&file.sidecar_sha256),
            ledger_number,
            proof,
        };
        json_line(&mut lines, &line).map_err(|error| ExportError::io("write", bag.folder(), error))?;
    }
    bag.write_with("data/files.jsonl", |to| to.write_all(&lines))?;
    Ok(())
}

pub(super) fn proof_path(file: &FileRow) -> String {
    format!("proofs/{}.tlog-proof", entry_number(file))
}

/// The number of the `archived` entry of a file.
pub(super) fn entry_number(file: &FileRow) -> u64 {
    u64::try_from(file.ledger_number).unwrap_or(0)
}

/// As a page and a terminal may show it.
pub(super) fn name_of(recording: &Recording) -> String {
    printable(&recording.row.name)
}
