//! What a format writes it reads again, whatever stands in it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::date;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::call_lines::{self, CallLine, Line, RecordingLine};
use super::ledger_entry::{self, ArchivedFacts, FileEntry, HowCame, LedgerEntry};
use super::raw_row::RawRow;
use super::sidecar::{Sidecar, tests::example};
use super::{salted, sums};
use crate::base::digest::Digest;
use crate::base::recording::{RecordingKind, RecordingState, Text};
use crate::base::salt::Salt;

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from)
}

fn text() -> impl Strategy<Value = Text> {
    vec(any::<u8>(), 0..40).prop_map(|bytes| Text::from_bytes(&bytes))
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0..4_102_444_800_000_i64).prop_map(|ms| Timestamp::from_millisecond(ms).unwrap())
}

fn row() -> impl Strategy<Value = RawRow> {
    vec((".{0,20}", text()), 0..6).prop_map(RawRow::new)
}

proptest! {
    #[test]
    fn a_sidecar(name in text(), rows in [row(), row()], sha256 in digest(), size_bytes: u64, at in time(),
        left_out in option::of(any::<u64>()), suspect in vec(".{0,12}", 0..3), tag in ".{0,40}") {
        let mut sidecar = example();
        (sidecar.recording.name, sidecar.archived_at) = (name, at);
        (sidecar.file.sha256, sidecar.file.size_bytes, sidecar.audio.suspect) = (sha256, size_bytes, suspect);
        sidecar.origin.as_mut().unwrap().tag = tag;
        let call = sidecar.call.as_mut().unwrap();
        ([call.raw, call.other_rows[0].raw], call.other_rows_left_out) = (rows, left_out);
        prop_assert_eq!(Sidecar::from_bytes(&sidecar.to_bytes()).unwrap(), sidecar);
    }

    #[test]
    fn sums_of_a_folder(files in btree_map("[A-Za-z0-9][A-Za-z0-9._+=@()-]{0,30}", digest(), 0..8)) {
        let listed: Vec<_> = files.clone().into_iter().rev().collect();
        prop_assert_eq!(sums::read(sums::to_text(&listed).unwrap().as_bytes()), files);
    }

    #[test]
    fn lines_of_a_call_list(row in row(), name in text(), path in ".{0,40}", at in time(), utc_offset_s: i32,
        reason in option::of(".{0,12}"), attempts: u32, salt: [u8; 32]) {
        let (offset_source, recording) = ("zone".to_owned(), Some(path.clone()));
        let call = CallLine { identity: None, version: None, started_at: Some(at), utc_offset_s, offset_source,
            zone_offset_s: None, first_seen_at: at, recording, row, line_salt: None };
        let recording = RecordingLine { path, kind: RecordingKind::Voicemail, sn: String::new(), name, started_at: at,
            state: RecordingState::Stuck, reason, r#final: false, attempts, salt: Salt::from(salt) };
        for line in [Line::Call(Box::new(call)), Line::Recording(Box::new(recording)), Line::Later] {
            let mut again = call_lines::read(&salted::line(&line)).unwrap();
            if let Line::Call(call) = &mut again {
                prop_assert!(call.line_salt.take().is_some());
            }
            prop_assert_eq!(again, line);
        }
    }

    #[test]
    fn the_entry_of_a_file(digests in [digest(), digest(), digest()], size_bytes: u64, gap in option::of(any::<i64>()),
        pbx in "[a-z0-9-]{1,20}", at in time(), conflict: bool, adopted: bool, key in option::of("[0-9a-f]{64}")) {
        let ([recording, sha256, sidecar_sha256], day) = (digests, date(2026, 11, 21));
        let came = Some(HowCame { transport: "pinned", key_sha256: key.as_deref(), adopted });
        let facts =
            ArchivedFacts { conflict, pbx: &pbx, day, recording, sha256, sidecar_sha256, size_bytes, gap, came };
        let json = ledger_entry::archived(&facts, at).to_canonical_json();
        let members: BTreeMap<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(serde_json::to_string(&members).unwrap(), json.clone(), "it is canonical");
        let file = FileEntry { pbx: pbx.clone(), day, recording, sha256, sidecar_sha256, size_bytes, gap, at };
        let expected = if conflict { LedgerEntry::Conflict(file) } else { LedgerEntry::Archived(file) };
        prop_assert_eq!(LedgerEntry::read(&json).unwrap(), expected);
    }
}
