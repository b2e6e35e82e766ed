//! Call lists and certificates beside the ledger: the catalog must have them as their entries tell.

use super::Tools;
use super::damage::{Class, Damage, Thing};
use super::ledger::entry_damage;
use crate::archive::{Folder, day_file_name};
use crate::base::digest::Digest;
use crate::formats::ledger_entry::LedgerEntry;
use crate::proof::certificate::Names;
use crate::store::catalog;
use crate::store::fixity::EntryRow;

/// A document that an entry names.
struct Named {
    pbx: String,
    path: String,
    sha256: Digest,
}

/// Where the catalog has other documents than these entries. The files are compared with the catalog elsewhere.
pub(super) async fn compare(tools: &Tools<'_>, page: &[EntryRow]) -> anyhow::Result<Vec<Damage>> {
    let (mut damages, mut all) = (Vec::new(), Vec::new());
    for row in page {
        match named(&row.entry) {
            Ok(documents) => all.extend(documents),
            Err(error) => {
                damages.push(entry_damage(row.number, "a list or a certificate", &error.to_string()))
            }
        }
    }
    if all.is_empty() {
        return Ok(damages);
    }
    let paths: Vec<&str> = all.iter().map(|named| named.path.as_str()).collect();
    let known = catalog::day_files(&mut *tools.vault.state.db.read().await?, &paths).await?;
    let disagreement = |Named { pbx, path, sha256 }: Named| {
        let found = match known.get(&path) {
            Some(known) if *known == sha256 => return None,
            Some(known) => format!("SHA-256 {known} in the catalog"),
            None => "none in the catalog".to_owned(),
        };
        let damage = Damage::new(Class::LedgerMismatch, Thing::Entry, &pbx, path);
        Some(damage.told(format!("SHA-256 {sha256} by the ledger"), found))
    };
    damages.extend(all.into_iter().filter_map(disagreement));
    Ok(damages)
}

fn named(entry: &str) -> anyhow::Result<Vec<Named>> {
    // Most entries are about recordings, and need not be read once more.
    let is_of_document = ["lists", "day_closed"].map(|word| entry.contains(&format!(r#""type":"{word}""#)));
    if is_of_document == [false, false] {
        return Ok(Vec::new());
    }
    let (pbx, day, files) = match LedgerEntry::read(entry)? {
        LedgerEntry::Lists(list) => (list.pbx, list.day, vec![(day_file_name(list.n), Some(list.sha256))]),
        LedgerEntry::DayClosed(closed) => {
            let names = Names { revision: closed.revision.into() };
            let files =
                vec![(names.document(), Some(closed.certificate_sha256)), (names.page(), closed.page_sha256)];
            (closed.pbx, closed.day, files)
        }
        _ => return Ok(Vec::new()),
    };
    let folder = Folder::day(&pbx, day)?;
    let named = |(name, sha256): (String, Option<Digest>)| {
        Some(Named { pbx: pbx.clone(), path: format!("{folder}/{name}"), sha256: sha256? })
    };
    Ok(files.into_iter().filter_map(named).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_tell_of_the_documents_whose_hashes_they_have() {
        let hash = Digest::of("a");
        let paths = |entry: &str| {
            named(entry).unwrap().into_iter().map(|named| named.path).collect::<Vec<_>>().join(" ")
        };
        let list = format!(
            r#"{{"day":"2026-11-21","lines":1,"n":3,"pbx":"hq","root":"{hash}","sha256":"{hash}","type":"lists"}}"#
        );
        assert_eq!(paths(&list), "hq/2026/11/21/calls-3.jsonl");
        let closed = |more: &str| {
            format!(
                r#"{{"archived":0,"at":"2026-11-22T00:00:00Z","certificate_sha256":"{hash}","day":"2026-11-21","excluded":0,"listed":0,"missing":0{more},"pbx":"hq","pending":0,"revision":2,"stuck":0,"type":"day_closed"}}"#
            )
        };
        assert_eq!(paths(&closed("")), "hq/2026/11/21/certificate-2.json");
        let page = closed(&format!(r#","page_sha256":"{hash}""#));
        assert_eq!(paths(&page), "hq/2026/11/21/certificate-2.json hq/2026/11/21/certificate-2.html");
        assert_eq!(paths(r#"{"pbx":"hq","type":"archived"}"#), "");
        assert!(named(r#"{"pbx":"hq","type":"lists"}"#).is_err());
    }
}
