//! The calls, day by day, each with its recording; then the recordings that no call names.

use std::io::{self, Write};

use super::recording::{Shelf, duration, is_played, local_time};
use super::{as_number, days};
use crate::formats::raw_row::RawRow;
use crate::proof::export::cdr::shown;
use crate::proof::export::originals::name_of;
use crate::proof::export::rows::CallRow;
use crate::proof::export::selection::{Recording, Selection};
use crate::proof::html::{count, escape};

/// The height of a row and of what is above them, as browsers guess it: they lay out a day when it comes into view.
const HEIGHTS_PX: (usize, usize) = (62, 90);

/// The columns of calls. On a narrow screen the style names them: it must know their order.
const CALL_COLUMNS: [&str; 7] = ["Time", "From", "To", "DID", "Call", "Talk", "Recording"];
const MESSAGE_COLUMNS: [&str; 5] = ["Time", "PBX", "Caller", "Mailbox", "Recording"];
const UNNAMED_COLUMNS: [&str; 4] = ["Time", "PBX", "Name", "Recording"];

pub(super) fn write(selection: &Selection, shelf: &Shelf<'_>, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "<h2 id=\"calls\">Calls</h2>")?;
    legend(selection, to)?;
    if selection.calls.is_empty() {
        writeln!(to, "<p>There is no call: what was chosen are recordings.</p>")?;
    }
    for of_day in selection.calls.chunk_by(|one, other| (&one.pbx, &one.day) == (&other.pbx, &other.day)) {
        day(of_day, shelf, to)?;
    }
    let (unnamed, messages): (Vec<&Recording>, Vec<&Recording>) = selection
        .recordings
        .iter()
        .filter(|recording| recording.call.is_none())
        .partition(|recording| recording.row.kind == "call");
    voicemail(&messages, shelf, to)?;
    without_a_call(&unnamed, shelf, to)
}

/// What the columns mean.
fn legend(selection: &Selection, to: &mut dyn Write) -> io::Result<()> {
    writeln!(
        to,
        "<p class=\"note\">Times are those of the PBX\u{2019}s clock, with its distance from UTC. Of each recording there are \
         the file as the PBX had it (WAV), what is known of it (details) and the proof that the ledger tells of it, by the \
         number of its entry. One recording may be of several calls: it stands with each.</p>"
    )?;
    let mut files = selection.recordings.iter().flat_map(|recording| &recording.files);
    if files.any(|file| !is_played(&file.format)) {
        writeln!(
            to,
            "<p class=\"note\">Some recordings are in a codec that browsers do not play, as is said with each: open the WAV \
             with another player, such as VLC. A converted copy would be another file.</p>"
        )?;
    }
    Ok(())
}

fn day(calls: &[CallRow], shelf: &Shelf<'_>, to: &mut dyn Write) -> io::Result<()> {
    let Some(CallRow { pbx, day, .. }) = calls.first() else { return Ok(()) };
    let (number, id) = (count(as_number(calls.len()), "call"), days::anchor(pbx, day));
    let height_px = calls.len() * HEIGHTS_PX.0 + HEIGHTS_PX.1;
    writeln!(
        to,
        "<section id=\"{id}\" style=\"contain-intrinsic-size: auto {height_px}px\">\n<h3>{} <span class=\"note\">{} \u{b7} {number}<a class=\"up\" href=\"#days\">all days</a></span></h3>",
        days::in_words(day),
        escape(pbx)
    )?;
    begin_table("calls", &CALL_COLUMNS, to)?;
    for call in calls {
        let row: RawRow = serde_json::from_str(&call.row).unwrap_or_default();
        let cell = |heading: &str| escape(&shown(row.cell(heading)));
        let time = call.started_at_ms.and_then(|at| local_time(at, Some(call.utc_offset_s), day));
        write!(
            to,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>",
            time.unwrap_or_else(|| cell("timestart")),
            cell("callfrom"),
            cell("callto"),
            cell("didnumber"),
            way(&cell("type"), &cell("status")),
            duration(call.talk_s)
        )?;
        match call.recording_id.and_then(|id| shelf.get(id)) {
            Some(recording) => shelf.write(recording, to)?,
            None => write!(to, "<span class=\"note\">no recording</span>")?,
        }
        writeln!(to, "</td></tr>")?;
    }
    end_table(to)
}

/// Direction and status in one.
fn way(direction: &str, status: &str) -> String {
    let status = status.to_lowercase();
    let parts = [direction, &*status].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(", ")
}

fn voicemail(messages: &[&Recording], shelf: &Shelf<'_>, to: &mut dyn Write) -> io::Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    writeln!(to, "<section>\n<h2 id=\"voicemail\">Voicemail</h2>")?;
    begin_table("messages", &MESSAGE_COLUMNS, to)?;
    for message in messages {
        let text = |text: &Option<String>| escape(text.as_deref().unwrap_or_default());
        let (caller, extension) = (text(&message.row.caller), text(&message.row.extension));
        begin_row(message, to)?;
        write!(to, "<td>{caller}</td><td>{extension}</td><td>")?;
        shelf.write(message, to)?;
        writeln!(to, "</td></tr>")?;
    }
    end_table(to)
}

