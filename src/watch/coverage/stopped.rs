//! Whether recording stopped where it used to happen.
//!
//! Habit is learnt for the smallest group, a [`Cell`]: one extension, on one trunk, in one direction. So a shift of people
//! who are never recorded does not look as if recording had stopped. The expectations of cells are then added up over the
//! latest calls of larger groups, so that it shows soon when a whole PBX is no longer recorded, even if no extension has many
//! calls.

use std::collections::{BTreeMap, HashSet};

use super::call::{Cell, SeenCall};

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
}
