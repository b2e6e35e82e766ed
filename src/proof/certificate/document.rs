//! The certificate's JSON, a format that others rely on: see `docs/archive-format.md`.
//!
//! It is signed, and its hash is in the ledger for good. So it names nobody: recordings by entries of the ledger and by
//! commitments, all else by counts. The names stand in the companion, of which it has the root.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::companion::{Counted, paths, ranges};
use crate::archive::{ArchiveError, Folder};
use crate::base::counts::{self, Counts};
use crate::base::digest::Digest;
use crate::config::PbxConfig;
use crate::formats::ledger_entry::DayEntry;
use crate::formats::salted::Lines;
use crate::formats::tlog::VerifyingKey;
use crate::proof::reconcile::{DayAccount, Filed, Listing};
use crate::store::calls::DayRow;
use crate::store::certificates::Issued;
use crate::store::ledger::RebuiltOn;

pub const SCHEMA: &str = "callvault-certificate/2";

pub(super) const PROGRAM: &str = env!("CARGO_PKG_NAME");
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a certificate is written from, read at one moment.
pub(super) struct Facts {
    pub(super) folder: Folder,
    pub(super) row: DayRow,
    pub(super) account: DayAccount,
    /// Entries that the ledger had then: those say what is archived.
    pub(super) ledger_size: u64,
    /// Rebuilds of the database that rest on the word of others than our own key.
    pub(super) rebuilt: Vec<RebuiltOn>,
    pub(super) sn: String,
    pub(super) former: Option<Issued>,
    pub(super) counted: Counted,
    /// All counted files, by name. Each stands in the companion too.
    pub(super) files: Vec<(String, Digest)>,
}

pub(super) struct Document<'a> {
    pub(super) pbx: &'a PbxConfig,
    pub(super) facts: &'a Facts,
    /// That of the facts, with the revision of this certificate, as a page may show it.
    pub(super) account: &'a DayAccount,
    pub(super) counted_at: Timestamp,
    pub(super) names: Names,
    pub(super) companion: Companion,
    pub(super) key: &'a VerifyingKey,
}

/// The file of names beside the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Companion {
    pub(super) file: String,
    /// Lines after the first.
    pub(super) lines: u64,
    /// The root over their hashes.
    pub(super) root: Digest,
}

impl Companion {
    pub(super) fn new(file: String, text: &str) -> Self {
        let Lines { count, root, .. } = Lines::after_head(text);
        Self { file, lines: count, root }
    }

    /// Whether this is the text of the companion, or an edition of it from which lines were erased.
    pub fn is_of(&self, text: &str) -> bool {
        let Lines { count, root, .. } = Lines::after_head(text);
        (count, root) == (self.lines, self.root)
    }
}

/// What is read back from the document of a certificate, of any version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Statement {
    #[serde(flatten)]
    pub counts: Counts,
    pub listed: i64,
    pub sums: bool,
    pub complete: bool,
    /// None in version 0.1, and for a day that only version 0.1 has read.
    #[serde(default)]
    pub(super) evidence: Option<Judgement>,
    /// None in version 0.1.
    pub names: Option<Companion>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Judgement {
    pub(super) verdict: String,
}

impl Statement {
    pub fn read(document: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(document)
    }
}

impl Document<'_> {
    /// Canonical JSON (RFC 8785): members sorted, no blanks. Only text, whole numbers, truth values, lists and objects.
    pub(super) fn to_canonical_json(&self) -> String {
        let facts = self.facts;
        let mut document = self.numbers();
        let others = json!({
            "schema": SCHEMA,
            "pbx": { "id": self.pbx.id, "sn": facts.sn },
            "timezone": self.timezone(),
            "counted_at": self.counted_at,
            "ledger_size": facts.ledger_size,
            "names": self.companion,
            "files": { "count": facts.files.len(), "list": format!("{}/{}", facts.folder, self.names.files()) },
            "former": facts.former.as_ref().map(|former| json!({
                "revision": former.revision,
                "sha256": former.sha256,
                "ledger_number": former.ledger_number,
            })),
            "key": self.key_name(),
            "program": { "name": PROGRAM, "version": VERSION },
        });
        document.extend(members(others));
        if !facts.rebuilt.is_empty() {
            document.insert("rebuilt".to_owned(), json!(facts.rebuilt));
        }
        Value::Object(document).to_string()
    }

    pub(super) fn timezone(&self) -> Option<&str> {
        self.pbx.timezone.as_ref()?.iana_name()
    }

    pub(super) fn key_name(&self) -> String {
        format!("{}+{}", self.key.name(), self.key.id())
    }

    /// What the account comes to, without names, with what the ledger names its recordings by.
    fn numbers(&self) -> Map<String, Value> {
        let (account, counted) = (self.account, &self.facts.counted);
        let filed = |listing: &Listing<Filed>| json!({ "count": listing.count, "entries": counted.entries_of(paths(listing)) });
        let suspects = account.suspect.files.items.iter().map(|suspect| suspect.path.as_str());
        let unnamed = account.unnamed.items.iter().filter_map(|one| counted.commitment(&one.path));
        let mut kinds: BTreeMap<&str, i64> = BTreeMap::new();
        for difference in &account.differences.items {
            *kinds.entry(&difference.kind).or_default() += 1;
        }
        let mut numbers = members(json!({
            "day": account.day,
            "revision": account.revision,
            "settled_at": account.settled_at,
            "readings": account.readings,
            "evidence": account.evidence,
            "utc_offsets_s": account.utc_offsets_s,
            "listed": account.listed,
            "sums": account.sums,
            "complete": account.complete,
            "bytes": account.bytes,
            "calls": account.calls,
            "voicemail": states(&account.voicemail),
            "entries": ranges(counted.files.values().copied()),
            "transports": counted.transports,
            "unarchived": self.unarchived(),
            "unrecorded": { "count": account.unrecorded.count },
            "unnamed": { "count": account.unnamed.count, "recordings": unnamed.collect::<Vec<_>>() },
            "vanished": filed(&account.vanished),
            "suspect": {
                "count": account.suspect.files.count,
                "by": account.suspect.by,
                "entries": counted.entries_of(suspects),
            },
            "conflicts": filed(&account.conflicts),
            "differences": { "count": account.differences.count, "by": kinds },
            "findings": { "count": account.findings.list.count, "by": account.findings.by },
        }));
        numbers.extend(members(states(&account.counts)));
        numbers
    }

    /// The name of an excluding rule stands in the companion.
    fn unarchived(&self) -> Value {
        let items = self.account.unarchived.items.iter().map(|one| {
            json!({
                "recording": self.facts.counted.commitment(&one.path),
                "state": one.state,
                "reason": one.reason.as_ref().filter(|_| one.state != "excluded"),
                "final": one.is_final,
                "gap": self.facts.counted.gap(&one.path),
            })
        });
        json!({ "count": self.account.unarchived.count, "items": items.collect::<Vec<_>>() })
    }
}

