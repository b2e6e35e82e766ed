//! Whether recording stopped where it used to happen.
//!
//! Habit is learnt for the smallest group, a [`Cell`]: one extension, on one trunk, in one direction. So a shift of people
//! who are never recorded does not look as if recording had stopped. The expectations of cells are then added up over the
//! latest calls of larger groups, so that it shows soon when a whole PBX is no longer recorded, even if no extension has many
//! calls.

use std::collections::{BTreeMap, HashSet};

use crate::base::recording::Text;
use crate::formats::cdr::{CdrRow, normal, parties};
use crate::pipeline::exclusion::CallFacts;
use crate::store::calls::Leg;

/// Calls in a row without a recording before anything is concluded.
const RUN_MIN: usize = 12;
/// Calls of a cell from which its habit is learnt, at least and at most.
const HABIT_CALLS: std::ops::RangeInclusive<usize> = 20..=100;
/// Days on which those calls were made, at least.
const HABIT_DAYS_MIN: usize = 3;
/// The share of recorded calls below which there is no habit.
const SHARE_MIN: f64 = 0.5;
/// How unlikely the run must be by chance. Thousands of groups are checked for years, so this is one in a trillion.
const CHANCE_MAX: f64 = 1e-12;
/// Standard deviations by which the observed share is lowered.
const DEVIATIONS: f64 = 2.0;
/// A group without newer calls is not in use any more.
const LATEST_MS_MAX: i64 = 14 * DAY_MS;
const DAY_MS: i64 = 86_400_000;

/// Calls with something in common, from the largest group to the smallest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Pbx,
    Trunk(String),
    Direction(String),
    Extension(String),
    Cell(Cell),
}

/// A group whose calls used to be recorded and no longer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stopped {
    pub(super) group: Group,
    /// Its first call that should have been recorded and is not.
    pub(super) since_ms: i64,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    /// A group within another one is listed only if it stopped earlier.
    pub(super) stopped: Vec<Stopped>,
    /// Groups with a recorded call in sight and few calls after it.
    pub(super) recorded: HashSet<String>,
}

impl Group {
    /// As findings name it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Pbx => "all calls".to_owned(),
            Self::Trunk(trunk) => format!("calls over trunk {trunk}"),
            Self::Direction(direction) => format!("{direction} calls"),
            Self::Extension(extension) => format!("calls of extension {extension}"),
            Self::Cell(Cell { trunk, extension, direction }) if trunk.is_empty() => {
                format!("{direction} calls of extension {extension}")
            }
            Self::Cell(Cell { trunk, extension, direction }) => {
                format!("{direction} calls of extension {extension} over trunk {trunk}")
            }
        }
    }

    /// The groups of a cell, the largest first. An empty part has no group.
    fn all_of(cell: &Cell) -> impl Iterator<Item = Self> {
        let Cell { trunk, extension, direction } = cell;
        let some = |part: &String, group: fn(String) -> Self| (!part.is_empty()).then(|| group(part.clone()));
        [
            Some(Self::Pbx),
            some(trunk, Self::Trunk),
            some(direction, Self::Direction),
            some(extension, Self::Extension),
            (!extension.is_empty()).then(|| Self::Cell(cell.clone())),
        ]
        .into_iter()
        .flatten()
    }
}

/// Judges the latest calls, which are sorted by their start.
pub(super) fn judge(calls: &[SeenCall], now_ms: i64) -> Judgement {
    let mut groups: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
    let mut cells: BTreeMap<&Cell, Vec<usize>> = BTreeMap::new();
    for (at, call) in calls.iter().enumerate() {
        cells.entry(&call.cell).or_default().push(at);
        Group::all_of(&call.cell).for_each(|group| groups.entry(group).or_default().push(at));
    }
    let mut judgement = Judgement::default();
    let mut explained: HashSet<usize> = HashSet::new();
    for (group, members) in groups {
        let last_recorded = members.iter().rposition(|at| calls[*at].is_recorded);
        let Some(last_recorded) = last_recorded else { continue };
        let run = &members[last_recorded + 1..];
        if run.len() < RUN_MIN {
            judgement.recorded.insert(group.name());
        }
        let is_recent = run.last().is_some_and(|at| now_ms - calls[*at].at_ms < LATEST_MS_MAX);
        let unexplained = || run.iter().filter(|at| !explained.contains(at)).copied();
        if !is_recent || run.len() < RUN_MIN {
            continue;
        }
        if let Some(first) = first_beyond_chance(calls, &cells, run[0], unexplained()) {
            explained.extend(run);
            judgement.stopped.push(Stopped { group, since_ms: calls[first].at_ms });
        }
    }
    judgement
}

