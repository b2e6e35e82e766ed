//! The ledger: its entries among themselves, what they say of files, call lists and certificates beside what the catalog
//! says, and what is published.

use serde_json::Value;

use super::report::{Class, Damage, Thing};
use super::settle::Tally;
use super::{Phase, Tools, anchors};
use crate::archive::day_file_name;
use crate::archive::marker as archive_marker;
use crate::archive::{ArchiveError, Folder, Reader as _};
use crate::base::blocking::on_thread;
use crate::base::digest::{Digest, hex};
use crate::formats::ledger_entry::LedgerEntry;
use crate::formats::tlog::leaf_hash;
use crate::proof::certificate::Names;
use crate::proof::notary::{self, Checked, Wrong};
use crate::store::catalog;
use crate::store::findings::FindingKind;
use crate::store::fixity::{self, EntryRow, Named};
use crate::store::ledger;

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

/// Checks the ledger in the database, the catalog against it, and the published one.
pub(super) async fn check(tools: &Tools<'_>, tally: &mut Tally) -> anyhow::Result<()> {
    let size = ledger::size(&mut *tools.db.read().await?).await?;
    tools.progress.begin(Phase::Ledger, size, 0);
    let mut damages = Vec::new();
    let mut number = 0;
    loop {
        if tools.budget.is_stopped() {
            tally.report.whole = false;
            return tally.keep(tools, damages).await;
        }
        let page = fixity::entries(&mut *tools.db.read().await?, number, PER_PAGE).await?;
        if page.is_empty() {
            break;
        }
        damages.extend(judge_page(&page, &mut number));
        damages.extend(compare_documents(tools, &page).await?);
        tools.progress.change(|now| now.units = u64::try_from(number).unwrap_or(0));
    }
    let alone = fixity::rows_without_entry(&mut *tools.db.read().await?, WITHOUT_ENTRY_MAX).await?;
    damages.extend(alone.into_iter().map(|(pbx, path, number)| {
        mismatch(&pbx, path).evidence(format!("entry {number} of the ledger"), "no such entry")
    }));
    damages.extend(published(tools).await?);
    damages.extend(anchors::check(tools, tally).await?);
    close_others(tools, tally, &damages).await?;
    tally.keep(tools, damages).await
}

/// What was found before and is not found now is well.
async fn close_others(tools: &Tools<'_>, tally: &Tally, damages: &[Damage]) -> anyhow::Result<()> {
    let of = |pbx: &str| {
        damages.iter().filter(|damage| damage.pbx == pbx).map(|damage| damage.path.clone()).collect()
    };
    tally.close_all_but(tools, OF_NO_PBX, &KINDS, of(OF_NO_PBX)).await?;
    for pbx in &tools.vault.config.pbx {
        tally.close_all_but(tools, &pbx.id, &MISMATCH, of(&pbx.id)).await?;
    }
    Ok(())
}

/// Judges entries that follow each other from `number` on, which afterwards is the number of the next one.
fn judge_page(page: &[EntryRow], number: &mut i64) -> Vec<Damage> {
    let mut damages = Vec::new();
    for row in page {
        if row.number > *number {
            let gap = format!("ledger entries {number} to {}", row.number - 1);
            damages.push(
                Damage::new(Class::LedgerMismatch, Thing::Entry, OF_NO_PBX, gap)
                    .evidence("entries", "nothing"),
            );
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
        let found = format!("an entry with leaf hash {leaf}");
        return Some(entry_damage(
            row.number,
            &format!("an entry with leaf hash {}", hex(&row.leaf_hash)),
            &found,
        ));
    }
    let Ok(entry) = serde_json::from_str::<Value>(&row.entry) else {
        return Some(entry_damage(row.number, "JSON", "something else"));
    };
    let conflict = match entry["type"].as_str() {
        Some("archived") => false,
        Some("conflict") => true,
        _ => {
            let file = row.file.as_ref()?;
            return Some(
                mismatch(&file.pbx, file.path.clone()).evidence("an entry of its archiving", "another entry"),
            );
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
    let damage = mismatch(&file.pbx, file.path.clone());
    Some(
        damage
            .evidence(format!("{member} {} by the ledger", entry[*member]), format!("{ours} in the catalog")),
    )
}

fn mismatch(pbx: &str, path: String) -> Damage {
    Damage::new(Class::LedgerMismatch, Thing::Entry, pbx, path)
}

fn entry_damage(number: i64, expected: &str, found: &str) -> Damage {
    let place = format!("ledger entry {number}");
    Damage::new(Class::LedgerMismatch, Thing::Entry, OF_NO_PBX, place).evidence(expected, found)
}

async fn published(tools: &Tools<'_>) -> anyhow::Result<Vec<Damage>> {
    let Checked { damages, database_is_other, .. } = tools.notary.check().await?;
    let database = database_is_other.then(|| {
        let damage = Damage::new(Class::LedgerMismatch, Thing::Entry, OF_NO_PBX, "ledger");
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
        Damage::new(class, Thing::Published, OF_NO_PBX, place)
            .evidence("what was signed", format!("it {what}"))
    });
    let marker = marker(tools).await?;
    Ok(database.into_iter().chain(files).chain(marker).collect())
}

async fn marker(tools: &Tools<'_>) -> anyhow::Result<Option<Damage>> {
    let db = tools.db;
    let known = fixity::marker(&mut *db.read().await?, notary::FOLDER).await?;
    let (area, key) = (tools.notary.area.clone(), archive_marker::key(notary::FOLDER));
    let place = key.as_bytes().to_vec();
    let there = on_thread(move || area.reader().read(&key, archive_marker::BYTES_MAX)).await?;
    let damage = |class| Damage::new(class, Thing::Marker, OF_NO_PBX, place.clone());
    let there = match there {
        Err(error @ ArchiveError::TooLarge { .. }) => {
            return Ok(Some(damage(Class::Altered).evidence("a marker of this archive", error.to_string())));
        }
        there => there?.map(Digest::of),
    };
    Ok(match (known, there) {
        (_, None) => Some(damage(Class::Missing).evidence("a marker of this archive", "nothing")),
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

/// A document that an entry names.
struct Document {
    pbx: String,
    path: String,
    sha256: Digest,
}

/// Where the catalog has other documents than these entries. The files are compared with the catalog elsewhere.
async fn compare_documents(tools: &Tools<'_>, page: &[EntryRow]) -> anyhow::Result<Vec<Damage>> {
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
    let known = catalog::day_files(&mut *tools.db.read().await?, &paths).await?;
    let disagreement = |Document { pbx, path, sha256 }: Document| {
        let found = match known.get(&path) {
            Some(known) if *known == sha256 => return None,
            Some(known) => format!("SHA-256 {known} in the catalog"),
            None => "none in the catalog".to_owned(),
        };
        let damage = Damage::new(Class::LedgerMismatch, Thing::Entry, &pbx, path);
        Some(damage.evidence(format!("SHA-256 {sha256} by the ledger"), found))
    };
    damages.extend(all.into_iter().filter_map(disagreement));
    Ok(damages)
}

fn named(entry: &str) -> anyhow::Result<Vec<Document>> {
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
        Some(Document { pbx: pbx.clone(), path: format!("{folder}/{name}"), sha256: sha256? })
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
