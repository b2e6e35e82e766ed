//! What happened to the exported objects, in the words of PREMIS 3 (<https://id.loc.gov/vocabulary/preservation/eventType>).

use std::collections::BTreeSet;
use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::cdr::{json_line, time};
use super::log::Log;
use super::originals::{Copied, bag_path, entry_number};
use super::rows::FileRow;
use super::selection::{Recording, Selection};

/// Who did it.
const AGENT: &str = concat!("callvault ", env!("CARGO_PKG_VERSION"));

/// An event. The names of the members are those of PREMIS.
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

/// Writes the events of each file, in their order, and then those of the bag.
pub(super) fn write(
    selection: &Selection,
    copied: &Copied,
    log: &Log,
    now: Timestamp,
    to: &mut dyn Write,
) -> io::Result<()> {
    let damaged: BTreeSet<&str> = copied.absent.iter().map(|absence| &*absence.path).collect();
    for recording in &selection.recordings {
        for file in &recording.files {
            let is_damaged = damaged.contains(&*file.path);
            write_events_of(recording, file, is_damaged, log, now, to)?;
        }
    }
    for (number, entry) in &log.fixity {
        json_line(to, &verification(*number, entry))?;
    }
    for (word, detail) in [
        ("information package creation", "put into a BagIt 1.0 bag"),
        ("dissemination", "handed out, as an entry of type export in the ledger tells"),
    ] {
        json_line(
            to,
            &Event {
                event_identifier: format!("bag/{}", slug(word)),
                ..event(word, &now.to_string(), detail, ".")
            },
        )?;
    }
    Ok(())
}

fn write_events_of(
    recording: &Recording,
    file: &FileRow,
    is_damaged: bool,
    log: &Log,
    now: Timestamp,
    to: &mut dyn Write,
) -> io::Result<()> {
    let (number, object) = (entry_number(file), bag_path(&file.path));
    let sha256 = crate::digest::hex(&file.sha256);
    let archived_at = time(file.archived_at_ms).unwrap_or_default();
    let captured_at = time(recording.row.started_at_ms).unwrap_or_default();
    let suspect = (!file.suspect.is_empty()).then(|| file.suspect.clone());
    let entry = format!("entry {number} of the ledger {}", log.checkpoint.origin);
    let events = [
        event("capture", &captured_at, "recorded by the PBX (start of the call)", &object),
        event("ingestion", &archived_at, &entry, &object),
        event("message digest calculation", &archived_at, &format!("SHA-256 {sha256}"), &object),
        Event {
            event_outcome: if suspect.is_some() { "warning" } else { "success" },
            event_outcome_detail: suspect,
            ..event("validation", &archived_at, &format!("read as WAV, {}", file.format), &object)
        },
        event("replication", &now.to_string(), &format!("copied from {}", file.path), &object),
        Event {
            event_outcome: if is_damaged { "fail" } else { "success" },
            ..event("fixity check", &now.to_string(), &format!("SHA-256 compared with {sha256}"), &object)
        },
    ];
    for event in events {
        let event_identifier = format!("{number}/{}", slug(event.event_type));
        json_line(to, &Event { event_identifier, ..event })?;
    }
    Ok(())
}

/// A verification that the ledger tells of: of the whole archive or of one PBX.
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
        linking_agent_identifier: AGENT,
        linking_object_identifier: object,
    }
}

fn slug(word: &str) -> String {
    word.replace(' ', "-")
}