/// The first call of `run` that should have been recorded, if the habit before the call `begin` makes it all but impossible
/// that none of them is.
fn first_beyond_chance(
    calls: &[SeenCall],
    cells: &BTreeMap<&Cell, Vec<usize>>,
    begin: usize,
    run: impl Iterator<Item = usize>,
) -> Option<usize> {
    let mut habits: BTreeMap<&Cell, f64> = BTreeMap::new();
    let (mut first, mut expected, mut chance_ln) = (None, 0, 0.0);
    for at in run {
        let cell = &calls[at].cell;
        let share = *habits.entry(cell).or_insert_with(|| {
            let before = cells.get(cell).map_or(&[][..], Vec::as_slice);
            let before = &before[..before.partition_point(|at| *at < begin)];
            habit(calls, &before[before.len().saturating_sub(*HABIT_CALLS.end())..])
        });
        if share > 0.0 {
            first.get_or_insert(at);
            expected += 1;
            chance_ln += (1.0 - share).ln();
        }
    }
    first.filter(|_| expected >= RUN_MIN && chance_ln <= CHANCE_MAX.ln())
}

/// The share of recorded calls that a cell reliably has, in the older half of its calls and in the newer; 0 if it has no
/// habit.
fn habit(calls: &[SeenCall], before: &[usize]) -> f64 {
    let days: HashSet<i64> = before.iter().map(|at| calls[*at].at_ms.div_euclid(DAY_MS)).collect();
    if before.len() < *HABIT_CALLS.start() || days.len() < HABIT_DAYS_MIN {
        return 0.0;
    }
    let share = |half: &[usize]| {
        let recorded = half.iter().filter(|at| calls[**at].is_recorded).count();
        least_share(recorded as f64, half.len() as f64)
    };
    let (older, newer) = before.split_at(before.len() / 2);
    let share = share(older).min(share(newer));
    if share < SHARE_MIN { 0.0 } else { share }
}

/// The lower bound of Wilson's interval.
fn least_share(recorded: f64, of: f64) -> f64 {
    let (share, square) = (recorded / of, DEVIATIONS * DEVIATIONS);
    let spread = DEVIATIONS * (share * (1.0 - share) / of + square / (4.0 * of * of)).sqrt();
    (share + square / (2.0 * of) - spread) / (1.0 + square / of)
}

