//! The companion of a certificate: what names people, in salted lines. See `docs/archive-format.md`.

use jiff::Timestamp;
use serde::Serialize;

use super::counted::{CallName, Counted};
use crate::base::digest::Digest;
use crate::formats::salted;
use crate::proof::reconcile::{DayAccount, Filed, Listing, Unarchived};
use crate::store::findings::FindingRow;

/// The format, in the first line of each file.
pub const SCHEMA: &str = "callvault-names/1";

/// The first line.
#[derive(Serialize)]
struct Head<'a> {
    schema: &'a str,
    pbx: &'a str,
    day: String,
    revision: i64,
}

/// A line, before it gets its salt.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told<'a> {
    /// A file that the certificate counts.
    File {
        name: &'a str,
        sha256: Digest,
        #[serde(skip_serializing_if = "Option::is_none")]
        entry: Option<i64>,
    },
    /// A recording that is not archived.
    Unarchived {
        recording: Option<Digest>,
        #[serde(flatten)]
        told: &'a Unarchived,
    },
    /// An answered call that names no recording.
    Unrecorded {
        #[serde(flatten)]
        call: CallName,
    },
    /// A recording that no row names.
    Unnamed { path: &'a str, recording: Option<Digest> },
    /// An archived recording that the PBX's latest whole answer did not name.
    Vanished { path: &'a str, entry: Option<i64> },
    /// Odd audio.
    Suspect {
        path: &'a str,
        entry: Option<i64>,
        suspect: &'a [String],
        duration_ms: Option<i64>,
        talk_s: Option<i64>,
    },
    /// Audio beside other audio of the same name.
    Conflict { path: &'a str, entry: Option<i64> },
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
    /// A finding of the day.
    Finding {
        #[serde(flatten)]
        told: &'a FindingRow,
    },
}

/// The text of the companion: of these files, in this order, and of all that `account` tells by name.
pub(super) fn of(pbx: &str, files: &[(String, Digest)], account: &DayAccount, counted: &Counted) -> String {
    let head = Head { schema: SCHEMA, pbx, day: account.day.to_string(), revision: account.revision };
    let mut text = serde_json::to_string(&head).expect("text always serialises") + "\n";
    let mut tell = |told: Told<'_>| {
        text.push_str(&salted::line(&told));
        text.push('\n');
    };
    let folder = format!("{pbx}/{}", account.day.strftime("%Y/%m/%d"));
    for (name, sha256) in files {
        tell(Told::File { name, sha256: *sha256, entry: counted.entry(&format!("{folder}/{name}")) });
    }
    for one in &account.unarchived.items {
        tell(Told::Unarchived { recording: counted.commitment(&one.path), told: one });
    }
    for identity in &account.unrecorded.items {
        tell(Told::Unrecorded { call: counted.call(identity) });
    }
    for path in paths(&account.unnamed) {
        tell(Told::Unnamed { path, recording: counted.commitment(path) });
    }
    for path in paths(&account.vanished) {
        tell(Told::Vanished { path, entry: counted.entry(path) });
    }
    for one in &account.suspect.files.items {
        let (duration_ms, talk_s) = (one.duration_ms, one.talk_s);
        let (path, suspect) = (one.path.as_str(), one.suspect.as_slice());
        tell(Told::Suspect { path, entry: counted.entry(path), suspect, duration_ms, talk_s });
    }
    for path in paths(&account.conflicts) {
        tell(Told::Conflict { path, entry: counted.entry(path) });
    }
    for one in &account.differences.items {
        // An identity would be an unsalted hash of numbers: the call stands here by what people find it by.
        let is_call = one.kind == "unqueued";
        let CallName { callid, started_at } =
            if is_call { counted.call(&one.subject) } else { CallName::default() };
        let path = (!is_call).then_some(one.subject.as_str());
        tell(Told::Difference { kind: &one.kind, path, callid, started_at });
    }
    for one in &account.findings.told.items {
        tell(Told::Finding { told: one });
    }
    text
}

fn paths(listing: &Listing<Filed>) -> impl Iterator<Item = &str> {
    listing.items.iter().map(|filed| filed.path.as_str())
}
