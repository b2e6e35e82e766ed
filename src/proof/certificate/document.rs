//! The certificate's JSON, a format that others rely on: see `docs/archive-format.md`.
//!
//! It is signed, and its hash is in the ledger for good. So it names nobody: recordings by entries of the ledger and by
//! commitments, all else by counts. The names stand in the companion, of which it has the root.

use std::collections::BTreeMap;

use jiff::{Timestamp, Unit, civil::Date};
use serde::{Deserialize, Serialize};

use super::counted::{Counted, ranges};
use crate::base::counts::{self, Counts};
use crate::base::digest::Digest;
use crate::formats::salted::Lines;
use crate::formats::tlog::VerifyingKey;
use crate::proof::reconcile::{Calls, DayAccount, Filed, Listing, Readings};
use crate::store::certificates::Issued;
use crate::store::evidence::Evidence;
use crate::store::ledger::RebuiltOn;

/// The format.
pub const SCHEMA: &str = "callvault-certificate/2";

/// What a certificate says.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    pub(super) schema: &'static str,
    pub(super) pbx: Pbx<'a>,
    /// The configured time zone.
    pub(super) timezone: Option<String>,
    #[serde(flatten)]
    pub(super) numbers: Numbers<'a>,
    /// The moment that all numbers are of.
    pub(super) counted_at: Timestamp,
    /// Entries that the ledger had then: what is archived is told by those below.
    pub(super) ledger_size: u64,
    /// Rebuilds of the database that rest on the word of others than our own key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rebuilt: Vec<RebuiltOn>,
    /// The names that belong to the numbers.
    pub(super) names: Companion,
    pub(super) files: Files,
    pub(super) former: Option<Former>,
    /// Name and id of the key that signs.
    pub(super) key: String,
    pub(super) program: Program,
    /// What the page shows besides.
    #[serde(skip)]
    pub(super) account: &'a DayAccount,
}

/// The account of the day without names.
#[derive(Debug, Serialize)]
pub(super) struct Numbers<'a> {
    day: Date,
    revision: i64,
    settled_at: Option<Timestamp>,
    readings: Readings,
    /// What it rests on; none of a day that only version 0.1 has read.
    evidence: Option<&'a Evidence>,
    utc_offsets_s: &'a [i64],
    #[serde(flatten, serialize_with = "counts::with_final")]
    counts: Counts,
    listed: i64,
    sums: bool,
    complete: bool,
    bytes: i64,
    calls: Calls,
    #[serde(serialize_with = "counts::with_final")]
    voicemail: Counts,
    /// The entries of all audio that it counts.
    entries: Vec<String>,
    /// How that came: `pinned`, `roots`, `plain`, `accepted`; `unknown` of what version 0.1 archived.
    transports: BTreeMap<String, i64>,
    unarchived: Unarchived,
    unrecorded: Count,
    unnamed: Committed,
    vanished: OfEntries,
    suspect: OfEntries,
    conflicts: OfEntries,
    differences: ByKind,
    findings: ByKind,
}

#[derive(Debug, Serialize)]
struct Count {
    count: i64,
}

#[derive(Debug, Serialize)]
struct ByKind {
    count: i64,
    by: BTreeMap<String, i64>,
}

/// Archived files, by their entries.
#[derive(Debug, Serialize)]
struct OfEntries {
    count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<BTreeMap<String, i64>>,
    entries: Vec<String>,
}

/// Recordings, by their commitments.
#[derive(Debug, Serialize)]
struct Committed {
    count: i64,
    recordings: Vec<Digest>,
}

#[derive(Debug, Serialize)]
struct Unarchived {
    count: i64,
    items: Vec<UnarchivedItem>,
}

#[derive(Debug, Serialize)]
struct UnarchivedItem {
    /// Its commitment.
    recording: Option<Digest>,
    state: String,
    /// The class of the last error. The name of an excluding rule stands in the companion.
    reason: Option<String>,
    r#final: bool,
    /// The entry of its absence.
    gap: Option<i64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Pbx<'a> {
    pub(super) id: &'a str,
    pub(super) sn: &'a str,
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

/// The files that are counted: their list, which lies beside. Each stands in the companion too.
#[derive(Debug, Serialize)]
pub(super) struct Files {
    /// Files in the list.
    pub(super) count: usize,
    /// The list's path.
    pub(super) list: String,
}

/// The day's certificate before this one.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Former {
    pub(super) revision: i64,
    pub(super) sha256: Digest,
    pub(super) ledger_number: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
}

