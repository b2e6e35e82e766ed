//! The ledger: its entries among themselves, what they say of files, call lists and certificates beside what the catalog
//! says, and what is published.

use anyhow::Result;
use serde_json::Value;

use super::Verification;
use super::report::{Class, Damage, Thing};
use super::settle::Tally;
use crate::archive::{ArchiveError, Folder, Reader as _, day_file_name, marker};
use crate::base::blocking::on_thread;
use crate::base::digest::{Digest, hex};
use crate::formats::ledger_entry::LedgerEntry;
use crate::formats::tlog::leaf_hash;
use crate::proof::certificate::Names;
use crate::proof::notary::{self, Checked, Wrong};
use crate::store::catalog;
use crate::store::findings::FindingKind;
use crate::store::fixity::{self, EntryRow, Named};

const PER_PAGE: i64 = 2_000;
const WITHOUT_ENTRY_MAX: i64 = 1_000;
/// Under what the finding of the whole ledger's damage is kept: it is of no PBX.
const OF_NO_PBX: &str = "";
/// As what damage of the ledger is kept.
const KINDS: [FindingKind; 5] = [
    FindingKind::FileUnreadable,
    FindingKind::LedgerMismatch,
    FindingKind::FileMissing,
    FindingKind::FileAltered,
    FindingKind::FileUnlisted,
];
const MISMATCH: [FindingKind; 1] = [FindingKind::LedgerMismatch];

impl Tally<'_> {
    /// Checks the ledger in the database, the catalog against it, and the published one.
    pub(super) async fn check_ledger(&mut self) -> Result<()> {
        let db = self.verification.db;
        let mut damages = Vec::new();
        let mut number = 0;
        loop {
            if self.verification.budget.is_stopped() {
                self.report.whole = false;
                return self.keep(damages).await;
            }
            let page = fixity::entries(&mut *db.read().await?, number, PER_PAGE).await?;
            if page.is_empty() {
                break;
            }
            damages.extend(judge_page(&page, &mut number));
            damages.extend(self.verification.compare_documents(&page).await?);
        }
        let alone = fixity::rows_without_entry(&mut *db.read().await?, WITHOUT_ENTRY_MAX).await?;
        damages.extend(alone.into_iter().map(|(pbx, path, number)| {
            mismatch(&pbx, path).evidence(format!("entry {number} of the ledger"), "no such entry")
        }));
        damages.extend(self.verification.check_published().await?);
        damages.extend(self.check_time_stamps().await?);
        // What was found before and is not found now is well.
        let of = |pbx: &str| {
            damages.iter().filter(|damage| damage.pbx == pbx).map(|damage| damage.path.clone()).collect()
        };
        self.close_all_but(OF_NO_PBX, &KINDS, of(OF_NO_PBX)).await?;
        for pbx in &self.verification.vault.config.pbx {
            self.close_all_but(&pbx.id, &MISMATCH, of(&pbx.id)).await?;
        }
        self.keep(damages).await
    }
}

/// Judges entries that follow each other from `number` on, which afterwards is the number of the next one.
fn judge_page(page: &[EntryRow], number: &mut i64) -> Vec<Damage> {
    let mut damages = Vec::new();
    for row in page {
        if row.number > *number {
            let gap = format!("ledger entries {number} to {}", row.number - 1);
            damages.push(mismatch(OF_NO_PBX, gap).evidence("entries", "nothing"));
        }
        // An entry comes once for each file that the catalog has for it.
        let is_second = row.number < *number;
        *number = row.number + 1;
        match is_second {
            true => damages.push(entry_damage(row.number, "one file of the catalog", "another one too")),
            false => damages.extend(judge(row)),
        }
    }
    damages
}

fn judge(row: &EntryRow) -> Option<Damage> {
    let leaf = leaf_hash(row.entry.as_bytes());
    if leaf.as_bytes()[..] != row.leaf_hash[..] {
        let [expected, found] =
            [hex(&row.leaf_hash), leaf.to_string()].map(|hash| format!("an entry with leaf hash {hash}"));
        return Some(entry_damage(row.number, &expected, &found));
    }
    let Ok(entry) = serde_json::from_str::<Value>(&row.entry) else {
        return Some(entry_damage(row.number, "JSON", "something else"));
    };
    let conflict = match entry["type"].as_str() {
        Some("archived") => false,
        Some("conflict") => true,
        _ => {
            let of_file = row.file.as_ref().map(|file| mismatch(&file.pbx, file.path.clone()));
            return of_file.map(|damage| damage.evidence("an entry of its archiving", "another entry"));
        }
    };
    match &row.file {
        None => Some(entry_damage(row.number, "a file in the catalog", "none")),
        Some(file) => disagreement(&entry, file, conflict),
    }
}

