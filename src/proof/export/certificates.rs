//! Copies certificates into the bag: exactly the files that were issued.

use std::fs;

use super::ExportError;
use super::bag::Bag;
use super::cdr::Absence;
use super::originals::{Copied, Damage, bag_path, copy_one, lay_apart};
use crate::archive::{Folder, Key, Reader};
use crate::base::recording::Text;
use crate::formats::tlog::VerifyingKey;
use crate::proof::certificate::{Names, Statement, list_of};
use crate::store::export::CertificateRow;

/// Copies the files of a certificate, each compared with its hash at issue. Without its document or its signature it does not
/// count.
pub(super) fn copy(
    certificate: &CertificateRow,
    archive: &dyn Reader,
    keys: &[VerifyingKey],
    bag: &mut Bag,
    copied: &mut Copied,
) -> Result<(), ExportError> {
    let Some((folder, _)) = certificate.path.rsplit_once('/') else { return Ok(()) };
    let (folder, names) = (Folder::parse(folder)?, Names { revision: certificate.revision });
    let mut whole = Vec::new();
    for (path, sha256) in &certificate.files {
        let name = path.rsplit('/').next().unwrap_or_default();
        let original =
            archive.file(&Key::from(&folder).join(name.as_bytes())).map_err(|error| error.to_string());
        match copy_one(original, path, sha256, bag)? {
            Ok(_) => whole.push(name.to_owned()),
            Err(damage) => copied.absent.push(damage.of_certificate(certificate, path)),
        }
    }
    for (name, problem) in contradicted(certificate, &whole, keys, bag)? {
        let path = certificate.path_of(&name);
        let file = Some(lay_apart(&path, bag)?);
        let found = certificate.files.get(&path).and_then(|sha256| sha256.as_slice().try_into().ok());
        let damage = Damage { expected: None, found, problem: problem.to_owned(), file, state: "damaged" };
        copied.absent.push(damage.of_certificate(certificate, &path));
        whole.retain(|there| *there != name);
    }
    if [names.document(), names.signature()].iter().all(|essential| whole.contains(essential)) {
        copied.certificates.extend(whole.iter().map(|name| bag_path(&certificate.path_of(name))));
        if whole.contains(&names.page()) && !certificate.is_page_proven() {
            copied.unproven_pages.push(bag_path(&certificate.path_of(&names.page())));
        }
    }
    Ok(())
}

/// The files that match the catalog but not what was signed: a catalog rebuilt from the archive has them as they were found.
/// The ledger has the hash of the document itself.
fn contradicted(
    certificate: &CertificateRow,
    whole: &[String],
    keys: &[VerifyingKey],
    bag: &Bag,
) -> Result<Vec<(String, &'static str)>, ExportError> {
    let names = Names { revision: certificate.revision };
    let read = |name: &str| {
        let path = bag.folder().join(bag_path(&certificate.path_of(name)));
        whole
            .iter()
            .any(|there| there == name)
            .then(|| fs::read(&path))
            .transpose()
            .map_err(|error| ExportError::io("read", &path, error))
    };
    let Some(document) = read(&names.document())? else { return Ok(Vec::new()) };
    let mut wrong = Vec::new();
    if let Some(signature) = read(&names.signature())?
        && !keys.iter().any(|key| key.verifies(&document, &signature))
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

impl Damage {
    fn of_certificate(self, certificate: &CertificateRow, path: &str) -> Absence {
        let absence = Absence {
            pbx: certificate.pbx.clone(),
            kind: "certificate".to_owned(),
            name: Text::from_bytes(path.rsplit('/').next().unwrap_or_default().as_bytes()),
            day: certificate.day.clone(),
            ..Absence::default()
        };
        self.on(absence, path)
    }
}
