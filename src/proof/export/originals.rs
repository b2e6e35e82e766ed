//! Copies originals and certificates into the bag, each file compared with its hash in the ledger or at issue.

use std::fs;

use serde::Serialize;

use super::bag::{Bag, PAYLOAD, Written};
use super::lists::{Absence, json_line};
use super::log::Log;
use super::selection::Recording;
use super::{ExportError, Packing, Result};
use crate::archive::Key;
use crate::base::digest::Digest;
use crate::base::recording::{Text, printable};
use crate::proof::certificate::{Names, Statement, list_of};
use crate::store::export::{CertificateRow, FileRow};

/// No id of a PBX begins with an underscore.
const DAMAGED: &str = "data/_damaged/";

#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Audio files that are unchanged.
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Everything selected that is not in the bag as it should be.
    pub(super) absent: Vec<Absence>,
    pub(super) certificates: Vec<String>,
    /// Pages of certificates whose hash is in no ledger entry, because version 0.1 issued them.
    pub(super) unproven_pages: Vec<String>,
}

/// A line of `data/files.jsonl`.
#[derive(Serialize)]
struct FileLine<'a> {
    file: String,
    #[serde(flatten)]
    row: &'a FileRow,
    proof: String,
}

/// Where a file of the archive is in the bag. BagIt manifests write a percent sign as `%25`, which `sha256sum` does not
/// understand, so a comma replaces it. No name in an archive contains a comma.
pub(super) fn bag_path(path: &str) -> String {
    format!("{PAYLOAD}{}", path.replace('%', ","))
}

