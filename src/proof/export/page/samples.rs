//! What the tests of the page are made from.

use crate::base::recording::Text;
use crate::proof::export::cdr::Absence;
use crate::proof::export::selection::Recording;
use crate::store::export::{CallRow, FileRow, RecordingRow};

const FOLDER: &str = "hq/2026/01/09/";

pub(super) fn call(id: i64, recording: Option<i64>, row: &str) -> CallRow {
    CallRow {
        id,
        pbx: "hq".to_owned(),
        day: "2026-01-09".to_owned(),
        started_at_ms: Some(1_767_945_600_000),
        utc_offset_s: 3600,
        offset_source: "zone".to_owned(),
        zone_offset_s: None,
        talk_s: Some(61),
        first_seen_at_ms: 0,
        row: row.to_owned(),
        recording_id: recording,
        path: None,
        state: None,
    }
}

/// One with one file.
pub(super) fn recording(id: i64, file_name: &str) -> Recording {
    let row = RecordingRow {
        id,
        pbx: "hq".to_owned(),
        sn: "369".to_owned(),
        kind: "call".to_owned(),
        name: file_name.replace("%20", " ").into_bytes(),
        day: "2026-01-09".to_owned(),
        started_at_ms: 1_767_945_600_000,
        path: format!("{FOLDER}{file_name}"),
        state: "archived".to_owned(),
        reason: None,
        is_final: false,
        attempts: 1,
        extension: None,
        caller: None,
        utc_offset_s: None,
    };
    Recording { row, files: vec![file(file_name)], call: None }
}

pub(super) fn file(name: &str) -> FileRow {
    FileRow {
        path: format!("{FOLDER}{name}"),
        size_bytes: 1,
        sha256: vec![0; 32],
        sidecar_sha256: vec![0; 32],
        format: "pcm".to_owned(),
        duration_ms: Some(60_700),
        suspect: String::new(),
        archived_at_ms: 0,
        ledger_number: 7,
    }
}

/// Of the file `a.wav`.
pub(super) fn absence(state: &str, reason: &str, file: Option<&str>) -> Absence {
    Absence {
        path: format!("{FOLDER}a.wav"),
        pbx: "hq".to_owned(),
        kind: "call".to_owned(),
        name: Text::Utf8("a.wav".to_owned()),
        day: "2026-01-09".to_owned(),
        started_at: None,
        state: state.to_owned(),
        reason: Some(reason.to_owned()),
        r#final: false,
        attempts: None,
        archived_sha256: None,
        found_sha256: None,
        file: file.map(str::to_owned),
    }
}

/// The first element that is not closed where it should be.
pub(super) fn unbalanced(page: &str) -> Option<String> {
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1) {
        let name = tag.split([' ', '>', '\n']).next().unwrap_or_default();
        match name.strip_prefix('/') {
            _ if matches!(name, "!DOCTYPE" | "meta" | "br") => {}
            None => open.push(name),
            Some(name) if open.pop() != Some(name) => return Some(tag.to_owned()),
            Some(_) => {}
        }
    }
    open.pop().map(str::to_owned)
}
