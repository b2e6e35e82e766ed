//! The calls, day by day, each with its recording; then the recordings that no call names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::Offset;

use super::{as_number, url};
use crate::export::cdr::shown;
use crate::export::originals::{bag_path, name_of, proof_path};
use crate::export::rows::{CallRow, FileRow};
use crate::export::selection::{Recording, Selection};
use crate::html::{count, escape};
use crate::raw_row::RawRow;

/// What browsers play of what a WAV file can hold.
const PLAYED: [&str; 4] = ["pcm", "float", "alaw", "mulaw"];

/// Paths in the archive of audio that is damaged or gone.
pub(super) type Damaged<'a> = BTreeSet<&'a str>;

/// The recordings that were chosen, and which of them are damaged.
struct Recordings<'a> {
    by_id: BTreeMap<i64, &'a Recording>,
    damaged: &'a Damaged<'a>,
}

pub(super) fn write(selection: &Selection, damaged: &Damaged<'_>, to: &mut dyn Write) -> io::Result<()> {
    let by_id: BTreeMap<i64, &Recording> =
        selection.recordings.iter().map(|recording| (recording.row.id, recording)).collect();
    let recordings = Recordings { by_id, damaged };
    let mut days: BTreeMap<(&str, &str), Vec<&CallRow>> = BTreeMap::new();
    for call in &selection.calls {
        days.entry((&call.pbx, &call.day)).or_default().push(call);
    }
    if days.len() > 1 {
        contents(&days, to)?;
    }
    for ((pbx, day), calls) in &days {
        day_of_calls(pbx, day, calls, &recordings, to)?;
    }
    let alone: Vec<&Recording> =
        selection.recordings.iter().filter(|recording| recording.call.is_none()).collect();
    without_a_call(&alone, damaged, to)
}

fn contents(days: &BTreeMap<(&str, &str), Vec<&CallRow>>, to: &mut dyn Write) -> io::Result<()> {
    writeln!(to, "<h2>Days</h2>\n<nav><ul>")?;
    for ((pbx, day), calls) in days {
        let (calls, pbx) = (count(as_number(calls.len() as u64), "call"), escape(pbx));
        writeln!(
            to,
            "<li><a href=\"#{pbx}-{day}\">{pbx}, {day}</a> <span class=\"note\">{calls}</span></li>"
        )?;
    }
    writeln!(to, "</ul></nav>")
}

fn day_of_calls(
    pbx: &str,
    day: &str,
    calls: &[&CallRow],
    recordings: &Recordings<'_>,
    to: &mut dyn Write,
) -> io::Result<()> {
    let (pbx, day) = (escape(pbx), escape(day));
    writeln!(
        to,
        "<section id=\"{pbx}-{day}\">\n<h2>{pbx}, {day}</h2>\n<div class=\"wide\"><table>\n<thead><tr>\
         <th scope=\"col\">Time</th><th scope=\"col\">From</th><th scope=\"col\">To</th><th scope=\"col\">DID</th>\
         <th scope=\"col\">Call</th><th scope=\"col\" class=\"number\">Talk</th>\
         <th scope=\"col\">Recording</th></tr></thead>\n<tbody>"
    )?;
    for call in calls {
        let row: RawRow = serde_json::from_str(&call.row).unwrap_or_default();
        let cell = |heading: &str| escape(&shown(row.cell(heading)));
        write!(
            to,
            "<tr><td class=\"time\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{} {}</td>\
             <td class=\"number\">{}</td><td class=\"audio\">",
            local_time(call.started_at_ms, call.utc_offset_s, &call.day),
            cell("callfrom"),
            cell("callto"),
            cell("didnumber"),
            cell("type"),
            cell("status").to_lowercase(),
            duration(call.talk_s)
        )?;
        match call.recording_id.and_then(|id| recordings.by_id.get(&id)) {
            Some(recording) => of_recording(recording, recordings.damaged, to)?,
            None => write!(to, "<span class=\"note\">none</span>")?,
        }
        writeln!(to, "</td></tr>")?;
    }
    writeln!(to, "</tbody>\n</table></div>\n</section>")
}