impl Packing<'_> {
    /// Copies everything archived of the selection. What cannot be read goes into [`Copied::absent`].
    pub(super) fn copy_originals(&mut self) -> Result<()> {
        for recording in &self.selection.recordings {
            if recording.files.is_empty() {
                self.copied.absent.push(Absence::of(recording));
            }
            for file in &recording.files {
                self.sources.check_stop()?;
                self.copy_pair(recording, file)?;
            }
        }
        for certificate in &self.selection.certificates {
            self.sources.check_stop()?;
            self.copy_certificate(certificate)?;
        }
        Ok(())
    }

    fn copy_pair(&mut self, recording: &Recording, file: &FileRow) -> Result<()> {
        let absence = || Absence { attempts: None, ..Absence::of(recording) };
        if let Some(size_bytes) = self.copy_one(&file.path, file.sha256, absence)? {
            self.copied.files += 1;
            self.copied.bytes += size_bytes;
        }
        self.copy_one(&format!("{}.json", file.path), file.sidecar_sha256, absence)?;
        Ok(())
    }

    /// Copies one file; its size, if it is what was archived. If it is not, it goes into a folder of its own, so that nobody
    /// takes it for the original, and its `absence` is noted.
    fn copy_one(&mut self, path: &str, sha256: Digest, absence: impl Fn() -> Absence) -> Result<Option<u64>> {
        let (state, problem, found, is_in_bag) = match self.sources.archive.file(&Key::parse(path)?) {
            Ok(Some(mut original)) => match self.bag.copy(&bag_path(path), &mut original)? {
                Ok(written) if written.sha256 == sha256 => return Ok(Some(written.size_bytes)),
                Ok(Written { sha256, .. }) => {
                    ("damaged", "it has other bytes than were archived".to_owned(), Some(sha256), true)
                }
                Err(error) => ("unreadable", format!("it could be read in part only: {error}"), None, true),
            },
            Ok(None) => ("gone", "it was archived and is gone".to_owned(), None, false),
            Err(error) => ("unreadable", error.to_string(), None, false),
        };
        let file = if is_in_bag { Some(lay_apart(path, &mut self.bag)?) } else { None };
        self.copied.absent.push(Absence {
            path: path.to_owned(),
            state: state.to_owned(),
            reason: Some(problem),
            archived_sha256: Some(sha256.to_string()),
            found_sha256: found.map(|found| found.to_string()),
            file,
            ..absence()
        });
        Ok(None)
    }

    /// Copies exactly the files that were issued of a certificate. Without its document or its signature it does not count.
    fn copy_certificate(&mut self, certificate: &CertificateRow) -> Result<()> {
        let names = Names { revision: certificate.revision };
        let mut whole = Vec::new();
        for (path, sha256) in &certificate.files {
            let name = path.rsplit('/').next().unwrap_or_default();
            if self.copy_one(path, *sha256, || absence_of(certificate, name))?.is_some() {
                whole.push(name.to_owned());
            }
        }
        for (name, problem) in self.contradicted(certificate, &whole)? {
            let path = certificate.path_of(&name);
            let found = certificate.files.get(&path);
            self.copied.absent.push(Absence {
                state: "damaged".to_owned(),
                reason: Some(problem.to_owned()),
                found_sha256: found.map(ToString::to_string),
                file: Some(lay_apart(&path, &mut self.bag)?),
                path,
                ..absence_of(certificate, &name)
            });
            whole.retain(|there| *there != name);
        }
        if [names.document(), names.signature()].iter().all(|essential| whole.contains(essential)) {
            let copied = whole.iter().map(|name| bag_path(&certificate.path_of(name)));
            self.copied.certificates.extend(copied);
            if whole.contains(&names.page()) && !certificate.is_page_proven() {
                self.copied.unproven_pages.push(bag_path(&certificate.path_of(&names.page())));
            }
        }
        Ok(())
    }

    /// The files that match the catalog but not what was signed: a catalog rebuilt from the archive has them as they were
    /// found. The ledger has the hash of the document itself.
    fn contradicted(
        &self,
        certificate: &CertificateRow,
        whole: &[String],
    ) -> Result<Vec<(String, &'static str)>> {
        let names = Names { revision: certificate.revision };
        let read = |name: &str| {
            if !whole.iter().any(|there| there == name) {
                return Ok(None);
            }
            let path = self.bag.folder().join(bag_path(&certificate.path_of(name)));
            fs::read(&path).map(Some).map_err(|error| ExportError::io("read", &path, error))
        };
        let Some(document) = read(&names.document())? else { return Ok(Vec::new()) };
        let mut wrong = Vec::new();
        if let Some(signature) = read(&names.signature())?
            && !self.sources.keys.iter().any(|key| key.verifies(&document, &signature))
        {
            wrong.push((names.signature(), "no key of this ledger made this signature over the document"));
        }
        let statement = Statement::read(&document).ok();
        let Some(names_root) = statement.and_then(|statement| statement.names) else { return Ok(wrong) };
        let Some(companion) = read(&names.companion())? else { return Ok(wrong) };
        let text = String::from_utf8_lossy(&companion);
        match names_root.is_of(&text) {
            false => wrong.push((names.companion(), "it does not come to the root that was signed")),
            true if read(&names.files())?.is_some_and(|list| list != list_of(&text).as_bytes()) => {
                wrong.push((names.files(), "it lists other files than the signed names of this certificate"));
            }
            true => {}
        }
        Ok(wrong)
    }

    /// Writes the proof of each file, and the list of files with their proofs.
    pub(super) fn write_proofs(&mut self, log: &Log) -> Result<()> {
        let mut lines = Vec::new();
        for row in self.selection.files() {
            self.sources.check_stop()?;
            let proof = proof_path(row);
            self.bag.put(&proof, log.prove(row.ledger_number)?)?;
            let line = FileLine { file: bag_path(&row.path), row, proof };
            json_line(&mut lines, &line)
                .map_err(|error| ExportError::io("write", self.bag.folder(), error))?;
        }
        self.bag.put("data/files.jsonl", lines)?;
        Ok(())
    }
}

fn absence_of(certificate: &CertificateRow, name: &str) -> Absence {
    Absence {
        pbx: certificate.pbx.clone(),
        kind: "certificate".to_owned(),
        name: Text::from_bytes(name.as_bytes()),
        day: certificate.day.clone(),
        ..Absence::default()
    }
}

/// Moves a file of the bag to where nobody takes it for the original; returns its new place.
fn lay_apart(path: &str, bag: &mut Bag) -> Result<String> {
    let from = bag_path(path);
    let aside = from.replacen(PAYLOAD, DAMAGED, 1);
    bag.rename(&from, &aside)?;
    Ok(aside)
}

pub(super) fn proof_path(file: &FileRow) -> String {
    format!("proofs/{}.tlog-proof", file.ledger_number)
}

pub(super) fn name_of(recording: &Recording) -> String {
    printable(&recording.row.name)
}
