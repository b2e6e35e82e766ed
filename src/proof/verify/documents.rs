//! Call lists and certificates beside the ledger: the catalog must have them as their entries tell.

use serde::Deserialize;

use super::Tools;
use super::damage::{Class, Damage, Thing};
use crate::base::digest::Digest;
use crate::store::catalog;
use crate::store::fixity::EntryRow;

/// A document that an entry tells of.
struct Told {
    pbx: String,
    path: String,
    sha256: Digest,
}

/// An entry `lists` or `day_closed`, as far as it tells of documents.
#[derive(Deserialize)]
struct DocumentEntry {
    r#type: String,
    pbx: String,
    day: String,
    n: Option<u32>,
    sha256: Option<Digest>,
    revision: Option<u32>,
    certificate_sha256: Option<Digest>,
    /// None in entries of version 0.1.
    page_sha256: Option<Digest>,
}

/// In what the catalog says otherwise of documents than these entries. The files are compared with the catalog elsewhere.
pub(super) async fn compare(tools: &Tools<'_>, page: &[EntryRow]) -> anyhow::Result<Vec<Damage>> {
    let told: Vec<Told> = page.iter().flat_map(|row| told(&row.entry)).collect();
    if told.is_empty() {
        return Ok(Vec::new());
    }
    let paths: Vec<&str> = told.iter().map(|told| told.path.as_str()).collect();
    let known = catalog::day_files(&mut *tools.vault.state.db.read().await?, &paths).await?;
    let disagreement = |Told { pbx, path, sha256 }: Told| {
        let found = match known.get(&path) {
            Some(known) if *known == sha256 => return None,
            Some(known) => format!("SHA-256 {known} in the catalog"),
            None => "none in the catalog".to_owned(),
        };
        let damage = Damage::new(Class::LedgerMismatch, Thing::Entry, &pbx, path);
        Some(damage.told(format!("SHA-256 {sha256} by the ledger"), found))
    };
    Ok(told.into_iter().filter_map(disagreement).collect())
}

fn told(entry: &str) -> Vec<Told> {
    // Most entries are of recordings, and need not be read once more.
    let is_of_document =
        [r#""type":"lists""#, r#""type":"day_closed""#].iter().any(|word| entry.contains(word));
    let Some(entry) = is_of_document.then(|| serde_json::from_str::<DocumentEntry>(entry).ok()).flatten()
    else {
        return Vec::new();
    };
    let DocumentEntry { r#type, pbx, day, n, sha256, revision, certificate_sha256, page_sha256 } = entry;
    let folder = format!("{pbx}/{}", day.replace('-', "/"));
    let files = match (r#type.as_str(), n, revision) {
        ("lists", Some(n), _) => vec![(format!("{folder}/calls-{n}.jsonl"), sha256)],
        ("day_closed", _, Some(revision)) => vec![
            (format!("{folder}/certificate-{revision}.json"), certificate_sha256),
            (format!("{folder}/certificate-{revision}.html"), page_sha256),
        ],
        _ => Vec::new(),
    };
    let told =
        |(path, sha256): (String, Option<Digest>)| Some(Told { pbx: pbx.clone(), path, sha256: sha256? });
    files.into_iter().filter_map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_tell_of_the_documents_whose_hashes_they_have() {
        let hash = Digest::of("a");
        let paths =
            |entry: String| told(&entry).into_iter().map(|told| told.path).collect::<Vec<_>>().join(" ");
        let list = format!(r#"{{"day":"2026-11-21","n":3,"pbx":"hq","sha256":"{hash}","type":"lists"}}"#);
        assert_eq!(paths(list), "hq/2026/11/21/calls-3.jsonl");
        let closed = |more: &str| {
            format!(
                r#"{{"certificate_sha256":"{hash}","day":"2026-11-21"{more},"pbx":"hq","revision":2,"type":"day_closed"}}"#
            )
        };
        assert_eq!(paths(closed("")), "hq/2026/11/21/certificate-2.json");
        let page = closed(&format!(r#","page_sha256":"{hash}""#));
        assert_eq!(paths(page), "hq/2026/11/21/certificate-2.json hq/2026/11/21/certificate-2.html");
        assert_eq!(paths(r#"{"pbx":"hq","type":"archived"}"#.to_owned()), "");
    }
}