/// A shorter call says nothing about habit: it may not have been recorded yet when it ended.
const TALK_S_MIN: i64 = 5;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenCall {
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
pub(super) fn is_conversation(leg: &Leg, talk_s_min: i64) -> bool {
    let status = leg.row.status.as_str().map(normal).unwrap_or_default();
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
    let mut by_id: BTreeMap<String, (Option<SeenCall>, bool)> = BTreeMap::new();
    let mut unnumbered = 0_u64;
    for leg in legs {
        let id = shared_id(&leg.row).map_or_else(
            || {
                unnumbered += 1;
                format!("#{unnumbered}")
            },
            str::to_owned,
        );
        let (call, is_recorded) = by_id.entry(id).or_default();
        *is_recorded |= leg.names_recording;
        if let (true, Some(at_ms)) = (is_conversation(&leg, TALK_S_MIN), leg.started_at_ms) {
            let cell = Cell::of(&CallFacts::of(&leg.row));
            let seen = call.get_or_insert(SeenCall { at_ms, cell, is_recorded: false });
            seen.at_ms = seen.at_ms.min(at_ms);
        }
    }
    let seen = |(call, is_recorded): (Option<SeenCall>, bool)| Some(SeenCall { is_recorded, ..call? });
    let mut calls: Vec<SeenCall> = by_id.into_values().filter_map(seen).collect();
    calls.sort_by_key(|call| call.at_ms);
    calls
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::exclusion::Field;

    const HOUR_MS: i64 = DAY_MS / 24;

    fn call(at_ms: i64, extension: &str, is_recorded: bool) -> SeenCall {
        let (trunk, direction) = ("sip".to_owned(), "Inbound".to_owned());
        SeenCall { at_ms, cell: Cell { trunk, extension: extension.to_owned(), direction }, is_recorded }
    }

    /// Calls, one an hour: an extension, how many, and every how manieth is not recorded (0: all are, 1: none is).
    fn calls(parts: &[(&str, usize, usize)]) -> Vec<SeenCall> {
        let mut calls: Vec<SeenCall> = Vec::new();
        for (extension, count, not_every) in parts {
            for number in 1..=*count {
                let is_recorded = *not_every == 0 || number % not_every != 0;
                calls.push(call(calls.len() as i64 * HOUR_MS, extension, is_recorded));
            }
        }
        calls
    }

    fn stopped(calls: &[SeenCall]) -> Vec<String> {
        let now_ms = calls.last().map_or(0, |call| call.at_ms);
        judge(calls, now_ms).stopped.iter().map(|stopped| stopped.group.name()).collect()
    }

    #[test]
    fn an_end_of_recording_is_told_of_the_largest_group_and_nothing_less_is_one() {
        type Case<'a> = (&'a str, &'a [(&'a str, usize, usize)], &'a [&'a str]);
        let table: [Case<'_>; 12] = [
            ("all recorded", &[("1001", 200, 0)], &[]),
            ("it stopped", &[("1001", 100, 0), ("1001", 12, 1)], &["all calls"]),
            ("too few yet", &[("1001", 100, 0), ("1001", 11, 1)], &[]),
            ("a small site", &[("1001", 19, 0), ("1001", 19, 1)], &[]),
            ("never recorded", &[("1001", 300, 1)], &[]),
            ("half of them are", &[("1001", 100, 2), ("1001", 40, 1)], &[]),
            ("most are, few lack", &[("1001", 100, 5), ("1001", 12, 1)], &[]),
            ("most are, many lack", &[("1001", 100, 5), ("1001", 40, 1)], &["all calls"]),
            (
                "a shift of others",
                &[("1001", 100, 0), ("1002", 60, 1), ("1001", 50, 0), ("1002", 60, 1)],
                &[],
            ),
            ("an extension that is new", &[("1001", 100, 0), ("1002", 60, 1)], &[]),
            ("it came again", &[("1001", 100, 0), ("1001", 40, 1), ("1001", 1, 0)], &[]),
            (
                "one extension of two",
                &[("1001", 60, 0), ("1002", 60, 0), ("1001", 20, 1), ("1002", 1, 0)],
                &["calls of extension 1001"],
            ),
        ];
        for (what, parts, expected) in table {
            assert_eq!(stopped(&calls(parts)), expected, "{what}");
        }
    }

    #[test]
    fn many_extensions_of_few_calls_each_are_seen_together() {
        let mut seen = Vec::new();
        for number in 0..30 * 24 {
            let extension = (1001 + number % 24).to_string();
            seen.push(call(number * HOUR_MS, &extension, number < 29 * 24));
        }
        assert_eq!(stopped(&seen), ["all calls"]);
    }

    #[test]
    fn what_was_stopped_long_ago_and_is_not_used_any_more_is_no_news() {
        let seen = calls(&[("1001", 100, 0), ("1001", 30, 1)]);
        let last = seen.last().map_or(0, |call| call.at_ms);
        assert_eq!(judge(&seen, last + LATEST_MS_MAX - 1).stopped.len(), 1);
        assert_eq!(judge(&seen, last + LATEST_MS_MAX).stopped, []);
    }

    #[test]
    fn habit_of_one_or_two_days_is_none() {
        let busy = |days: i64| {
            let mut seen = calls(&[("1001", 100, 0), ("1001", 30, 1)]);
            for (at, call) in seen.iter_mut().enumerate() {
                call.at_ms = at as i64 * days * DAY_MS / 100;
            }
            stopped(&seen)
        };
        assert!(busy(2).is_empty());
        assert_eq!(busy(3), ["all calls"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// However large a share is recorded, and by however many extensions: chance alone is never told, at no moment.
        #[test]
        fn chance_is_never_taken_for_an_end(
            shares in proptest::collection::vec(0.0_f64..=1.0, 1..6),
            draws in proptest::collection::vec((0.0_f64..1.0, any::<prop::sample::Index>()), 1..600),
        ) {
            let mut seen = Vec::new();
            for (number, (draw, extension)) in draws.iter().enumerate() {
                let extension = extension.index(shares.len());
                seen.push(call(number as i64 * HOUR_MS, &extension.to_string(), *draw < shares[extension]));
            }
            for end in (0..=seen.len()).step_by(60) {
                prop_assert_eq!(stopped(&seen[..end]), Vec::<String>::new());
            }
        }

        /// And an end is told within some forty calls.
        #[test]
        fn an_end_is_told(share in 0.9_f64..=1.0, draws in proptest::collection::vec(0.0_f64..1.0, 100)) {
            let mut seen: Vec<SeenCall> = Vec::new();
            for draw in &draws {
                seen.push(call(seen.len() as i64 * HOUR_MS, "1001", *draw < share));
            }
            for _ in 0..45 {
                seen.push(call(seen.len() as i64 * HOUR_MS, "1001", false));
            }
            prop_assert_eq!(stopped(&seen), ["all calls"]);
        }
    }

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
            row: CdrRow::from_raw_json(&row.to_string()).unwrap(),
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
        message.row.status = Text::Utf8("VOICEMAIL".to_owned());
        let unknown = Leg { talk_s: None, ..leg("1.2", 0, "", "5550142", "1003", "sip") };
        assert_eq!(calls_of([message, unknown]), []);
    }
}