fn states(counts: &Counts) -> Value {
    counts::with_final(counts, serde_json::value::Serializer).expect("numbers always serialise")
}

/// A value sorts its members; a struct keeps their order in the code.
fn members(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

pub(super) fn whole_ms(at: Timestamp) -> Timestamp {
    at.round(Unit::Millisecond).unwrap_or(at)
}

/// The names of one revision's files in the folder of its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// From 1.
    pub revision: i64,
}

impl Names {
    /// The path of the document of a day, relative to the archive's root.
    pub fn path(self, pbx: &str, day: Date) -> Result<String, ArchiveError> {
        Ok(format!("{}/{}", Folder::day(pbx, day)?, self.document()))
    }

    pub fn document(self) -> String {
        format!("certificate-{}.json", self.revision)
    }

    pub fn signature(self) -> String {
        format!("certificate-{}.json.sig", self.revision)
    }

    /// The lines that name people.
    pub fn companion(self) -> String {
        format!("certificate-{}.names.jsonl", self.revision)
    }

    pub fn page(self) -> String {
        format!("certificate-{}.html", self.revision)
    }

    /// The counted files, for `sha256sum -c`.
    pub fn files(self) -> String {
        format!("certificate-{}.sha256", self.revision)
    }

    /// The names of the certificate whose document is called `name`.
    pub fn of_document(name: &str) -> Option<Self> {
        let revision = name.strip_prefix("certificate-")?.strip_suffix(".json")?.parse().ok()?;
        Some(Self { revision }).filter(|names| names.document() == name)
    }

    /// The names of the certificate that has a file called `name`.
    pub fn of_file(name: &str) -> Option<Self> {
        let (number, _) = name.strip_prefix("certificate-")?.split_once('.')?;
        let names = Self { revision: number.parse().ok()? };
        names.all().iter().any(|file| file == name).then_some(names)
    }

    /// The files of a certificate whose hashes its entry has.
    pub fn proven_by(entry: &DayEntry) -> Vec<(String, Digest)> {
        let names = Self { revision: entry.revision.into() };
        let page = entry.page_sha256.map(|sha256| (names.page(), sha256));
        [(names.document(), entry.certificate_sha256)].into_iter().chain(page).collect()
    }

    /// Certificates of version 0.1 have no companion.
    pub fn all(self) -> [String; 5] {
        [self.document(), self.signature(), self.companion(), self.page(), self.files()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::certificate::companion::list_of;

    #[test]
    fn a_companion_is_known_by_its_root_and_names_the_files() {
        let hash = Digest::of("a");
        let lines = format!(
            "{{\"type\":\"file\",\"name\":\"a.wav\",\"sha256\":\"{hash}\"}}\n{{\"type\":\"unrecorded\"}}\n"
        );
        let text = format!("head\n{lines}");
        let names = Companion::new("x".to_owned(), &text);
        let document = json!({
            "archived": 3, "missing": 1, "missing_final": 1, "excluded": 0, "pending": 0, "stuck": 0, "listed": 4,
            "sums": true, "complete": false, "names": names,
        });
        let read = Statement::read(document.to_string().as_bytes()).unwrap();
        assert_eq!((read.counts.archived, read.counts.listed(), read.complete), (3, read.listed, false));
        assert_eq!(read.names.as_ref(), Some(&names));
        assert!(names.is_of(&text) && !names.is_of(&text.replace("a.wav", "b.wav")));
        assert_eq!(list_of(&text), format!("{hash}  a.wav\n"));
        assert!(Statement::read(b"{}").is_err());
    }

    /// What sorts the members is that no other part of the program asks for another order.
    #[test]
    fn members_come_out_sorted() {
        let value: Value = serde_json::from_str(r#"{"b":1,"a":{"d":[],"c":"\u0001\u00e9"}}"#).unwrap();
        assert_eq!(value.to_string(), "{\"a\":{\"c\":\"\\u0001\u{e9}\",\"d\":[]},\"b\":1}");
    }

    #[test]
    fn a_file_tells_by_its_name_whose_it_is() {
        for name in (Names { revision: 12 }).all() {
            assert_eq!(Names::of_file(&name), Some(Names { revision: 12 }), "{name}");
        }
        for other in
            ["certificate-02.json", "certificate-.html", "certificate-1.wav", "a.wav", "certificate-1.jsonl"]
        {
            assert_eq!(Names::of_file(other), None, "{other}");
        }
    }
}
