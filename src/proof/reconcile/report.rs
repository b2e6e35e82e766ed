//! The accounts of one PBX, summed up.

use jiff::civil::Date;
use serde::Serialize;

use super::account::DayAccount;
use crate::base::counts::{self, Counts};
use crate::store::queue::DayRange;

#[derive(Debug, Clone, Default, Serialize)]
pub struct PbxAccount {
    /// None if nothing is known about any day.
    pub range: Option<DayRange>,
    pub listed: i64,
    #[serde(flatten, serialize_with = "counts::with_final")]
    pub counts: Counts,
    pub sums: bool,
    /// Whether every day is complete, and each was read.
    pub complete: bool,
    /// Days that have not settled yet.
    pub days_open: i64,
    /// Days of the range without a whole reading.
    pub unread: Vec<DayRange>,
    #[serde(serialize_with = "counts::with_final")]
    pub voicemail: Counts,
}

impl PbxAccount {
    /// Sums up the accounts of the days of `range`, in order. With `each_is_read`, days without an account count as unread.
    pub fn of<'a>(
        accounts: impl Iterator<Item = &'a DayAccount> + Clone,
        range: Option<DayRange>,
        each_is_read: bool,
    ) -> Self {
        let mut sum = Self { range, sums: true, complete: true, ..Self::default() };
        for account in accounts.clone() {
            sum.listed += account.listed;
            sum.counts += account.counts;
            sum.voicemail += account.voicemail;
            sum.sums &= account.sums;
            sum.complete &= account.complete;
            sum.days_open += i64::from(account.settled_at.is_none());
        }
        if let Some(asked) = range.filter(|_| each_is_read) {
            let read = accounts.filter(|account| !account.is_unread()).map(|account| account.day);
            sum.unread = unread(asked, read);
        }
        sum.complete &= sum.unread.is_empty();
        sum
    }

    pub fn days_unread(&self) -> usize {
        self.unread.iter().map(|range| days_of(*range).count()).sum()
    }
}

fn days_of(range: DayRange) -> impl Iterator<Item = Date> {
    std::iter::successors(Some(range.from), |day| day.tomorrow().ok()).take_while(move |day| *day <= range.to)
}

/// The days within `asked` that are not in `read`, as ranges. Both are sorted.
fn unread(asked: DayRange, read: impl Iterator<Item = Date>) -> Vec<DayRange> {
    let mut read = read.peekable();
    let mut ranges: Vec<DayRange> = Vec::new();
    for day in days_of(asked) {
        while read.next_if(|other| *other < day).is_some() {}
        if read.next_if_eq(&day).is_some() {
            continue;
        }
        match ranges.last_mut() {
            Some(range) if range.to.tomorrow().is_ok_and(|next| next == day) => range.to = day,
            _ => ranges.push(DayRange { from: day, to: day }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn days_without_a_reading_are_told_as_ranges() {
        let day = |day| date(2026, 3, day);
        let range = |from, to| DayRange { from: day(from), to: day(to) };
        let table = [
            (range(1, 3), vec![1, 2, 3], vec![]),
            (range(1, 5), vec![2, 5], vec![range(1, 1), range(3, 4)]),
            (range(2, 4), vec![1, 3, 6], vec![range(2, 2), range(4, 4)]),
            (range(1, 2), vec![], vec![range(1, 2)]),
        ];
        for (asked, read, expected) in table {
            assert_eq!(unread(asked, read.iter().map(|read| day(*read))), expected, "{read:?}");
        }
    }
}