fn without_a_call(recordings: &[&Recording], shelf: &Shelf<'_>, to: &mut dyn Write) -> io::Result<()> {
    if recordings.is_empty() {
        return Ok(());
    }
    writeln!(to, "<section>\n<h2 id=\"unnamed\">Recordings that no call names</h2>")?;
    begin_table("unnamed", &UNNAMED_COLUMNS, to)?;
    for recording in recordings {
        begin_row(recording, to)?;
        write!(to, "<td class=\"path\">{}</td><td>", escape(&name_of(recording)))?;
        shelf.write(recording, to)?;
        writeln!(to, "</td></tr>")?;
    }
    end_table(to)
}

fn begin_row(recording: &Recording, to: &mut dyn Write) -> io::Result<()> {
    let row = &recording.row;
    let time = local_time(row.started_at_ms, row.utc_offset_s, "").unwrap_or_else(|| escape(&row.day));
    write!(to, "<tr><th scope=\"row\">{time}</th><td>{}</td>", escape(&row.pbx))
}

fn begin_table(class: &str, columns: &[&str], to: &mut dyn Write) -> io::Result<()> {
    write!(to, "<table class=\"{class}\">\n<thead><tr>")?;
    for column in columns {
        write!(to, "<th scope=\"col\">{column}</th>")?;
    }
    writeln!(to, "</tr></thead>\n<tbody>")
}

fn end_table(to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "</tbody>\n</table>\n</section>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::export::page::samples::{call, recording};

    fn page(selection: &Selection) -> String {
        let mut page = Vec::new();
        write(selection, &Shelf::new(selection, &[]), &mut page).unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn a_call_is_told_with_its_recording_and_nothing_in_it_becomes_markup() {
        let row = r#"{"callfrom":"<script>alert(1)</script>\u202e","callto":{"hex":"ff"},"didnumber":"\"'>",
                      "type":"Inbound","status":"NO ANSWER"}"#;
        let mut recording = recording(1, "a%20b.wav");
        recording.call = Some(0);
        let calls = vec![call(1, Some(1), row)];
        let page = page(&Selection { calls, recordings: vec![recording], ..Selection::default() });
        let cells = "<tr><th scope=\"row\">09:00:00 <small>+01:00</small></th>\
                     <td>&lt;script&gt;alert(1)&lt;/script&gt;\\u{202e}</td><td>hex:ff</td><td>&quot;&#39;&gt;</td>\
                     <td>Inbound, no answer</td><td>1:01</td><td><audio ";
        assert!(page.contains(cells), "{page}");
        assert!(page.contains("<section id=\"hq-2026-01-09\" style=\"contain-intrinsic-size: auto 152px\">\n<h3>Friday, 9 January 2026 "), "{page}");
        assert!(
            !page.contains("There is no call")
                && !page.contains("no call names")
                && !page.contains("Voicemail"),
            "{page}"
        );
    }

    #[test]
    fn days_and_pbxs_are_apart() {
        let mut calls =
            vec![call(1, None, "{}"), call(2, None, "{}"), call(3, None, "{}"), call(4, None, "{}")];
        calls[2].day = "2026-01-10".to_owned();
        calls[3].pbx = "branch".to_owned();
        let page = page(&Selection { calls, ..Selection::default() });
        for words in ["hq \u{b7} 2 calls", "id=\"hq-2026-01-10\"", "id=\"branch-2026-01-09\""] {
            assert!(page.contains(words), "{words}: {page}");
        }
        assert_eq!(page.matches("<section").count(), page.matches("</section>").count());
    }

    #[test]
    fn what_no_call_names_has_a_table_of_its_own() {
        let mut message = recording(1, "m.wav");
        message.row.kind = "voicemail".to_owned();
        message.row.caller = Some("\"Jane <Doe>\"".to_owned());
        message.row.extension = Some("1003".to_owned());
        message.row.utc_offset_s = Some(3600);
        let mut unplayed = recording(2, "b.wav");
        unplayed.files[0].format = "gsm610".to_owned();
        let page = page(&Selection { recordings: vec![message, unplayed], ..Selection::default() });
        for words in [
            "<th scope=\"row\">2026-01-09 09:00:00 <small>+01:00</small></th><td>hq</td>\
             <td>&quot;Jane &lt;Doe&gt;&quot;</td><td>1003</td><td><audio",
            "<th scope=\"row\">2026-01-09 08:00:00 <small>UTC</small></th><td>hq</td><td class=\"path\">b.wav</td>",
            "in a codec that browsers do not play",
            "There is no call",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }
}
