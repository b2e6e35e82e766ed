//! The entries of the ledger: what is written of each event, and what a rebuild and a verification read again.
//!
//! An entry is canonical JSON (RFC 8785) of at most 4 KiB. It never holds a name or a number of a person: a recording
//! is named by a commitment under the salt that only its sidecar holds, so that an entry proves without telling,
//! and forgetting a sidecar makes its entry meaningless while the tree stays provable.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::counts::Counts;
use crate::base::digest::Digest;
use crate::base::recording::{RecordingKind, RecordingName, Text};
use crate::base::salt::Salt;
use crate::base::words::words;
use crate::formats::salted::Lines;

/// Largest entry, in bytes of JSON.
pub const ENTRY_BYTES_MAX: usize = 4096;

words! {
    /// What happened, as the entry's `type`.
    pub enum EntryType as "type of entry" {
        /// A recording became durable in the archive.
        Archived = "archived",
        /// The PBX does not have a recording that its CDR names, and that is final.
        Gap = "gap",
        /// Something about an archived recording's audio is odd.
        Suspect = "suspect",
        /// A second, different file of one recording was kept beside the first.
        Conflict = "conflict",
        Fixity = "fixity",
        /// A call list is in the archive, and what its lines come to.
        Lists = "lists",
        /// A day settled, and what became of its recordings sums up.
        DayClosed = "day_closed",
        /// What the operator chose is other than before.
        Config = "config",
        /// A key that signs the ledger came or went.
        Key = "key",
        Clock = "clock",
        Start = "start",
        Stop = "stop",
        Export = "export",
        /// A reader of the feed was given audio or a sidecar.
        Access = "access",
        /// A day is over on which files were asked for without the token of a reader, and how often.
        Refused = "refused",
        /// The operator took the list of a day as it was, though it may lack calls; or a file that was found.
        Accepted = "accepted",
        /// The database was made anew from the archive: up to where, and on whose word.
        Rebuilt = "rebuilt",
        /// A file stood in the archive that no signed entry mentions: its recording is still to be downloaded.
        Found = "found",
    }
}

/// An entry before it has a number. Members come out sorted by name, as RFC 8785 wants them.
#[derive(Debug)]
pub struct Entry(BTreeMap<&'static str, Value>);

impl Entry {
    /// Starts an entry about something that happened at `at`.
    pub fn new(kind: EntryType, at: Timestamp) -> Self {
        // Cut off like the times in the database, so that a rebuild finds the same.
        let at = Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at);
        Self(BTreeMap::from([("type", kind.as_str().into()), ("at", at.to_string().into())]))
    }

    /// Adds a member. Only text, whole numbers, and lists of text: their canonical form is their plain one.
    pub fn with(mut self, member: &'static str, value: impl Into<Value>) -> Self {
        self.0.insert(member, value.into());
        self
    }

    /// Adds a member if there is a value for it.
    pub fn with_some(self, member: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(member, value),
            None => self,
        }
    }

    /// The entry's bytes, which are hashed and published.
    pub fn to_canonical_json(&self) -> String {
        serde_json::to_string(&self.0).expect("a map with text keys always serialises")
    }
}

/// What an entry names a recording by: SHA-256 over its salt and the canonical JSON of its identity.
pub fn commitment(salt: &Salt, kind: RecordingKind, pbx: &str, sn: &str, name: &RecordingName) -> Digest {
    let name = Text::from_bytes(name.as_bytes());
    let identity = json!({ "kind": kind, "name": name, "pbx": pbx, "sn": sn });
    Digest::of([&salt.as_bytes()[..], identity.to_string().as_bytes()].concat())
}

