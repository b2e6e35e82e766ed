//! The lists of a bag: every selected call, every recording that is not in the bag, and what happened to each file, in the
//! vocabulary of PREMIS 3 (<https://id.loc.gov/vocabulary/preservation/eventType>).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::log::{Log, Scope};
use super::originals::bag_path;
use super::selection::{Recording, Selection};
use super::{AGENT, Contents};
use crate::base::recording::Text;
use crate::store::export::{CallRow, FileRow};

/// The CDR columns of `cdr.csv`, after our own.
const COLUMNS: [&str; 13] = [
    "callid",
    "timestart",
    "callfrom",
    "callto",
    "type",
    "status",
    "callduraction",
    "talkduraction",
    "srctrunkname",
    "dsttrunkname",
    "didnumber",
    "sn",
    "recording",
];

/// A line of `not-exported.jsonl`.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Absence {
    /// Where it is in the archive, or would be.
    pub(super) path: String,
    pub(super) pbx: String,
    pub(super) kind: String,
    pub(super) name: Text,
    pub(super) day: String,
    pub(super) started_at: Option<String>,
    /// `pending`, `missing`, `excluded`, `stuck`, `gone`, `damaged` or `unreadable`.
    pub(super) state: String,
    /// Why, if it was never archived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) r#final: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempts: Option<i64>,
    /// If it was archived: what its hash should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) archived_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) found_sha256: Option<String>,
    /// Where the damaged file is in the bag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
}

impl Absence {
    /// Of a recording that was never archived.
    pub(super) fn of(recording: &Recording) -> Self {
        let row = &recording.row;
        Self {
            path: row.path.clone(),
            pbx: row.pbx.clone(),
            kind: row.kind.clone(),
            name: Text::from_bytes(&row.name),
            day: row.day.clone(),
            started_at: Some(row.started_at.to_string()),
            state: row.state.clone(),
            reason: row.reason.clone(),
            r#final: row.is_final,
            attempts: Some(row.attempts),
            ..Self::default()
        }
    }

    pub(super) fn is_excluded(&self) -> bool {
        self.state == "excluded"
    }

    /// Whether it was archived and has changed since.
    pub(super) fn is_damage(&self) -> bool {
        matches!(&*self.state, "gone" | "damaged" | "unreadable")
    }
}

/// What was archived and has changed since, by its path.
pub(super) fn damaged(absent: &[Absence]) -> BTreeMap<&str, &Absence> {
    let damaged = absent.iter().filter(|absence| absence.is_damage());
    damaged.map(|absence| (&*absence.path, absence)).collect()
}

/// A line of the operator's list that matches nothing, as a line of `not-exported.jsonl`.
#[derive(Serialize)]
struct UnknownLine<'a> {
    state: &'a str,
    line: &'a str,
}

pub(super) fn write_absent(absent: &[Absence], unknown: &[String], to: &mut dyn Write) -> io::Result<()> {
    absent.iter().try_for_each(|absence| json_line(to, absence))?;
    unknown.iter().try_for_each(|line| json_line(to, &UnknownLine { state: "unknown", line }))
}

pub(super) fn write_jsonl(selection: &Selection, to: &mut dyn Write) -> io::Result<()> {
    selection.calls.iter().try_for_each(|call| json_line(to, call))
}

pub(super) fn json_line(to: &mut dyn Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *to, line)?;
    to.write_all(b"\n")
}

/// Writes every call for spreadsheets: RFC 4180, and no cell is taken for a formula.
pub(super) fn write_csv(selection: &Selection, absent: &[Absence], to: &mut dyn Write) -> io::Result<()> {
    let damaged = damaged(absent);
    let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(to);
    let ours = ["pbx", "day", "started_at", "recording_state", "file"];
    csv.write_record(ours.iter().chain(&COLUMNS))?;
    for call in &selection.calls {
        csv.write_record(cells(call, &damaged).iter().map(|cell| harmless(cell)))?;
    }
    csv.flush()
}

fn cells(call: &CallRow, damaged: &BTreeMap<&str, &Absence>) -> Vec<String> {
    let is_archived = call.state.as_deref() == Some("archived");
    let is_there = |path: &&str| is_archived && !damaged.contains_key(path);
    let file = call.path.as_deref().filter(is_there).map(bag_path).unwrap_or_default();
    let started_at = call.started_at.map(|at| at.to_string()).unwrap_or_default();
    let state = call.state.clone().unwrap_or_default();
    let ours = [call.pbx.clone(), call.day.clone(), started_at, state, file];
    ours.into_iter().chain(COLUMNS.iter().map(|column| cell(call, column))).collect()
}

