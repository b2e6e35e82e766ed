//! Days without any call where such days usually have some.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::{Span, ToSpan as _};

/// Weeks from which the habit of a weekday is learnt, and how many of them must be known.
const WEEKS: i32 = 8;
const WEEKS_MIN: usize = 6;
/// Rows that a weekday must have had, except in one week: a site with a few calls a day has days without any.
const ROWS_MIN: i64 = 5;
/// Consecutive silent days that are reported; more of them mean that calls have stopped.
const NAMED_MAX: usize = 2;
/// Older silent days are not reported: the first backfill does not report last year's holidays.
const DAYS_AGO_MAX: i32 = 7;
/// Days with calls needed to learn the usual gap between them.
const DAYS_WITH_CALLS_MIN: usize = 20;
/// How many times the longest gap a silence must last, and for how many days at least.
const GAPS: i32 = 3;
const GAP_DAYS_MIN: i32 = 4;

pub(super) const HISTORY_DAYS: i32 = 7 * (WEEKS + 4);

#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) rows: BTreeMap<Date, i64>,
    /// Days that were over and read whole.
    pub(super) whole: BTreeSet<Date>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Silence {
    /// Silent days, with the usual number of rows.
    pub(super) days: Vec<(Date, i64)>,
    /// The last day with calls, if there have been none for much longer than usual.
    pub(super) stopped_after: Option<Date>,
}

impl History {
    pub(super) fn judge(&self, today: Date) -> Silence {
        let mut silence = Silence::default();
        let (Some(first), Some(last)) = (self.rows.keys().next(), self.rows.keys().next_back()) else {
            return silence;
        };
        let mut run = 0;
        let days = std::iter::successors(Some(*first), |day| day.tomorrow().ok());
        for day in days.take_while(|day| *day <= today) {
            if self.rows.contains_key(&day) {
                run = 0;
            } else if let (true, Some(usual)) = (self.whole.contains(&day), self.usual(day)) {
                run += 1;
                if run <= NAMED_MAX && days_between(day, today) <= DAYS_AGO_MAX {
                    silence.days.push((day, usual));
                }
            }
        }
        if run > NAMED_MAX || self.is_beyond_any_gap(*last) {
            silence.stopped_after = Some(*last);
        }
        silence
    }

    /// The usual number of rows: the median of the same weekday before, if it always had some but for one week.
    fn usual(&self, day: Date) -> Option<i64> {
        let first = *self.rows.keys().next()?;
        let before = (1..=WEEKS).filter_map(|weeks| day.checked_sub(Span::new().weeks(weeks)).ok());
        let is_known =
            |day: &Date| *day >= first && (self.whole.contains(day) || self.rows.contains_key(day));
        let mut rows: Vec<i64> =
            before.filter(is_known).map(|day| self.rows.get(&day).copied().unwrap_or(0)).collect();
        rows.sort_unstable();
        (rows.len() >= WEEKS_MIN && rows[1] >= ROWS_MIN).then(|| rows[rows.len() / 2])
    }

    /// Whether the silence after `last` is longer than three times any earlier gap, and all of it was read whole.
    fn is_beyond_any_gap(&self, last: Date) -> bool {
        let with_calls: Vec<Date> = self.rows.keys().copied().collect();
        let Some(longest) = with_calls.windows(2).map(|pair| days_between(pair[0], pair[1])).max() else {
            return false;
        };
        let silent_for = (1..).map(|days: i32| last.checked_add(days.days()).ok());
        let silent_for = silent_for.take_while(|day| day.is_some_and(|day| self.whole.contains(&day)));
        let limit = GAP_DAYS_MIN.max(longest.saturating_mul(GAPS));
        let days = i32::try_from(silent_for.count()).unwrap_or(i32::MAX);
        with_calls.len() >= DAYS_WITH_CALLS_MIN && days >= limit
    }
}

fn days_between(from: Date, to: Date) -> i32 {
    from.until(to).map_or(i32::MAX, |span| span.get_days())
}

#[cfg(test)]
mod tests {
    use jiff::civil::{Weekday, date};
    use proptest::prelude::*;

