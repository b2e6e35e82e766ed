//! What happened to the exported objects, in the vocabulary of PREMIS 3
//! (<https://id.loc.gov/vocabulary/preservation/eventType>).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::AGENT;
use super::cdr::{Absence, json_line, time};
use super::log::{Log, Scope};
use super::originals::{Copied, bag_path, entry_number};
use super::selection::{Recording, Selection};
use crate::store::export::FileRow;

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
pub(super) fn write(
    selection: &Selection,
    copied: &Copied,
    log: &Log,
    now: Timestamp,
    to: &mut dyn Write,
) -> io::Result<()> {
    let damaged = copied.absent.iter().filter(|absence| absence.is_damage());
    let damaged: BTreeMap<&str, &Absence> = damaged.map(|absence| (&*absence.path, absence)).collect();
    for recording in &selection.recordings {
        for file in &recording.files {
            write_events_of(recording, file, &damaged, log, now, to)?;
        }
    }
    // Recipients need not learn about PBXs that were not selected.
    let chosen: BTreeSet<&str> = selection.recordings.iter().map(|recording| &*recording.row.pbx).collect();
    let is_told = |entry: &Value| match entry["pbx"].as_str() {
        Some(pbx) => chosen.contains(pbx),
        None => log.scope == Scope::Whole,
    };
    for (number, entry) in log.fixity.iter().filter(|(_, entry)| is_told(entry)) {
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
    let (number, object) = (entry_number(file), bag_path(&file.path));
    let sha256 = crate::base::digest::hex(&file.sha256);
    let archived_at = time(file.archived_at_ms).unwrap_or_default();
    let created_at = time(recording.row.started_at_ms).unwrap_or_default();
    let suspect = (!file.suspect.is_empty()).then(|| file.suspect.clone());
    let entry = format!("entry {number} of the ledger {}", log.checkpoint.origin);
    let pbx = format!("PBX {} ({})", recording.row.pbx, recording.row.sn);
    let past = [
        Event {
            linking_agent_identifier: &pbx,
            ..event(
                "creation",
                &created_at,
                "recorded by the PBX; the time is the start of the call",
                &object,
            )
        },
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
        (file.path.clone(), &file.sha256, ""),
        (format!("{}.json", file.path), &file.sidecar_sha256, "sidecar-"),
    ];
    for (path, sha256, which) in pair {
        let (object, damage) = (bag_path(&path), damaged.get(&*path));
        let sha256 = crate::base::digest::hex(sha256);
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