/// A file that became durable in the archive, as its entry tells of it.
#[derive(Debug, Clone, Copy)]
pub struct ArchivedFacts<'a> {
    /// Whether it is the second, other file of its recording.
    pub conflict: bool,
    pub pbx: &'a str,
    /// The PBX-local day that it is filed under.
    pub day: Date,
    /// What names the recording without telling: its [`commitment`].
    pub recording: Digest,
    pub sha256: Digest,
    pub sidecar_sha256: Digest,
    pub size_bytes: u64,
    /// The entry of its absence, if one came before.
    pub gap: Option<i64>,
    /// How it came, if that is known.
    pub came: Option<HowCame<'a>>,
}

/// How audio came from a PBX.
#[derive(Debug, Clone, Copy)]
pub struct HowCame<'a> {
    /// How the PBX was known, as in the sidecar: `pinned`, `roots`, `plain`; `accepted` if it did not come from it.
    pub transport: &'a str,
    /// SHA-256 of the pinned key in hex, if it was pinned.
    pub key_sha256: Option<&'a str>,
    /// Whether an earlier run had put it there, and died before its entry was made.
    pub adopted: bool,
}

/// The entry of a file, without its number yet.
pub fn archived(facts: &ArchivedFacts<'_>, at: Timestamp) -> Entry {
    let kind = if facts.conflict { EntryType::Conflict } else { EntryType::Archived };
    let entry = of_file(kind, facts, at).with_some("gap", facts.gap);
    let Some(came) = facts.came else { return entry };
    entry
        .with("transport", came.transport)
        .with_some("key_sha256", came.key_sha256)
        .with_some("adopted", came.adopted.then_some(1))
}

/// The entry of a file that was found where a recording belongs, and of which nobody can tell who put it there.
pub fn found(facts: &ArchivedFacts<'_>, at: Timestamp) -> Entry {
    of_file(EntryType::Found, facts, at)
}

fn of_file(kind: EntryType, facts: &ArchivedFacts<'_>, at: Timestamp) -> Entry {
    Entry::new(kind, at)
        .with("pbx", facts.pbx)
        .with("day", facts.day.to_string())
        .with("recording", facts.recording.to_string())
        .with("sha256", facts.sha256.to_string())
        .with("sidecar_sha256", facts.sidecar_sha256.to_string())
        .with("size_bytes", facts.size_bytes)
}

/// The entry that follows that of a file whose audio is odd.
pub fn suspect(archived: i64, pbx: &str, suspect: &[String], at: Timestamp) -> Entry {
    Entry::new(EntryType::Suspect, at)
        .with("archived", archived)
        .with("pbx", pbx)
        .with("suspect", suspect.to_vec())
}

/// A call list that became durable in the archive, as its entry tells of it.
#[derive(Debug, Clone, Copy)]
pub struct ListFacts<'a> {
    pub pbx: &'a str,
    /// The PBX-local day that it is of.
    pub day: Date,
    /// The number in its name.
    pub number: u32,
    /// SHA-256 of the file, whose lines are salted.
    pub sha256: Digest,
    /// What its lines come to.
    pub lines: Lines,
}

/// The entry of a call list, without its number yet.
pub fn list(facts: &ListFacts<'_>, at: Timestamp) -> Entry {
    Entry::new(EntryType::Lists, at)
        .with("pbx", facts.pbx)
        .with("day", facts.day.to_string())
        .with("n", facts.number)
        .with("sha256", facts.sha256.to_string())
        .with("lines", facts.lines.count)
        .with("root", facts.lines.root.to_string())
}