pub(super) fn cell(call: &CallRow, column: &str) -> String {
    match call.row.cells.cell(column) {
        Some(Text::Utf8(text)) => text.trim().to_owned(),
        Some(Text::Bytes { hex }) => format!("hex:{hex}"),
        None => String::new(),
    }
}

/// A cell that no spreadsheet runs: whatever could begin a formula gets an apostrophe before it (OWASP, CSV injection), also
/// after the characters that end a cell in some countries.
fn harmless(cell: &str) -> String {
    let is_risky = |character| matches!(character, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠');
    let is_blank = |character| matches!(character, '\t' | '\r' | '\n');
    let mut safe = String::with_capacity(cell.len() + 1);
    if cell.starts_with(is_blank) {
        safe.push('\'');
    }
    let mut begins = true;
    for character in cell.chars() {
        if begins && is_risky(character) {
            safe.push('\'');
        }
        safe.push(character);
        begins = matches!(character, ';' | '\t' | '\r' | '\n') || (begins && character == ' ');
    }
    safe
}

/// The agent of past events, of whatever version.
const ARCHIVER: &str = "callvault";

/// One object a line, whose members are semantic units of PREMIS, without the containers that XML puts around them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    event_identifier: String,
    event_type: &'a str,
    event_date_time: String,
    event_detail: String,
    event_outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_outcome_detail: Option<String>,
    linking_agent_identifier: &'a str,
    linking_object_identifier: &'a str,
}

/// Writes the events of each file in order, and then those of the bag.
pub(super) fn write_events(contents: &Contents<'_>, to: &mut dyn Write) -> io::Result<()> {
    let Contents { selection, copied, log, now, .. } = *contents;
    let damaged = damaged(&copied.absent);
    for recording in &selection.recordings {
        for file in &recording.files {
            write_events_of(recording, file, &damaged, log, now, to)?;
        }
    }
    // Recipients need not learn about PBXs that were not selected.
    let chosen: BTreeSet<&str> = selection.recordings.iter().map(|recording| &*recording.row.pbx).collect();
    let is_relevant = |entry: &Value| match entry["pbx"].as_str() {
        Some(pbx) => chosen.contains(pbx),
        None => log.scope == Scope::Whole,
    };
    for (number, entry) in log.fixity.iter().filter(|(_, entry)| is_relevant(entry)) {
        json_line(to, &verification(*number, entry))?;
    }
    let packed = event("information package creation", &now.to_string(), "put into a BagIt 1.0 bag", ".");
    let event_identifier = "bag/information-package-creation".to_owned();
    json_line(to, &Event { event_identifier, linking_agent_identifier: AGENT, ..packed })
}

fn write_events_of(
    recording: &Recording,
    file: &FileRow,
    damaged: &BTreeMap<&str, &Absence>,
    log: &Log,
    now: Timestamp,
    to: &mut dyn Write,
) -> io::Result<()> {
    let (number, object, sha256) = (file.ledger_number, bag_path(&file.path), file.sha256);
    let (archived_at, created_at) = (file.archived_at.to_string(), recording.row.started_at.to_string());
    let suspect = (!file.suspect.is_empty()).then(|| file.suspect.clone());
    let entry = format!("entry {number} of the ledger {}", log.checkpoint.origin);
    let pbx = format!("PBX {} ({})", recording.row.pbx, recording.row.sn);
    let created = "recorded by the PBX; the time is the start of the call";
    let past = [
        Event { linking_agent_identifier: &pbx, ..event("creation", &created_at, created, &object) },
        event("capture", &archived_at, "fetched from the PBX", &object),
        event("message digest calculation", &archived_at, &format!("SHA-256 {sha256}"), &object),
        Event {
            event_outcome: if suspect.is_some() { "warning" } else { "success" },
            event_outcome_detail: suspect,
            ..event("validation", &archived_at, &format!("read as WAV, {}", file.format), &object)
        },
        event("ingestion", &archived_at, &entry, &object),
    ];
    for event in past {
        let event_identifier = format!("{number}/{}", slug(event.event_type));
        json_line(to, &Event { event_identifier, ..event })?;
    }
    let pair = [
        (file.path.clone(), file.sha256, ""),
        (format!("{}.json", file.path), file.sidecar_sha256, "sidecar-"),
    ];
    for (path, sha256, which) in pair {
        let (object, damage) = (bag_path(&path), damaged.get(&*path));
        let copied = event("replication", &now.to_string(), &format!("copied from {path}"), &object);
        let compared = format!("SHA-256 compared with {sha256}");
        for event in [copied, event("fixity check", &now.to_string(), &compared, &object)] {
            let event_identifier = format!("{number}/{which}{}", slug(event.event_type));
            let event_outcome = if damage.is_some() { "fail" } else { "success" };
            let event_outcome_detail = damage.and_then(|damage| damage.reason.clone());
            let ours = Event { event_identifier, event_outcome, event_outcome_detail, ..event };
            json_line(to, &Event { linking_agent_identifier: AGENT, ..ours })?;
        }
    }
    Ok(())
}