fn without_a_call(recordings: &[&Recording], damaged: &Damaged<'_>, to: &mut dyn Write) -> io::Result<()> {
    if recordings.is_empty() {
        return Ok(());
    }
    writeln!(
        to,
        "<section>\n<h2>Voicemail, and recordings that no call names</h2>\n<div class=\"wide\"><table>\n<thead><tr>\
         <th scope=\"col\">PBX</th><th scope=\"col\">Time</th><th scope=\"col\">From</th><th scope=\"col\">Box</th>\
         <th scope=\"col\">Name</th><th scope=\"col\">Recording</th></tr></thead>\n<tbody>"
    )?;
    for recording in recordings {
        let row = &recording.row;
        let text = |text: &Option<String>| escape(text.as_deref().unwrap_or_default());
        write!(
            to,
            "<tr><td>{}</td><td class=\"time\">{}</td><td>{}</td><td>{}</td><td class=\"name\">{}</td><td class=\"audio\">",
            escape(&row.pbx),
            local_time(Some(row.started_at_ms), row.utc_offset_s.unwrap_or(0), ""),
            text(&row.caller),
            text(&row.extension),
            escape(&name_of(recording))
        )?;
        of_recording(recording, damaged, to)?;
        writeln!(to, "</td></tr>")?;
    }
    writeln!(to, "</tbody>\n</table></div>\n</section>")
}

/// The files of a recording, or what became of it.
fn of_recording(recording: &Recording, damaged: &Damaged<'_>, to: &mut dyn Write) -> io::Result<()> {
    if recording.files.is_empty() {
        return write!(to, "<span class=\"wrong\">not archived: {}</span>", escape(&recording.row.state));
    }
    let several = recording.files.len() > 1;
    for (number, file) in (1..).zip(&recording.files) {
        if several {
            write!(to, "<span class=\"note\">Under one name, file {number}:</span>")?;
        }
        match damaged.contains(&*file.path) {
            true => write!(to, "<span class=\"wrong\">damaged or gone: see above</span>")?,
            false => of_file(file, to)?,
        }
    }
    Ok(())
}

fn of_file(file: &FileRow, to: &mut dyn Write) -> io::Result<()> {
    let audio = url(&bag_path(&file.path));
    let length = duration(file.duration_ms.map(|ms| (ms + 500) / 1000));
    match PLAYED.contains(&file.format.as_str()) {
        true => write!(to, "<audio controls preload=\"none\" src=\"{audio}\"></audio>")?,
        false => write!(
            to,
            "<span class=\"note\">No browser plays {}: open it elsewhere.</span><br>",
            escape(&file.format)
        )?,
    }
    write!(
        to,
        "<span class=\"files\">{length} <a href=\"{audio}\">audio</a> \u{b7} <a href=\"{audio}.json\">all that is known</a> \
         \u{b7} <a href=\"{}\">proof</a>",
        url(&proof_path(file))
    )?;
    if !file.suspect.is_empty() {
        write!(to, " \u{b7} odd: {}", escape(&file.suspect.replace('_', " ").replace(',', ", ")))?;
    }
    write!(to, "</span>")
}

/// The time by the clock of the PBX, with its distance from UTC; and the day, if it is another than `day`.
fn local_time(at_ms: Option<i64>, utc_offset_s: i64, day: &str) -> String {
    let at = at_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let offset = i32::try_from(utc_offset_s).ok().and_then(|seconds| Offset::from_seconds(seconds).ok());
    match (at, offset) {
        (Some(at), Some(offset)) => {
            let local = offset.to_datetime(at);
            let shown = if local.date().to_string() == day { "%T" } else { "%F %T" };
            format!("{} <span class=\"note\">{offset}</span>", local.strftime(shown))
        }
        _ => "\u{2013}".to_owned(),
    }
}

