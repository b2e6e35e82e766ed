//! The certificate as a page that a person can read and print: one file, no script, nothing from elsewhere.
//!
//! The page names people, so it is not signed; its hash is in the ledger's entry of the day. A salt in its head keeps that
//! hash from confirming a guess once the page is gone.

use askama::Template;

use super::document::{Document, PROGRAM, VERSION};
use crate::base::counts::Counts;
use crate::base::digest::{Digest, hex};
use crate::base::recording::{RecordingName, printable};
use crate::base::remedy;
use crate::base::salt::Salt;
use crate::formats::audio::Suspicion;
use crate::formats::tlog::leaf_hash;
use crate::proof::html;
use crate::proof::reconcile::{DayAccount, Listing, Unarchived};
use crate::store::evidence::{Evidence, Origin, Verdict};

const ROWS_MAX: usize = 200;
const PATHS_MAX: usize = 3;
const IN_THE_NAMES: &str = "the file of names beside this page";

#[derive(Template)]
#[template(path = "certificate.html")]
struct Page<'a> {
    document: &'a Document<'a>,
    account: &'a DayAccount,
    text: &'a str,
    first_line: Option<&'a str>,
    salt: String,
}

/// The page of `document`, whose bytes are `text` and whose companion is `named`. It differs from call to call, by its salt.
pub(super) fn of(document: &Document<'_>, text: &str, named: &str) -> String {
    let (account, first_line) = (document.account, named.lines().nth(1));
    let page = Page { document, account, text, first_line, salt: hex(Salt::random().as_bytes()) };
    page.render().expect("writing to a String cannot fail") + "\n"
}

impl Page<'_> {
    fn states(&self) -> [(i64, &'static str); 5] {
        let Counts { archived, missing, excluded, pending, stuck, .. } = self.account.counts;
        [
            (archived, "archived"),
            (missing, "missing"),
            (excluded, "excluded"),
            (pending, "pending"),
            (stuck, "stuck"),
        ]
    }

    fn owed(&self) -> String {
        let Counts { missing, pending, stuck, .. } = self.account.counts;
        let parts = [
            (missing, "missing on the PBX"),
            (pending, "still to be fetched"),
            (stuck, "stuck after repeated failures"),
        ];
        let parts = parts.iter().filter(|(value, _)| *value > 0);
        let parts = parts.map(|(value, what)| format!("{} {what}", html::number(*value)));
        parts.collect::<Vec<_>>().join(", ")
    }

    /// How many of a list the page does not show.
    fn unshown<T>(&self, listing: &Listing<T>) -> i64 {
        listing.count - i64::try_from(listing.items.len().min(ROWS_MAX)).unwrap_or(i64::MAX)
    }

    fn has_oddities(&self) -> bool {
        let DayAccount { suspect, conflicts, unnamed, vanished, voicemail, .. } = self.account;
        !suspect.by.is_empty() || conflicts.count + unnamed.count + vanished.count + voicemail.listed() > 0
    }

    fn time_zone(&self) -> String {
        let offsets = self.account.utc_offsets_s.iter().map(|offset_s| utc(*offset_s));
        let offsets = offsets.collect::<Vec<_>>().join(" and ");
        match (self.document.timezone(), offsets.is_empty()) {
            (Some(zone), true) => zone.to_owned(),
            (Some(zone), false) => format!("{zone}; its call rows show {offsets}"),
            (None, true) => "unknown: no call row shows its offset".to_owned(),
            (None, false) => format!("its call rows show {offsets}"),
        }
    }

    /// The key, seen from the folder of the day.
    fn pem(&self) -> String {
        format!("../../../../_ledger/keys/{}.pem", self.document.key.id())
    }
}

fn name_of(one: &Unarchived) -> String {
    let name = one.name.to_bytes().and_then(RecordingName::new);
    name.map_or_else(|| one.path.clone(), |name| name.to_string())
}

fn why(one: &Unarchived) -> String {
    let reason = one.reason.as_deref().unwrap_or("waiting");
    match one.state.as_str() {
        "excluded" => format!("kept out by the rule `{}`", printable(reason.as_bytes())),
        state => remedy::of(state, reason).meaning.to_owned(),
    }
}

fn verdict(evidence: &Evidence) -> &'static str {
    match evidence.verdict {
        Verdict::Whole => "whole: no sign that a call is missing",
        Verdict::Doubtful => "doubtful",
        Verdict::Short => "short: the PBX seems to have cut it off",
        Verdict::Unread => "not read to its end",
    }
}

fn received_through(origin: &Origin) -> &'static str {
    match (origin.source.as_str(), origin.transport.as_deref()) {
        ("file", _) => "a file with this SHA-256",
        (_, Some("pinned")) => "the API, over HTTPS with the pinned key",
        (_, Some("roots")) => "the API, over HTTPS with a certificate that this machine trusts",
        _ => "the API, over plain HTTP: anyone on the network path could have changed it",
    }
}

fn transported(transport: &str) -> &'static str {
    match transport {
        "pinned" => "over HTTPS with the pinned key",
        "roots" => "over HTTPS with a certificate that this machine trusts",
        "plain" => "over plain HTTP: anyone on the network path could have changed them",
        "accepted" => "not from the PBX: a person accepted the files that were found",
        _ => "in a way that was not recorded",
    }
}

fn utc(offset_s: i64) -> String {
    let (sign, minutes) = (if offset_s < 0 { '-' } else { '+' }, offset_s.abs() / 60);
    format!("UTC{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}
