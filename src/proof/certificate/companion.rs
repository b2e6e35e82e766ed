//! The companion of a certificate: everything that names people, in salted lines. See `docs/archive-format.md`.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::counted::{CallName, Counted};
use crate::base::digest::Digest;
use crate::formats::salted;
use crate::proof::reconcile::{DayAccount, Filed, Listing, Unarchived};
use crate::store::findings::FindingRow;

/// In the first line of each file.
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
    /// A file that the certificate counts.
    File(FileLine<'a>),
    Unarchived {
        recording: Option<Digest>,
        #[serde(flatten)]
        one: &'a Unarchived,
    },
    /// An answered call without a recording.
    Unrecorded {
        #[serde(flatten)]
        call: CallName,
    },
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
    /// Audio kept beside other audio of the same name.
    Conflict {
        path: &'a str,
        entry: Option<i64>,
    },
    /// A contradiction within the database.
    Difference {
        kind: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        callid: Option<crate::base::recording::Text>,
        #[serde(skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
    },
    Finding {
        #[serde(flatten)]
        one: &'a FindingRow,
    },
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
        write(Line::Unrecorded { call: counted.call(identity) });
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
        write(Line::Finding { one });
    }
    text
}

fn paths(listing: &Listing<Filed>) -> impl Iterator<Item = &str> {
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
