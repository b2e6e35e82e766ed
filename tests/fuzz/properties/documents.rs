//! The documents of an archive, as a rebuild reads them: whatever became of one, it says what it said, or is damaged.

use std::collections::HashSet;

use callvault::archive::Destination;
use callvault::base::digest::Digest;
use callvault::base::recording::RecordingKind;
use callvault::formats::call_lines;
use callvault::formats::cdr::CdrRow;
use callvault::formats::ledger_entry::LedgerEntry;
use callvault::formats::sidecar::Sidecar;
use callvault::formats::sums;
use callvault::proof::rebuild::{Damage, documents};
use callvault::store::calls::NewCall;
use jiff::civil::{Date, date};

use super::assert_words;

/// The day of the lists.
const DAY: Date = date(2024, 3, 14);
/// A PIN code that somebody put into a document.
const PIN: &str = "#PIN4711#";

pub(crate) fn hold(input: &[u8]) {
    read_sidecar(input);
    read_sums(input);
    let text = String::from_utf8_lossy(input);
    if let Err(problem) = call_lines::check_head(text.lines().next().unwrap_or_default(), "hq", DAY) {
        assert_told(&problem);
    }
    text.lines().for_each(read_line);
    read_entry(&text);
}

fn read_sidecar(input: &[u8]) {
    let written = Sidecar::from_bytes(input).ok();
    if let Some(written) = &written {
        assert_eq!(Sidecar::from_bytes(&written.to_bytes()).as_ref().ok(), Some(written), "written again");
    }
    let place = written.map_or_else(|| "hq/2024/03/14/a.wav".to_owned(), |written| written.file.path);
    match documents::read_sidecar(input, Digest::of(input), &place, &HashSet::new()) {
        Ok(file) => {
            assert!(!file.is_displaced);
            let [own, recording] = [&place, &file.recording_path].map(|path| Destination::parse(path));
            let (own, recording) = (own.expect("it was checked"), recording.expect("it can be a file's"));
            assert_eq!(own.folder(), recording.folder(), "its recording lies in the same folder");
            assert_eq!(own.folder().date(), Some(file.day));
            assert_eq!(file.message.is_some(), file.sidecar.recording.kind == RecordingKind::Voicemail);
            file.unlisted.iter().for_each(check_call);
        }
        Err(problem) => assert_told(&problem),
    }
}

/// What is wrong can be told to people.
fn assert_told(problem: &str) {
    assert_words(&Damage::of("hq", "a document", problem).problem);
}

/// A call is the one that its row tells, and its row holds no secret.
fn check_call(call: &NewCall) {
    let row = CdrRow::from_raw_json(&call.row).expect("its row can be read again");
    assert_eq!((row.identity(), row.version()), (call.identity, call.version), "{}", call.row);
    assert_eq!(row.answered(), call.answered);
    check_no_pin(call);
}

/// Under its heading, a PIN code is blank whoever wrote the document.
fn check_no_pin(call: &NewCall) {
    let members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&call.row).expect("a row is an object");
    let pin = members.iter().filter(|(heading, _)| heading.trim().eq_ignore_ascii_case("pincode"));
    for (_, cell) in pin {
        assert!(!cell.to_string().contains(PIN), "a PIN code is kept: {}", call.row);
    }
}

fn read_line(line: &str) {
    let version = documents::version(line);
    match documents::read_line(line, DAY) {
        Ok(documents::Line::Call(listed)) => {
            let version = version.expect("a call has a version");
            assert_eq!(version, (listed.call.identity, listed.call.version));
            assert!(CdrRow::from_raw_json(&listed.call.row).is_some(), "its row can be read again");
            assert_eq!(listed.call.day, DAY);
            check_no_pin(&listed.call);
        }
        Ok(documents::Line::Recording(name, _)) => {
            assert!(version.is_none() && !name.as_bytes().is_empty());
        }
        Ok(documents::Line::Nothing) => assert!(version.is_none()),
        Err(problem) => assert_told(&problem),
    }
}

fn read_entry(text: &str) {
    match LedgerEntry::read(text) {
        Ok(LedgerEntry::DayClosed(day)) => drop(day.sums()),
        Ok(_) => {}
        Err(error) => assert_told(&error.to_string()),
    }
}

/// What can be listed and was read is listed the same way again.
fn read_sums(input: &[u8]) {
    let read = sums::read(input);
    let files: Vec<(String, Digest)> = read.iter().map(|(name, hash)| (name.clone(), *hash)).collect();
    if let Ok(lines) = sums::to_text(&files) {
        assert_eq!(sums::read(lines.as_bytes()), read);
    }
}
