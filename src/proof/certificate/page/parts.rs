//! What the page says, part by part.

use std::fmt::Write as _;

use crate::base::recording::{RecordingName, printable};
use crate::proof::certificate::document::Document;
use crate::proof::html::{count, escape, facts, left_out, number, time};
use crate::proof::reconcile::{DayAccount, Filed, Listing, Unarchived};
use crate::store::remedy;

/// Rows of a table on the page; the companion has more.
const ROWS_MAX: usize = 200;
const IN_THE_NAMES: &str = "the file of names beside this page";
const IN_THE_LISTS: &str = "the file of names beside this page, and the day's call lists";

pub(super) fn head(page: &mut String, document: &Document<'_>) -> std::fmt::Result {
    let account = document.account;
    let sn = match document.pbx.sn {
        "" => String::new(),
        sn => format!("serial number {} · ", escape(sn)),
    };
    writeln!(
        page,
        "<header>\n<p class=\"kind\">Certificate of completeness</p>\n<h1>{}, {}</h1>\n\
         <p class=\"which\">PBX <b>{}</b> · {sn}revision {}</p>\n</header>",
        account.day.strftime("%A"),
        account.day.strftime("%-d %B %Y"),
        escape(document.pbx.id),
        account.revision
    )
}

pub(super) fn unarchived(page: &mut String, account: &DayAccount) -> std::fmt::Result {
    let Listing { count, items } = &account.unarchived;
    if *count == 0 {
        return Ok(());
    }
    page.push_str(
        "<h2>Not in the archive</h2>\n<table>\n<tr><th>Recording</th><th>State</th><th>Why</th>\
         <th class=\"number\">Attempts</th></tr>\n",
    );
    for one in items.iter().take(ROWS_MAX) {
        let state = if one.is_final { format!("{} for good", one.state) } else { one.state.clone() };
        writeln!(
            page,
            "<tr><td class=\"name\"><code>{}</code></td><td>{}</td><td>{}</td><td class=\"number\">{}</td></tr>",
            escape(&name_of(one)),
            escape(&state),
            escape(&why(one)),
            number(one.attempts)
        )?;
    }
    page.push_str("</table>\n");
    left_out(page, *count, items.len().min(ROWS_MAX), IN_THE_LISTS)
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

pub(super) fn differences(page: &mut String, account: &DayAccount) -> std::fmt::Result {
    let Listing { count, items } = &account.differences;
    if *count == 0 {
        return Ok(());
    }
    page.push_str("<h2>Why the numbers do not add up</h2>\n<table>\n<tr><th>What</th><th>Which</th></tr>\n");
    for one in items.iter().take(ROWS_MAX) {
        let what = match one.kind.as_str() {
            "archived_without_file" => "noted as archived, but no file of it is known",
            "file_without_archived" => "a file of it is known, but it is not noted as archived",
            _ => "a row names a recording that is not known: the row with this call id",
        };
        writeln!(
            page,
            "<tr><td>{what}</td><td class=\"name\"><code>{}</code></td></tr>",
            escape(&one.subject)
        )?;
    }
    page.push_str("</table>\n");
    left_out(page, *count, items.len().min(ROWS_MAX), IN_THE_NAMES)
}

pub(super) fn calls(page: &mut String, account: &DayAccount) -> std::fmt::Result {
    let calls = &account.calls;
    let mut rows = vec![
        ("Rows of calls", number(calls.rows)),
        ("Answered calls", number(calls.answered)),
        ("Answered, and without a recording", number(account.unrecorded.count)),
    ];
    if calls.counted_elsewhere > 0 {
        let elsewhere = count(calls.counted_elsewhere, "recording");
        rows.push(("Counted on the day that named them first", elsewhere));
    }
    if calls.vanished > 0 {
        let vanished = format!("{}; they are kept", number(calls.vanished));
        rows.push(("Rows that the PBX\u{2019}s last answer lacked", vanished));
    }
    page.push_str("<h2>Calls of the day</h2>\n");
    facts(page, &rows)?;
    page.push_str(
        "<p class=\"note\">Whether a call is recorded is the PBX\u{2019}s choice: its settings tell which are. Each call \
         stands in the day\u{2019}s call lists.</p>\n",
    );
    Ok(())
}

/// What somebody should look at, and what is told apart.
pub(super) fn oddities(page: &mut String, account: &DayAccount) -> std::fmt::Result {
    let mut rows = Vec::new();
    for (word, value) in &account.suspect.by {
        rows.push((suspicion(word), count(*value, "file")));
    }
    for (what, listing) in [
        ("Kept beside other audio of the same name", &account.conflicts),
        ("Recordings that no row names; not counted", &account.unnamed),
        ("Archived, but the PBX\u{2019}s last answer named them no more", &account.vanished),
    ] {
        if listing.count > 0 {
            rows.push((what, paths(listing)));
        }
    }
    let voicemail = account.voicemail;
    if voicemail.listed() > 0 {
        let told = format!(
            "{}, of which {} archived",
            count(voicemail.listed(), "message"),
            number(voicemail.archived)
        );
        rows.push(("Voicemail of the day; not counted", told));
    }
    if !rows.is_empty() {
        page.push_str("<h2>Also</h2>\n");
        facts(page, &rows)?;
    }
    findings(page, account)
}

fn suspicion(word: &str) -> &'static str {
    match word {
        "short" => "Clearly shorter than the talk time",
        "silent" => "Silent",
        "empty" => "A header without audio",
        "header_size" => "Sizes in the header that do not fit",
        "header_format" => "A header that contradicts itself",
        "one_sided" => "One side of a stereo call is silent",
        "container" => "Not a WAV file, whatever the name says",
        "unknown_codec" => "Of a codec that is not known here",
        _ => "Odd in another way",
    }
}