/// A verification of the whole archive or of one PBX, from its ledger entry.
fn verification(number: u64, entry: &Value) -> Event<'static> {
    let damages = ["missing", "altered", "unlisted", "unreadable", "ledger_mismatch"];
    let is_clean = damages.iter().all(|damage| entry[*damage].as_i64().unwrap_or(0) == 0);
    let at = entry["at"].as_str().unwrap_or_default();
    let detail = format!("verification of the archive, entry {number} of the ledger");
    Event {
        event_identifier: format!("{number}/fixity-check"),
        event_outcome: if is_clean { "success" } else { "fail" },
        event_outcome_detail: Some(entry.to_string()),
        ..event("fixity check", at, &detail, ".")
    }
}

fn event<'a>(event_type: &'a str, at: &str, detail: &str, object: &'a str) -> Event<'a> {
    Event {
        event_identifier: String::new(),
        event_type,
        event_date_time: at.to_owned(),
        event_detail: detail.to_owned(),
        event_outcome: "success",
        event_outcome_detail: None,
        linking_agent_identifier: ARCHIVER,
        linking_object_identifier: object,
    }
}

fn slug(word: &str) -> String {
    word.replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sql::RowText;

    #[test]
    fn no_cell_begins_a_formula() {
        for cell in ["=1+1", "+49", "-1", "@SUM(A1)", "＝1"] {
            assert_eq!(harmless(cell), format!("'{cell}"));
        }
        for (cell, safe) in
            [("  =1", "  '=1"), ("\t=1", "'\t'=1"), ("\nx", "'\nx"), ("x;=H(1);\t @", "x;'=H(1);\t '@")]
        {
            assert_eq!(harmless(cell), safe);
        }
        for cell in ["", "5550142", "a=b", "6200(1003)", "'x"] {
            assert_eq!(harmless(cell), cell);
        }
    }

    #[test]
    fn a_call_is_a_record_of_rfc_4180() {
        let row = r#"{"callid":"1.2","callfrom":"=cmd|' /C calc'!A0","callto":"a,\"b\"\nc","x":"1","sn":{"hex":"ff"}}"#;
        let call = CallRow {
            id: 1,
            pbx: "hq".to_owned(),
            day: "2026-01-09".to_owned(),
            started_at: Some(Timestamp::UNIX_EPOCH),
            utc_offset_s: 0,
            offset_source: "callid".to_owned(),
            zone_offset_s: None,
            talk_s: None,
            first_seen_at: Timestamp::UNIX_EPOCH,
            row: RowText::parse(row.to_owned()).unwrap(),
            recording_id: Some(1),
            path: Some("hq/2026/01/09/a%20b.wav".to_owned()),
            state: Some("archived".to_owned()),
        };
        let selection = Selection { calls: vec![call], ..Selection::default() };
        let mut csv = Vec::new();
        write_csv(&selection, &[], &mut csv).unwrap();
        let text = String::from_utf8(csv).unwrap();
        let (head, record) = text.split_once("\r\n").unwrap();
        assert!(head.starts_with("pbx,day,started_at,recording_state,file,callid,timestart,"), "{head}");
        let expected = "hq,2026-01-09,1970-01-01T00:00:00Z,archived,\"data/hq/2026/01/09/a,20b.wav\",1.2,,\
                        '=cmd|' /C calc'!A0,\"a,\"\"b\"\"\nc\",,,,,,,,hex:ff,\r\n";
        assert_eq!(record, expected);
    }
}
