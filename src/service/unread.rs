//! Days that could not be read, and when each is asked for again: a bad day must not cost every sweep its time.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use sqlx::SqliteConnection;

use crate::base::backoff::Backoff;
use crate::store::findings::{self, FindingKind, FindingRow};
use crate::store::queue::DayRange;
use crate::store::sql::Ms;

/// The waits after a day could not be read.
const WAITS: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(3600));

/// The days of `pbx` that could not be read and are not to be asked for yet.
pub(super) async fn waiting(
    db: &mut SqliteConnection,
    pbx: &str,
    now: Timestamp,
) -> anyhow::Result<BTreeSet<Date>> {
    let unread = findings::open_of(db, pbx, FindingKind::DayUnread).await?;
    let day = |finding: &FindingRow| finding.subject.parse().context("a stored finding names no day");
    unread.iter().filter(|finding| is_waiting(finding.count, finding.last_seen_at_ms, now)).map(day).collect()
}

fn is_waiting(count: i64, Ms(last): Ms, now: Timestamp) -> bool {
    let wait = WAITS.after(count.max(1) - 1);
    let since_ms = now.as_millisecond() - last.as_millisecond();
    // One that was seen in the future was seen by another clock.
    u128::try_from(since_ms).is_ok_and(|since_ms| since_ms < wait.as_millis())
}

/// The days of `ranges` but for those of `left_out`, and how many those were.
pub(super) fn without(ranges: Vec<DayRange>, left_out: &BTreeSet<Date>) -> (Vec<DayRange>, u64) {
    let (mut kept, mut count) = (Vec::new(), 0);
    for mut range in ranges {
        for &day in left_out.range(range.from..) {
            if day > range.to {
                break;
            }
            count += 1;
            if range.from < day
                && let Ok(before) = day.checked_sub(1.day())
            {
                kept.push(DayRange { from: range.from, to: before });
            }
            range.from = day.checked_add(1.day()).unwrap_or(Date::MAX);
        }
        if range.from <= range.to {
            kept.push(range);
        }
    }
    (kept, count)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_day_that_fails_is_asked_for_after_a_minute_and_then_ever_less_often() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        for (count, seen_s_ago, waits) in [
            (1, 59, true),
            (1, 60, false),
            (2, 119, true),
            (2, 120, false),
            (50, 3599, true),
            (50, 3600, false),
        ] {
            let seen = now - jiff::SignedDuration::from_secs(seen_s_ago);
            assert_eq!(is_waiting(count, Ms(seen), now), waits, "{count} {seen_s_ago}");
        }
        assert!(!is_waiting(1, Ms(now + jiff::SignedDuration::from_secs(1)), now));
    }

    #[test]
    fn days_that_wait_are_cut_out_of_the_ranges() {
        let day = |number| date(2024, 3, number);
        let range = |from, to| DayRange { from: day(from), to: day(to) };
        let left_out = BTreeSet::from([day(3), day(10), day(20)]);
        let ranges = vec![range(1, 5), range(8, 10), range(10, 10), range(12, 14)];
        let (kept, count) = without(ranges, &left_out);
        assert_eq!(kept, [range(1, 2), range(4, 5), range(8, 9), range(12, 14)]);
        assert_eq!(count, 3);
        assert_eq!(without(vec![range(1, 5)], &BTreeSet::new()), (vec![range(1, 5)], 0));
    }
}