impl Program {
    pub(super) const OURS: Self = Self { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") };
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

impl From<Issued> for Former {
    fn from(issued: Issued) -> Self {
        Self { revision: issued.revision, sha256: issued.sha256, ledger_number: issued.ledger_number }
    }
}

impl<'a> Numbers<'a> {
    /// How its audio came, and how many files of it.
    pub(super) fn transports(&self) -> &BTreeMap<String, i64> {
        &self.transports
    }

    /// What `account` comes to, with what the ledger names its recordings by.
    pub(super) fn of(account: &'a DayAccount, counted: &Counted) -> Self {
        let of_files = |listing: &Listing<Filed>| OfEntries {
            count: listing.count,
            by: None,
            entries: counted.entries_of(listing.items.iter().map(|filed| filed.path.as_str())),
        };
        let suspects = account.suspect.files.items.iter().map(|suspect| suspect.path.as_str());
        Self {
            day: account.day,
            revision: account.revision,
            settled_at: account.settled_at,
            readings: account.readings,
            evidence: account.evidence.as_ref(),
            utc_offsets_s: &account.utc_offsets_s,
            counts: account.counts,
            listed: account.listed,
            sums: account.sums,
            complete: account.complete,
            bytes: account.bytes,
            calls: account.calls,
            voicemail: account.voicemail,
            entries: ranges(counted.files.values().copied()),
            transports: counted.transports.clone(),
            unarchived: unarchived(account, counted),
            unrecorded: Count { count: account.unrecorded.count },
            unnamed: Committed {
                count: account.unnamed.count,
                recordings: account
                    .unnamed
                    .items
                    .iter()
                    .filter_map(|one| counted.commitment(&one.path))
                    .collect(),
            },
            vanished: of_files(&account.vanished),
            suspect: OfEntries {
                count: account.suspect.files.count,
                by: Some(account.suspect.by.clone()),
                entries: counted.entries_of(suspects),
            },
            conflicts: of_files(&account.conflicts),
            differences: ByKind {
                count: account.differences.count,
                by: by(account.differences.items.iter().map(|difference| difference.kind.as_str())),
            },
            findings: ByKind {
                count: account.findings.list.count,
                by: account.findings.by.iter().map(|(kind, count)| (kind.to_string(), *count)).collect(),
            },
        }
    }
}

fn unarchived(account: &DayAccount, counted: &Counted) -> Unarchived {
    let items = account.unarchived.items.iter().map(|one| UnarchivedItem {
        recording: counted.commitment(&one.path),
        state: one.state.clone(),
        reason: one.reason.clone().filter(|_| one.state != "excluded"),
        r#final: one.is_final,
        gap: counted.gap(&one.path),
    });
    Unarchived { count: account.unarchived.count, items: items.collect() }
}

fn by<'w>(words: impl Iterator<Item = &'w str>) -> BTreeMap<String, i64> {
    words.fold(BTreeMap::new(), |mut by, word| {
        *by.entry(word.to_owned()).or_default() += 1;
        by
    })
}

impl Document<'_> {
    /// Canonical JSON (RFC 8785): members sorted, no blanks. Only text, whole numbers, truth values, lists and objects.
    pub(super) fn to_canonical_json(&self) -> String {
        // A value sorts its members; a struct keeps their order in the code.
        let value = serde_json::to_value(self).expect("text keys and plain values always serialise");
        serde_json::to_string(&value).expect("a value always serialises")
    }
}

/// A time as certificates have it.
pub(super) fn whole_ms(at: Timestamp) -> Timestamp {
    at.round(Unit::Millisecond).unwrap_or(at)
}

/// What a certificate calls the key that signs it.
pub(super) fn key_name(key: &VerifyingKey) -> String {
    format!("{}+{}", key.name(), key.id())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

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
        let document = serde_json::json!({
            "archived": 3, "missing": 1, "missing_final": 1, "excluded": 0, "pending": 0, "stuck": 0, "listed": 4,
            "sums": true, "complete": false, "names": names,
        });
        let told = Statement::read(document.to_string().as_bytes()).unwrap();
        assert_eq!((told.counts.archived, told.counts.listed(), told.complete), (3, told.listed, false));
        assert_eq!(told.names.as_ref(), Some(&names));
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
}