/// Whole seconds as `m:ss` or `h:mm:ss`; nothing for none.
fn duration(seconds: Option<i64>) -> String {
    let Some(seconds) = seconds.and_then(|seconds| u64::try_from(seconds).ok()) else { return String::new() };
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{rest:02}"),
        hours => format!("{hours}:{minutes:02}:{rest:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::rows::RecordingRow;

    fn call(row: &str) -> CallRow {
        CallRow {
            id: 1,
            pbx: "hq".to_owned(),
            day: "2026-01-09".to_owned(),
            identity: vec![1],
            version: vec![2],
            started_at_ms: Some(1_767_945_600_000),
            utc_offset_s: 3600,
            offset_source: "zone".to_owned(),
            zone_offset_s: None,
            talk_s: Some(61),
            first_seen_at_ms: 0,
            row: row.to_owned(),
            recording_id: Some(1),
            path: Some("hq/2026/01/09/a%20b.wav".to_owned()),
            state: Some("archived".to_owned()),
        }
    }

    fn recording(format: &str, call: Option<usize>) -> Recording {
        let row = RecordingRow {
            id: 1,
            pbx: "hq".to_owned(),
            kind: "call".to_owned(),
            name: b"a b.wav".to_vec(),
            day: "2026-01-09".to_owned(),
            started_at_ms: 0,
            path: "hq/2026/01/09/a%20b.wav".to_owned(),
            state: "archived".to_owned(),
            reason: None,
            is_final: false,
            attempts: 1,
            extension: None,
            caller: None,
            utc_offset_s: None,
        };
        let file = FileRow {
            path: row.path.clone(),
            size_bytes: 1,
            sha256: vec![0; 32],
            sidecar_sha256: vec![0; 32],
            format: format.to_owned(),
            duration_ms: Some(60_700),
            suspect: "short,unknown_codec".to_owned(),
            archived_at_ms: 0,
            ledger_number: 7,
        };
        Recording { row, files: vec![file], call }
    }

    fn page(selection: &Selection, damaged: &[&str]) -> String {
        let mut page = Vec::new();
        write(selection, &damaged.iter().copied().collect(), &mut page).unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn a_call_is_told_with_its_recording_and_nothing_in_it_becomes_markup() {
        let row = r#"{"callfrom":"<script>alert(1)</script>","callto":"1003","type":"Inbound","status":"ANSWERED"}"#;
        let calls = vec![call(row)];
        let page = page(
            &Selection { calls, recordings: vec![recording("pcm", Some(0))], ..Selection::default() },
            &[],
        );
        for words in [
            "&lt;script&gt;alert(1)&lt;/script&gt;",
            "<td class=\"time\">09:00:00 <span class=\"note\">+01</span>",
            "<td class=\"number\">1:01</td>",
            "src=\"data/hq/2026/01/09/a%2C20b.wav\"",
            "href=\"data/hq/2026/01/09/a%2C20b.wav.json\"",
            "href=\"proofs/7.tlog-proof\"",
            "odd: short, unknown codec",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
        assert!(!page.contains("<script") && !page.contains("no call names"));
    }

    #[test]
    fn what_no_browser_plays_has_no_player_and_what_no_call_names_is_there_too() {
        let page = page(&Selection { recordings: vec![recording("gsm", None)], ..Selection::default() }, &[]);
        assert!(page.contains("No browser plays gsm") && !page.contains("<audio"), "{page}");
        assert!(page.contains("recordings that no call names") && page.contains("a b.wav"), "{page}");
    }

    #[test]
    fn what_is_damaged_is_no_recording_to_listen_to() {
        let selection = Selection { recordings: vec![recording("pcm", None)], ..Selection::default() };
        let page = page(&selection, &["hq/2026/01/09/a%20b.wav"]);
        assert!(page.contains("damaged or gone") && !page.contains("<audio"), "{page}");
    }

    #[test]
    fn lengths_are_read_by_people() {
        assert_eq!(
            [Some(0), Some(59), Some(3_661), Some(-1), None].map(duration),
            ["0:00", "0:59", "1:01:01", "", ""]
        );
    }
}