/// In what the catalog says otherwise of a file than its entry.
fn disagreement(entry: &Value, file: &Named, conflict: bool) -> Option<Damage> {
    let hash =
        |bytes: &[u8]| Digest::try_from(bytes).map_or_else(|_| hex(bytes), |digest| digest.to_string());
    let catalog = [
        ("pbx", Value::from(file.pbx.clone())),
        ("sha256", hash(&file.sha256).into()),
        ("sidecar_sha256", hash(&file.sidecar_sha256).into()),
        ("size_bytes", file.size_bytes.into()),
    ];
    let (member, ours) = catalog
        .iter()
        .find(|(member, ours)| entry[*member] != *ours)
        .or_else(|| (file.conflict != conflict).then_some(&catalog[0]))?;
    let theirs = format!("{member} {} by the ledger", entry[*member]);
    Some(mismatch(&file.pbx, file.path.clone()).evidence(theirs, format!("{ours} in the catalog")))
}

fn mismatch(pbx: &str, path: String) -> Damage {
    Damage::new(Class::LedgerMismatch, Thing::Entry, pbx, path)
}

fn entry_damage(number: i64, expected: &str, found: &str) -> Damage {
    mismatch(OF_NO_PBX, format!("ledger entry {number}")).evidence(expected, found)
}

impl Verification<'_> {
    async fn check_published(&self) -> Result<Vec<Damage>> {
        let Checked { damages, database_is_other, .. } = self.notary.check().await?;
        let database = database_is_other.then(|| {
            let damage = mismatch(OF_NO_PBX, "ledger".to_owned());
            damage.evidence("the entries that were signed", "others in the database")
        });
        let files = damages.into_iter().map(|notary::Damage { path, wrong, what }| {
            let class = match wrong {
                Wrong::Missing => Class::Missing,
                Wrong::Altered => Class::Altered,
                Wrong::Unlisted => Class::Unlisted,
                Wrong::History => Class::LedgerMismatch,
            };
            let place = format!("{}/{path}", notary::FOLDER);
            let damage = Damage::new(class, Thing::Published, OF_NO_PBX, place);
            damage.evidence("what was signed", format!("it {what}"))
        });
        let marker = self.check_marker_of_ledger().await?;
        Ok(database.into_iter().chain(files).chain(marker).collect())
    }

    async fn check_marker_of_ledger(&self) -> Result<Option<Damage>> {
        let db = self.db;
        let known = fixity::marker(&mut *db.read().await?, notary::FOLDER).await?;
        let (area, key) = (self.notary.area.clone(), marker::key(notary::FOLDER));
        let damage = |class| Damage::new(class, Thing::Marker, OF_NO_PBX, key.as_bytes());
        let (read, of) = (key.clone(), "a marker of this archive");
        let there = on_thread(move || area.reader().read(&read, marker::BYTES_MAX)).await?;
        let there = match there {
            Err(error @ ArchiveError::TooLarge { .. }) => {
                return Ok(Some(damage(Class::Altered).evidence(of, error.to_string())));
            }
            there => there?.map(Digest::of),
        };
        Ok(match (known, there) {
            (_, None) => Some(damage(Class::Missing).evidence(of, "nothing")),
            (Some(known), Some(there)) if known != there => {
                Some(damage(Class::Altered).evidence(format!("SHA-256 {known}"), format!("SHA-256 {there}")))
            }
            (Some(_), Some(_)) => None,
            // The folder was opened by it.
            (None, Some(there)) => {
                db.write(async move |tx| fixity::note_marker(tx, notary::FOLDER, &there).await).await?;
                None
            }
        })
    }

    /// Where the catalog has other documents than these entries. The files are compared with the catalog elsewhere.
    async fn compare_documents(&self, page: &[EntryRow]) -> Result<Vec<Damage>> {
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
        let known = catalog::day_files(&mut *self.db.read().await?, &paths).await?;
        for Document { pbx, path, sha256 } in all {
            let found = match known.get(&path) {
                Some(known) if *known == sha256 => continue,
                Some(known) => format!("SHA-256 {known} in the catalog"),
                None => "none in the catalog".to_owned(),
            };
            damages.push(mismatch(&pbx, path).evidence(format!("SHA-256 {sha256} by the ledger"), found));
        }
        Ok(damages)
    }
}

/// A document that an entry names.
struct Document {
    pbx: String,
    path: String,
    sha256: Digest,
}

fn named(entry: &str) -> Result<Vec<Document>> {
    // Most entries are about recordings, and need not be read once more.
    let is_of_document = ["lists", "day_closed"].map(|word| entry.contains(&format!(r#""type":"{word}""#)));
    if is_of_document == [false, false] {
        return Ok(Vec::new());
    }
    let (pbx, day, files) = match LedgerEntry::read(entry)? {
        LedgerEntry::Lists(list) => (list.pbx, list.day, vec![(day_file_name(list.n), list.sha256)]),
        LedgerEntry::DayClosed(closed) => {
            let files = Names::proven_by(&closed);
            (closed.pbx, closed.day, files)
        }
        _ => return Ok(Vec::new()),
    };
    let folder = Folder::day(&pbx, day)?;
    let named = |(name, sha256)| Document { pbx: pbx.clone(), path: format!("{folder}/{name}"), sha256 };
    Ok(files.into_iter().map(named).collect())
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
