//! The ledger: an append-only, numbered list of all that happened to the archive, and the leaves of its Merkle tree.
//!
//! An entry is canonical JSON (RFC 8785) of at most 4 KiB. It never holds a name or a number of a person: a recording
//! is named by a commitment under the salt that only its sidecar holds, so that an entry proves without telling,
//! and forgetting a sidecar makes its entry meaningless while the tree stays provable.

mod checkpoints;
mod rebuilt;

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::{Timestamp, civil::Date};
use serde_json::Value;
use sqlx::SqliteConnection;

pub use checkpoints::{
    KeyRow, Signed, add_key, checkpoint_of, first_signed_beyond, forget_checkpoints, frontier, keys,
    latest_checkpoint, note_checkpoint, retire_key,
};
pub use rebuilt::{REBUILT, RebuiltOn};

use crate::base::digest::Digest;
use crate::base::recording::{RecordingKind, RecordingName, Text};
use crate::base::salt::Salt;
use crate::formats::salted::Lines;
use crate::formats::tlog::leaf_hash;

/// Largest entry, in bytes of JSON.
pub const ENTRY_BYTES_MAX: usize = 4096;

/// The key under which the database keeps for which of the operator's choices there is an entry.
pub const SETTINGS: &str = "ledger_settings";

/// What happened, as the entry's `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryType {
    /// A recording became durable in the archive.
    Archived,
    /// The PBX does not have a recording that its CDR names, and that is final.
    Gap,
    /// Something about an archived recording's audio is odd.
    Suspect,
    /// A second, different file of one recording was kept beside the first.
    Conflict,
    /// A verification came to an end: how much was looked at, and how much of it was not as it should be.
    Fixity,
    /// A call list is in the archive, and what its lines come to.
    Lists,
    /// A day settled, and what became of its recordings sums up.
    DayClosed,
    /// What the operator chose is other than before.
    Config,
    /// A key that signs the ledger came or went.
    Key,
    /// The clock was set.
    Clock,
    /// The service began.
    Start,
    /// The service ended in good order.
    Stop,
    /// A part of the archive was handed out.
    Export,
    /// A reader of the feed was given audio or a sidecar.
    Access,
    /// A day is over on which files were asked for without the token of a reader, and how often.
    Refused,
    /// The operator took the list of a day as it was, though it may lack calls; or a file that was found.
    Accepted,
    /// The database was made anew from the archive: up to where, and on whose word.
    Rebuilt,
    /// A file stood in the archive of which no signed entry tells: its recording is owed.
    Found,
}

impl EntryType {
    /// The word in the entry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Archived => "archived",
            Self::Gap => "gap",
            Self::Suspect => "suspect",
            Self::Conflict => "conflict",
            Self::Fixity => "fixity",
            Self::Lists => "lists",
            Self::DayClosed => "day_closed",
            Self::Config => "config",
            Self::Key => "key",
            Self::Clock => "clock",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Export => "export",
            Self::Access => "access",
            Self::Refused => "refused",
            Self::Accepted => "accepted",
            Self::Rebuilt => "rebuilt",
            Self::Found => "found",
        }
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

    /// The entry's bytes, which are hashed and published.
    pub fn to_canonical_json(&self) -> String {
        serde_json::to_string(&self.0).expect("a map with text keys always serialises")
    }
}

/// What an entry names a recording by: SHA-256 over its salt and the canonical JSON of its identity.
pub fn commitment(salt: &Salt, kind: RecordingKind, pbx: &str, sn: &str, name: &RecordingName) -> Digest {
    let name = serde_json::to_value(Text::from_bytes(name.as_bytes())).expect("text always serialises");
    let identity: BTreeMap<&str, Value> = BTreeMap::from([
        ("kind", kind.as_str().into()),
        ("name", name),
        ("pbx", pbx.into()),
        ("sn", sn.into()),
    ]);
    let json = serde_json::to_string(&identity).expect("a map with text keys always serialises");
    Digest::of([&salt.as_bytes()[..], json.as_bytes()].concat())
}

