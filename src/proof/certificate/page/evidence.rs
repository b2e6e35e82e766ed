//! What it rests on that the PBX's list of the day is whole.

use crate::proof::html::{count, escape, facts, number, time};
use crate::proof::reconcile::DayAccount;
use crate::store::evidence::{AcceptedDay, Evidence, Origin, Verdict};

/// Tells it; nothing of a day that only version 0.1 has read.
pub(super) fn evidence(page: &mut String, account: &DayAccount) -> std::fmt::Result {
    let Some(evidence) = &account.evidence else { return Ok(()) };
    page.push_str("<h2>What the list rests on</h2>\n");
    facts(page, &rows(evidence))
}

fn rows(evidence: &Evidence) -> Vec<(&'static str, String)> {
    let mut rows = vec![("The list", judged(evidence))];
    if let Some(list) = &evidence.readings {
        let late = if list.late {
            "late enough for all calls of the day"
        } else {
            "before all calls could be listed"
        };
        let told = format!(
            "{} in {}, {late}, at {}",
            count(list.rows, "row"),
            count(list.parts, "request"),
            time(Some(list.at))
        );
        rows.push(("Latest reading", told));
    }
    for (cause, lines) in &evidence.doubts.by {
        rows.push(("Lines in doubt", format!("{}: {}", number(*lines), escape(&cause.replace('_', " ")))));
    }
    for AcceptedDay { reason, ledger_number, at, .. } in &evidence.accepted {
        let told = format!("{} (entry {ledger_number} of the ledger, {})", escape(reason), time(Some(*at)));
        rows.push(("Accepted by the operator", told));
    }
    rows.extend(evidence.provenance.iter().map(|origin| ("Came by", came_by(origin))));
    rows
}

fn judged(evidence: &Evidence) -> String {
    let word = match evidence.verdict {
        Verdict::Whole => "whole: nothing speaks against it",
        Verdict::Doubtful => "doubtful",
        Verdict::Short => "short: the PBX seems to have cut it",
        Verdict::Unread => "not read to its end",
    };
    match &evidence.cause {
        Some(cause) => format!("{word}; {}", escape(cause)),
        None => word.to_owned(),
    }
}

fn came_by(origin: &Origin) -> String {
    let hash = origin.sha256.as_ref().map(|hash| format!("<br><span class=\"hash\">{}</span>", escape(hash)));
    let how = match (origin.source.as_str(), origin.transport.as_deref()) {
        ("file", _) => "a file with the SHA-256",
        (_, Some("pinned")) => "the API, over HTTPS with the pinned key",
        (_, Some("roots")) => "the API, over HTTPS with a certificate that this machine trusts",
        _ => "the API, over plain HTTP: anybody on the way could have changed it",
    };
    format!("{how}{}", hash.unwrap_or_default())
}