fn paths(listing: &Listing<Filed>) -> String {
    const NAMED: usize = 3;
    let named = listing.items.iter().take(NAMED).map(|filed| format!("<code>{}</code>", escape(&filed.path)));
    let more = if listing.items.len() > NAMED { ", …" } else { "" };
    format!("{}: {}{more}", number(listing.count), named.collect::<Vec<_>>().join(", "))
}

fn findings(page: &mut String, account: &DayAccount) -> std::fmt::Result {
    let Listing { count, items } = &account.findings.told;
    if *count == 0 {
        return Ok(());
    }
    page.push_str("<h2>Findings</h2>\n<table>\n<tr><th>Finding</th><th>What of</th><th>Detail</th></tr>\n");
    for one in items.iter().take(ROWS_MAX) {
        writeln!(
            page,
            "<tr><td>{}</td><td class=\"name\">{}</td><td class=\"name\">{}</td></tr>",
            escape(&one.kind.replace('_', " ")),
            escape(&one.subject),
            escape(&one.detail)
        )?;
    }
    page.push_str("</table>\n");
    left_out(page, *count, items.len().min(ROWS_MAX), IN_THE_NAMES)
}

/// How the numbers came about.
pub(super) fn counting(page: &mut String, document: &Document<'_>) -> std::fmt::Result {
    let account = document.account;
    let readings = account.readings;
    let mut rows = vec![
        (
            "Read from the PBX",
            format!(
                "{} times, first {}, last {}",
                readings.whole,
                time(readings.first_at),
                time(readings.last_at)
            ),
        ),
        ("Settled", time(account.settled_at)),
        ("Counted", time(Some(document.counted_at))),
        ("The day\u{2019}s clock", clock(document)),
        ("Ledger", format!("{} entries when this was counted", document.ledger_size)),
        (
            "Files counted",
            format!(
                "{}, {} bytes of audio",
                number(i64::try_from(document.files.count).unwrap_or(0)),
                number(account.bytes)
            ),
        ),
    ];
    if let Some(former) = &document.former {
        rows.push((
            "Replaces",
            format!(
                "revision {}, entry {} of the ledger, SHA-256 <span class=\"hash\">{}</span>",
                former.revision, former.ledger_number, former.sha256
            ),
        ));
    }
    for (transport, files) in document.numbers.transports() {
        rows.push(("Audio that came", format!("{}: {}", came_by(transport), number(*files))));
    }
    for rebuilt in &document.rebuilt {
        let told = format!(
            "the database was made anew from the archive (entry {}); for what came before, {} vouches",
            rebuilt.ledger_number,
            rebuilt.told()
        );
        rows.push(("Rebuilt", told));
    }
    page.push_str("<h2>How this was counted</h2>\n");
    facts(page, &rows)?;
    page.push_str(
        "<p class=\"note\">A day settles when a whole reading, at least 12 hours after its end, brought nothing new. A \
         recording counts on the day of the first row that names it. This page says what became of the recordings that the \
         PBX listed; of a call that it never listed, nobody can tell.</p>\n",
    );
    Ok(())
}

fn came_by(transport: &str) -> &'static str {
    match transport {
        "pinned" => "over HTTPS with the pinned key",
        "roots" => "over HTTPS with a certificate that this machine trusts",
        "plain" => "over plain HTTP: anybody on the way could have changed it",
        "accepted" => "not from the PBX: a person took what was found",
        _ => "nobody noted how",
    }
}

fn clock(document: &Document<'_>) -> String {
    let offsets: Vec<String> = document.account.utc_offsets_s.iter().map(|offset_s| utc(*offset_s)).collect();
    match (&document.timezone, offsets.is_empty()) {
        (Some(zone), true) => escape(zone),
        (Some(zone), false) => format!("{}; its rows show {}", escape(zone), offsets.join(" and ")),
        (None, true) => "no row showed its offset".to_owned(),
        (None, false) => format!("its rows show {}", offsets.join(" and ")),
    }
}

/// An offset as people write it.
fn utc(offset_s: i64) -> String {
    let (sign, minutes) = (if offset_s < 0 { '-' } else { '+' }, offset_s.abs() / 60);
    format!("UTC{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}