    use super::*;

    /// A Monday.
    const BEGIN: Date = date(2026, 1, 5);

    fn day(number: i32) -> Date {
        BEGIN.checked_add(number.days()).unwrap()
    }

    /// So many days, the last of them today: rows by the number of the day.
    fn history(days: i32, rows: impl Fn(i32) -> i64) -> (History, Date) {
        let mut history = History::default();
        for number in 0..days {
            history.whole.insert(day(number));
            if rows(number) > 0 {
                history.rows.insert(day(number), rows(number));
            }
        }
        (history, day(days))
    }

    fn working(number: i32) -> i64 {
        if number % 7 < 5 { 40 + i64::from(number % 5) } else { 0 }
    }

    fn told(days: i32, rows: impl Fn(i32) -> i64) -> (Vec<i32>, bool) {
        let (history, today) = history(days, rows);
        let silence = history.judge(today);
        let days = silence.days.iter().map(|(day, _)| days_between(BEGIN, *day)).collect();
        (days, silence.stopped_after.is_some())
    }

    #[test]
    fn a_working_day_without_a_call_is_told_once_the_weekday_is_known() {
        assert_eq!(day(0).weekday(), Weekday::Monday);
        let without =
            |silent: &'static [i32]| move |number| if silent.contains(&number) { 0 } else { working(number) };
        type Case = (&'static str, i32, &'static [i32], &'static [i32], bool);
        let table: [Case; 10] = [
            ("no silent day", 80, &[], &[], false),
            ("a silent Wednesday", 61, &[58], &[58], false),
            ("a week later it is old", 66, &[58], &[], false),
            ("a Saturday", 62, &[61], &[], false),
            ("the fifth week knows no weekday yet", 40, &[37], &[], false),
            ("the seventh does", 47, &[44], &[44], false),
            ("a holiday before does not matter", 61, &[37, 58], &[58], false),
            ("two before do", 61, &[37, 44, 58], &[], false),
            ("two days", 62, &[58, 59], &[58, 59], false),
            ("three days are a PBX without calls", 61, &[58, 59, 60], &[58, 59], true),
        ];
        for (what, days, silent, expected, stopped) in table {
            assert_eq!(told(days, without(silent)), (expected.to_vec(), stopped), "{what}");
        }
    }

    #[test]
    fn a_day_that_was_not_read_whole_says_nothing() {
        let (mut history, today) = history(61, |number| if number == 58 { 0 } else { working(number) });
        history.whole.remove(&day(58));
        assert_eq!(history.judge(today), Silence::default());
    }

    #[test]
    fn a_small_site_has_days_without_calls() {
        assert_eq!(told(61, |number| if number == 58 { 0 } else { working(number).min(4) }), (vec![], false));
        let rare = |number: i32| i64::from(number % 3 == 0 && number < 60);
        assert_eq!(told(66, rare), (vec![], false), "its gaps are of three days, and this is one of eight");
        assert_eq!(told(67, rare), (vec![], true));
        assert_eq!(told(90, |number| i64::from(number == 5)), (vec![], false), "one call tells of no habit");
    }

    #[test]
    fn it_is_over_with_the_next_call() {
        assert_eq!(
            told(64, |number| if (58..61).contains(&number) { 0 } else { working(number) }),
            (vec![58, 59], false)
        );
    }

    #[test]
    fn without_any_call_there_is_nothing_to_say() {
        assert_eq!(told(90, |_| 0), (vec![], false));
    }

    proptest! {
        /// A site that has some calls on each of its working days is never told of, whichever they are.
        #[test]
        fn days_with_calls_are_never_told(
            open in proptest::collection::vec(any::<bool>(), 7),
            rows in proptest::collection::vec(1_i64..200, 90),
        ) {
            prop_assume!(open.iter().any(|open| *open));
            let is_open = |number: i32| open[usize::try_from(number % 7).unwrap()];
            let of_day = |number: i32| if is_open(number) { rows[usize::try_from(number).unwrap()] } else { 0 };
            prop_assert_eq!(told(90, of_day), (vec![], false));
        }
    }
}
