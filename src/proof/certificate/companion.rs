//! The companion of a certificate: everything that names people, in salted lines. See `docs/archive-format.md`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::base::digest::Digest;
use crate::base::recording::{RecordingKind, Text, printable};
use crate::formats::salted;
use crate::proof::reconcile::{DayAccount, Filed, Listing, Unarchived};
use crate::store::certificates::{self, WithoutFile};
use crate::store::findings::FindingRow;
use crate::store::ledger::commitment;
use crate::store::sql::Conn;

pub const SCHEMA: &str = "callvault-names/1";

#[derive(Serialize)]
struct Head<'a> {
    schema: &'a str,
    pbx: &'a str,
    day: String,
    revision: i64,
}

#[derive(Serialize, Deserialize)]
struct FileLine<'a> {
    name: Cow<'a, str>,
    sha256: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entry: Option<i64>,
}

/// A line, before it gets its salt.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    File(FileLine<'a>),
    Unarchived {
        recording: Option<Digest>,
        #[serde(flatten)]
        one: &'a Unarchived,
    },
    Unrecorded(CallName),
    Unnamed {
        path: &'a str,
        recording: Option<Digest>,
    },
    /// Archived, but missing from the PBX's latest whole answer.
    Vanished {
        path: &'a str,
        entry: Option<i64>,
    },
    Suspect {
        path: &'a str,
        entry: Option<i64>,
        suspect: &'a [String],
        duration_ms: Option<i64>,
        talk_s: Option<i64>,
    },
    Conflict {
        path: &'a str,
        entry: Option<i64>,
    },
    Difference {
        kind: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        callid: Option<Text>,
        #[serde(skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
    },
    Finding(&'a FindingRow),
}

/// The text of the companion, with these files in this order, and with all that `account` names.
pub(super) fn of(pbx: &str, files: &[(String, Digest)], account: &DayAccount, counted: &Counted) -> String {
    let head = Head { schema: SCHEMA, pbx, day: account.day.to_string(), revision: account.revision };
    let mut text = serde_json::to_string(&head).expect("text always serialises") + "\n";
    let mut write = |line: Line<'_>| {
        text.push_str(&salted::line(&line));
        text.push('\n');
    };
    let folder = format!("{pbx}/{}", account.day.strftime("%Y/%m/%d"));
    for (name, sha256) in files {
        let entry = counted.entry(&format!("{folder}/{name}"));
        write(Line::File(FileLine { name: name.into(), sha256: *sha256, entry }));
    }
    for one in &account.unarchived.items {
        write(Line::Unarchived { recording: counted.commitment(&one.path), one });
    }
    for identity in &account.unrecorded.items {
        write(Line::Unrecorded(counted.call(identity)));
    }
    for path in paths(&account.unnamed) {
        write(Line::Unnamed { path, recording: counted.commitment(path) });
    }
    for path in paths(&account.vanished) {
        write(Line::Vanished { path, entry: counted.entry(path) });
    }
    for one in &account.suspect.files.items {
        let (duration_ms, talk_s) = (one.duration_ms, one.talk_s);
        let (path, suspect) = (one.path.as_str(), one.suspect.as_slice());
        write(Line::Suspect { path, entry: counted.entry(path), suspect, duration_ms, talk_s });
    }
    for path in paths(&account.conflicts) {
        write(Line::Conflict { path, entry: counted.entry(path) });
    }
    for one in &account.differences.items {
        // An identity would be an unsalted hash of phone numbers, so the call id is given instead.
        let is_call = one.kind == "unqueued";
        let CallName { callid, started_at } =
            if is_call { counted.call(&one.subject) } else { CallName::default() };
        let path = (!is_call).then_some(one.subject.as_str());
        write(Line::Difference { kind: &one.kind, path, callid, started_at });
    }
    for one in &account.findings.list.items {
        write(Line::Finding(one));
    }
    text
}

pub(super) fn paths(listing: &Listing<Filed>) -> impl Iterator<Item = &str> {
    listing.items.iter().map(|filed| filed.path.as_str())
}

/// The list for `sha256sum` of the files that a companion names, except those whose lines were erased.
pub fn list_of(companion: &str) -> String {
    #[derive(Deserialize)]
    #[serde(tag = "type", rename_all = "snake_case")]
    enum Known<'a> {
        #[serde(borrow)]
        File(FileLine<'a>),
        #[serde(other)]
        Other,
    }
    let files = companion.lines().skip(1).filter_map(|line| match serde_json::from_str(line).ok()? {
        Known::File(FileLine { name, sha256, .. }) => Some(format!("{sha256}  {name}\n")),
        Known::Other => None,
    });
    files.collect()
}