/// A file that became durable in the archive, as its entry tells of it.
#[derive(Debug, Clone, Copy)]
pub struct ArchivedFacts<'a> {
    /// Whether it is the second, other file of its recording.
    pub conflict: bool,
    /// The PBX.
    pub pbx: &'a str,
    /// The PBX-local day that it is filed under.
    pub day: Date,
    /// What names the recording without telling: its [`commitment`].
    pub recording: Digest,
    /// SHA-256 of the audio.
    pub sha256: Digest,
    /// SHA-256 of the sidecar.
    pub sidecar_sha256: Digest,
    /// Size of the audio.
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
    let entry = Entry::new(kind, at)
        .with("pbx", facts.pbx)
        .with("day", facts.day.to_string())
        .with("recording", facts.recording.to_string())
        .with("sha256", facts.sha256.to_string())
        .with("sidecar_sha256", facts.sidecar_sha256.to_string())
        .with("size_bytes", facts.size_bytes);
    let entry = match facts.gap {
        Some(gap) => entry.with("gap", gap),
        None => entry,
    };
    let Some(came) = facts.came else { return entry };
    let entry = entry.with("transport", came.transport);
    let entry = match came.key_sha256 {
        Some(key_sha256) => entry.with("key_sha256", key_sha256),
        None => entry,
    };
    if came.adopted { entry.with("adopted", 1) } else { entry }
}

/// The entry of a file that was found where a recording belongs, and of which nobody can tell who put it there.
pub fn found(facts: &ArchivedFacts<'_>, at: Timestamp) -> Entry {
    Entry::new(EntryType::Found, at)
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
    /// The PBX.
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

/// Appends an entry and returns its number. The caller's transaction makes it durable together with its cause.
pub async fn append(tx: &mut SqliteConnection, entry: &Entry) -> anyhow::Result<i64> {
    let json = entry.to_canonical_json();
    anyhow::ensure!(
        json.len() <= ENTRY_BYTES_MAX,
        "a ledger entry of {} bytes is longer than 4 KiB",
        json.len()
    );
    let leaf = leaf_hash(json.as_bytes());
    sqlx::query_scalar(
        "insert into ledger (number, entry, leaf_hash)
         values ((select coalesce(max(number) + 1, 0) from ledger), ?, ?) returning number",
    )
    .bind(json)
    .bind(&leaf.as_bytes()[..])
    .fetch_one(tx)
    .await
    .context("appending to the ledger")
}

/// An entry as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// Its number.
    pub number: u64,
    /// Its bytes: canonical JSON.
    pub entry: String,
    /// The hash of its leaf.
    pub leaf_hash: Digest,
}

impl Numbered {
    /// When what it tells happened.
    pub fn at(&self) -> Option<Timestamp> {
        let entry: Value = serde_json::from_str(&self.entry).ok()?;
        entry.get("at")?.as_str()?.parse().ok()
    }
}

/// How many entries there are: the number of the next one.
pub async fn size(db: &mut SqliteConnection) -> anyhow::Result<u64> {
    let size: i64 = sqlx::query_scalar("select coalesce(max(number) + 1, 0) from ledger")
        .fetch_one(db)
        .await
        .context("counting the entries of the ledger")?;
    Ok(u64::try_from(size)?)
}

/// The next `limit` entries from `from` on, in their order.
pub async fn entries(db: &mut SqliteConnection, from: u64, limit: u64) -> anyhow::Result<Vec<Numbered>> {
    let rows: Vec<(i64, String, Vec<u8>)> = sqlx::query_as(
        "select number, entry, leaf_hash from ledger where number >= ? order by number limit ?",
    )
    .bind(i64::try_from(from)?)
    .bind(i64::try_from(limit)?)
    .fetch_all(db)
    .await
    .context("reading the ledger")?;
    rows.into_iter()
        .map(|(number, entry, leaf)| {
            Ok(Numbered { number: u64::try_from(number)?, entry, leaf_hash: Digest::try_from(&leaf[..])? })
        })
        .collect()
}

/// The hashes of up to `limit` leaves from `from` on, in their order.
pub async fn leaf_hashes(db: &mut SqliteConnection, from: u64, limit: u64) -> anyhow::Result<Vec<Digest>> {
    let rows: Vec<Vec<u8>> =
        sqlx::query_scalar("select leaf_hash from ledger where number >= ? order by number limit ?")
            .bind(i64::try_from(from)?)
            .bind(i64::try_from(limit)?)
            .fetch_all(db)
            .await
            .context("reading the leaves of the ledger")?;
    rows.iter().map(|leaf| Ok(Digest::try_from(&leaf[..])?)).collect()
}

/// Takes over an entry of a ledger that was published: byte for byte, under its own number.
pub async fn restore(tx: &mut SqliteConnection, number: u64, entry: &str) -> anyhow::Result<()> {
    sqlx::query("insert into ledger (number, entry, leaf_hash) values (?, ?, ?)")
        .bind(i64::try_from(number)?)
        .bind(entry)
        .bind(&leaf_hash(entry.as_bytes()).as_bytes()[..])
        .execute(tx)
        .await
        .with_context(|| format!("putting entry {number} of the ledger back"))?;
    Ok(())
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
}
