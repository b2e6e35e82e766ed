//! Calls as coverage sees them: all rows with one call id are one call, which is recorded if any of its rows is.

use std::collections::BTreeMap;

use crate::base::recording::Text;
use crate::formats::cdr::{CdrRow, normal, parties};
use crate::pipeline::exclusion::CallFacts;
use crate::store::calls::Leg;

/// A shorter call says nothing about habit: it may not have been recorded yet when it ended.
const TALK_S_MIN: i64 = 5;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenCall {
    /// The start of its first row.
    pub(super) at_ms: i64,
    pub(super) cell: Cell,
    /// Whether any of its rows names a recording.
    pub(super) is_recorded: bool,
}

/// What calls of one habit have in common. A part is empty where a call has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    pub(super) trunk: String,
    /// Never an outside number: it is the party on the side without a trunk.
    pub(super) extension: String,
    /// Such as `Inbound`.
    pub(super) direction: String,
}

impl Cell {
    fn of(facts: &CallFacts<'_>) -> Self {
        let direction = facts.direction.as_str().trim();
        let (srctrunk, dsttrunk) = (facts.srctrunk.as_str(), facts.dsttrunk.as_str());
        let trunk = if srctrunk.is_empty() { dsttrunk } else { srctrunk };
        let inside = match (srctrunk.is_empty(), dsttrunk.is_empty()) {
            (false, true) => facts.callto.as_str(),
            (true, _) => facts.callfrom.as_str(),
            // It came in and went out again: no extension was part of it.
            (false, false) => "",
        };
        // `6200(1003)` is a queue and its agent, `Reception <1001>` a name and a number.
        let extension = parties(inside).last().copied().unwrap_or_default();
        Self { trunk: trunk.to_owned(), extension: extension.to_owned(), direction: direction.to_owned() }
    }
}

/// Whether in this row people talked for at least so long. A message left in a voicemail box is no conversation, and an
/// unknown talk time is not judged.
pub(super) fn is_conversation(leg: &Leg, row: &CdrRow, talk_s_min: i64) -> bool {
    let status = row.status.as_str().map(normal).unwrap_or_default();
    leg.answered && status != "voicemail" && leg.talk_s.is_some_and(|talk_s| talk_s >= talk_s_min)
}

/// What the rows of one call share; none if a row has no id.
pub(super) fn shared_id(row: &CdrRow) -> Option<&str> {
    match &row.callid {
        Text::Utf8(id) => Some(id.as_str()).filter(|id| !id.is_empty()),
        Text::Bytes { hex } => Some(hex),
    }
}

/// The conversations among `legs`, by their start.
pub(super) fn calls_of(legs: impl IntoIterator<Item = Leg>) -> Vec<SeenCall> {
    let mut by_id: BTreeMap<String, Option<SeenCall>> = BTreeMap::new();
    let mut recorded: Vec<String> = Vec::new();
    let mut unnumbered = 0_u64;
    for leg in legs {
        let Some(row) = CdrRow::from_raw_json(&leg.row) else { continue };
        let id = shared_id(&row).map_or_else(
            || {
                unnumbered += 1;
                format!("#{unnumbered}")
            },
            str::to_owned,
        );
        if leg.names_recording {
            recorded.push(id.clone());
        }
        let call = by_id.entry(id).or_default();
        if let (true, Some(at_ms)) = (is_conversation(&leg, &row, TALK_S_MIN), leg.started_at_ms) {
            let cell = Cell::of(&CallFacts::of(&row));
            let seen = call.get_or_insert(SeenCall { at_ms, cell, is_recorded: false });
            seen.at_ms = seen.at_ms.min(at_ms);
        }
    }
    for id in recorded {
        if let Some(Some(call)) = by_id.get_mut(&id) {
            call.is_recorded = true;
        }
    }
    let mut calls: Vec<SeenCall> = by_id.into_values().flatten().collect();
    calls.sort_by_key(|call| call.at_ms);
    calls
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::pipeline::exclusion::Field;

    /// A row of a call, as the database has it.
    pub(crate) fn leg(callid: &str, talk_s: i64, recording: &str, from: &str, to: &str, trunk: &str) -> Leg {
        let row = serde_json::json!({
            "callid": callid, "callfrom": from, "callto": to, "srctrunkname": trunk, "status": "ANSWERED",
            "type": "Inbound", "recording": recording,
        });
        let names_recording = !recording.is_empty();
        Leg {
            started_at_ms: Some(1),
            talk_s: Some(talk_s),
            answered: true,
            names_recording,
            row: row.to_string(),
        }
    }

    #[test]
    fn a_blind_transfer_is_recorded_if_its_second_leg_is() {
        let calls = calls_of([
            leg("1.1", 20, "", "5550142", "6200(1003)", "sip"),
            leg("1.1", 40, "a.wav", "5550142", "1004", "sip"),
            leg("1.2", 4, "", "5550142", "1004", "sip"),
            leg("1.3", 40, "", "5550142", "Front <1001>", "sip"),
        ]);
        let told: Vec<(&str, bool)> =
            calls.iter().map(|call| (call.cell.extension.as_str(), call.is_recorded)).collect();
        assert_eq!(told, [("1003", true), ("1001", false)]);
    }

    #[test]
    fn a_number_outside_is_never_taken_for_an_extension() {
        let cell = |srctrunk, dsttrunk| {
            Cell::of(&CallFacts {
                callfrom: Field::text("1003"),
                callto: Field::text("5550142"),
                srctrunk: Field::text(srctrunk),
                dsttrunk: Field::text(dsttrunk),
                ..CallFacts::default()
            })
        };
        assert_eq!(cell("", "sip").extension, "1003");
        assert_eq!(cell("sip", "sip").extension, "");
        let inbound = CallFacts {
            callfrom: Field::text("5550142"),
            callto: Field::text("1003"),
            srctrunk: Field::text("sip"),
            ..CallFacts::default()
        };
        assert_eq!(Cell::of(&inbound).extension, "1003");
    }

    #[test]
    fn a_message_in_a_box_and_an_unknown_talk_time_are_no_conversation() {
        let mut message = leg("1.1", 20, "", "5550142", "1003", "sip");
        message.row = message.row.replace("ANSWERED", "VOICEMAIL");
        let unknown = Leg { talk_s: None, ..leg("1.2", 0, "", "5550142", "1003", "sip") };
        assert_eq!(calls_of([message, unknown]), []);
    }
}