/// How a certificate refers to recordings and calls without naming people, all of one moment.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// The entry of each archived file, by the path of its audio.
    pub(super) files: BTreeMap<String, i64>,
    /// How their audio was transferred, with the number of files.
    pub(super) transports: BTreeMap<String, i64>,
    /// Recordings that are not archived, or that no row names, by path: commitment, and ledger entry of the absence.
    recordings: BTreeMap<String, (Digest, Option<i64>)>,
    /// The calls that the account refers to by their identity.
    calls: BTreeMap<String, CallName>,
}

/// What people find a call by.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct CallName {
    pub(super) callid: Option<Text>,
    pub(super) started_at: Option<Timestamp>,
}

impl Counted {
    /// The caller holds a transaction.
    pub(super) async fn read(moment: &mut Conn, pbx: &str, account: &DayAccount) -> Result<Self> {
        Ok(Self {
            files: certificates::files(moment, pbx, account.day).await?,
            transports: certificates::transports(moment, pbx, account.day).await?,
            recordings: recordings(moment, pbx, account.day).await?,
            calls: calls(moment, pbx, account).await?,
        })
    }

    pub(super) fn entry(&self, path: &str) -> Option<i64> {
        self.files.get(path).copied()
    }

    pub(super) fn entries_of<'p>(&self, paths: impl Iterator<Item = &'p str>) -> Vec<String> {
        ranges(paths.filter_map(|path| self.entry(path)))
    }

    /// Of a recording that is not archived, or that no row names.
    pub(super) fn commitment(&self, path: &str) -> Option<Digest> {
        self.recordings.get(path).map(|(commitment, _)| *commitment)
    }

    pub(super) fn gap(&self, path: &str) -> Option<i64> {
        self.recordings.get(path)?.1
    }

    /// `account` as a page may show it: calls by their id, not by an unsalted hash of phone numbers.
    pub(super) fn shown(&self, account: &DayAccount) -> DayAccount {
        let mut shown = account.clone();
        for difference in shown.differences.items.iter_mut().filter(|one| one.kind == "unqueued") {
            let callid = self.call(&difference.subject).callid.and_then(|callid| callid.to_bytes());
            difference.subject = callid.map_or_else(String::new, |callid| printable(&callid));
        }
        shown
    }

    pub(super) fn call(&self, identity: &str) -> CallName {
        self.calls.get(identity).cloned().unwrap_or_default()
    }
}

/// Numbers as sorted ranges: `"38-45"`, `"47"`.
pub(super) fn ranges(numbers: impl Iterator<Item = i64>) -> Vec<String> {
    let mut numbers: Vec<i64> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    let runs = numbers.chunk_by(|before, after| before + 1 == *after);
    runs.map(|run| match (run.first(), run.last()) {
        (Some(first), Some(last)) if first < last => format!("{first}-{last}"),
        _ => run.first().map_or_else(String::new, i64::to_string),
    })
    .collect()
}

async fn recordings(db: &mut Conn, pbx: &str, day: Date) -> Result<BTreeMap<String, (Digest, Option<i64>)>> {
    let named = |row: WithoutFile| {
        let commitment = commitment(&row.salt, RecordingKind::Call, pbx, &row.sn, &row.name);
        (row.path, (commitment, row.gap_number))
    };
    Ok(certificates::without_file(db, pbx, day).await?.into_iter().map(named).collect())
}

async fn calls(db: &mut Conn, pbx: &str, account: &DayAccount) -> Result<BTreeMap<String, CallName>> {
    let unqueued = account.differences.items.iter().filter(|difference| difference.kind == "unqueued");
    let unqueued = unqueued.map(|difference| difference.subject.as_str());
    let identities: Vec<&str> = account.unrecorded.items.iter().map(String::as_str).chain(unqueued).collect();
    let rows = certificates::calls_named(db, pbx, account.day, &identities).await?;
    let named = rows.into_iter().map(|(identity, callid, started_at)| {
        let callid = callid.map(|json| serde_json::from_str(&json)).transpose()?;
        Ok((identity, CallName { callid, started_at: started_at.into() }))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_each_other_are_one_range() {
        let of = |numbers: &[i64]| ranges(numbers.iter().copied()).join(" ");
        assert_eq!(of(&[]), "");
        assert_eq!(of(&[7]), "7");
        assert_eq!(of(&[9, 3, 4, 5, 7, 5, 0]), "0 3-5 7 9");
    }
}