/// What an entry says that others than its readers need again.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LedgerEntry {
    Archived(FileEntry),
    Conflict(FileEntry),
    Gap(GapEntry),
    /// The audio of an earlier entry's file is odd.
    Suspect {
        archived: i64,
        suspect: Vec<String>,
    },
    Lists(ListEntry),
    DayClosed(DayEntry),
    Key(KeyEntry),
    Config {
        settings: String,
    },
    Rebuilt {
        trust: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct FileEntry {
    pub pbx: String,
    pub day: Date,
    pub recording: Digest,
    pub sha256: Digest,
    pub sidecar_sha256: Digest,
    pub size_bytes: u64,
    pub gap: Option<i64>,
    pub at: Timestamp,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct GapEntry {
    pub pbx: String,
    pub day: Date,
    pub recording: Digest,
    pub reason: String,
    pub attempts: u32,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct ListEntry {
    pub pbx: String,
    pub day: Date,
    pub n: u32,
    pub sha256: Digest,
    pub lines: u64,
    pub root: Digest,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct DayEntry {
    pub pbx: String,
    pub day: Date,
    pub revision: u32,
    pub certificate_sha256: Digest,
    /// None in entries of version 0.1.
    pub page_sha256: Option<Digest>,
    pub listed: i64,
    #[serde(flatten)]
    pub counts: Counts,
    pub at: Timestamp,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct KeyEntry {
    pub action: String,
    pub vkey: String,
    pub at: Timestamp,
}

impl LedgerEntry {
    pub fn read(entry: &str) -> serde_json::Result<Self> {
        serde_json::from_str(entry)
    }
}

impl DayEntry {
    /// Whether the counts by state add up to what was listed.
    pub fn sums(&self) -> bool {
        self.counts.listed() == self.listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_canonical_json() {
        let entry = Entry::new(EntryType::Archived, Timestamp::UNIX_EPOCH)
            .with("size_bytes", 44)
            .with("pbx", "hq")
            .with("suspect", vec!["short"]);
        insta::assert_snapshot!(
            entry.to_canonical_json(),
            @r#"{"at":"1970-01-01T00:00:00Z","pbx":"hq","size_bytes":44,"suspect":["short"],"type":"archived"}"#
        );
    }

    #[test]
    fn a_commitment_hides_behind_its_salt() {
        let name = RecordingName::new("a.wav").unwrap();
        let [one, two] = [Salt::random(), Salt::random()]
            .map(|salt| commitment(&salt, RecordingKind::Call, "hq", "1", &name));
        assert_ne!(one, two);
    }

    #[test]
    fn what_was_written_of_files_and_lists_is_read_again() {
        let (at, day, hash) = (Timestamp::UNIX_EPOCH, Date::constant(2026, 11, 21), Digest::of("a"));
        let facts = ArchivedFacts {
            conflict: false,
            pbx: "hq",
            day,
            recording: hash,
            sha256: hash,
            sidecar_sha256: hash,
            size_bytes: 44,
            gap: Some(7),
            came: Some(HowCame { transport: "pinned", key_sha256: None, adopted: true }),
        };
        let file = || FileEntry {
            pbx: "hq".to_owned(),
            day,
            recording: hash,
            sha256: hash,
            sidecar_sha256: hash,
            size_bytes: 44,
            gap: Some(7),
            at,
        };
        let lines = Lines { count: 3, erased: 1, root: hash };
        let list = ListFacts { pbx: "hq", day, number: 2, sha256: hash, lines };
        let read_list = ListEntry { pbx: "hq".to_owned(), day, n: 2, sha256: hash, lines: 3, root: hash };
        let table = [
            (archived(&facts, at), LedgerEntry::Archived(file())),
            (archived(&ArchivedFacts { conflict: true, ..facts }, at), LedgerEntry::Conflict(file())),
            (found(&facts, at), LedgerEntry::Other),
            (super::list(&list, at), LedgerEntry::Lists(read_list)),
            (
                suspect(7, "hq", &["silent".to_owned()], at),
                LedgerEntry::Suspect { archived: 7, suspect: vec!["silent".to_owned()] },
            ),
        ];
        for (written, read) in table {
            let json = written.to_canonical_json();
            assert_eq!(LedgerEntry::read(&json).unwrap(), read, "{json}");
        }
        for damaged in ["", "7", "{}", r#"{"type":"gap"}"#] {
            assert!(LedgerEntry::read(damaged).is_err(), "{damaged}");
        }
    }
}
