//! `[snapshots]`: copies of the database that are kept.

use super::section::Section;

const HOURLY: u64 = 24;
const DAILY: u64 = 7;
const MOST: u64 = 1000;

/// Copies of the database that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotsConfig {
    /// The latest snapshots, so many of them.
    pub hourly: usize,
    /// The last snapshot of each of so many days.
    pub daily: usize,
}

impl SnapshotsConfig {
    pub fn is_on(&self) -> bool {
        self.hourly + self.daily > 0
    }

    fn of(hourly: u64, daily: u64) -> Self {
        let count = |count: u64| usize::try_from(count).expect("it is at most 1000");
        Self { hourly: count(hourly), daily: count(daily) }
    }
}

impl Default for SnapshotsConfig {
    fn default() -> Self {
        Self::of(HOURLY, DAILY)
    }
}

pub(super) fn read(section: &Section<'_>) -> SnapshotsConfig {
    SnapshotsConfig::of(section.count("hourly", HOURLY, 0..=MOST), section.count("daily", DAILY, 0..=MOST))
}
