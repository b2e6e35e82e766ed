//! What the device overwrites by itself: rows and audio, each by its own limits (`docs/pbx-api.md` §10).

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::audio::SimAudio;
use super::call::SimCall;
use super::clock::Moment;
use super::world::World;
use crate::base::digest::Digest;

/// What the device keeps; beyond that it overwrites the oldest. Days are counted by what its clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// The most CDR rows; `None` is no limit.
    pub cdr_rows: Option<u64>,
    /// For how many days before today CDR rows are kept; `None` is no limit.
    pub cdr_days: Option<u32>,
    /// For how many days before today recordings are kept; `None` is no limit.
    pub recording_days: Option<u32>,
    /// The most bytes of recordings; `None` is no limit.
    pub recording_bytes: Option<u64>,
}

impl Retention {
    /// The vendor's defaults: 100,000 rows and 180 days of both.
    pub const VENDOR: Self = Self {
        cdr_rows: Some(100_000),
        cdr_days: Some(180),
        recording_days: Some(180),
        recording_bytes: None,
    };

    /// Whether there is any limit.
    pub(super) fn is_limited(&self) -> bool {
        *self != Self::default()
    }
}

/// The two stores of a device, which are cleaned independently of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// The row that named the recording.
    Cdr,
    /// The audio.
    Recordings,
}

/// Something that the device overwrote while nobody had it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overwritten {
    /// The recording's name.
    pub name: Vec<u8>,
    /// What was overwritten: a row that was in no CDR reply yet, or audio that nobody had fetched whole.
    pub store: Store,
    /// When, by the device's clock.
    pub at: Timestamp,
    /// The SHA-256 of the audio; `None` if it was gone before its row.
    pub sha256: Option<Digest>,
}

/// Something that the device overwrote.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    pub(super) name: Vec<u8>,
    pub(super) store: Store,
    pub(super) at: Timestamp,
    pub(super) audio: Option<SimAudio>,
}

impl World {
    /// Whether [`World::clean_up`] has something to do.
    pub(super) fn is_over_limit(&self, now: Moment) -> bool {
        self.has_audio_to_overwrite(now) || self.has_row_to_overwrite(now)
    }

    /// Overwrites what is beyond the limits.
    pub(super) fn clean_up(&mut self, now: Moment) {
        while self.has_audio_to_overwrite(now)
            && let Some((name, audio)) = self.storage.overwrite_oldest()
        {
            let (store, at) = (Store::Recordings, now.shown);
            self.losses.push(Loss { name, store, at, audio: Some(audio) });
        }
        while self.has_row_to_overwrite(now)
            && let Some(row) = self.take_oldest_row()
        {
            let (name, store, at) = (row.recording, Store::Cdr, now.shown);
            let audio = self.storage.get(&name).cloned();
            if !name.is_empty() {
                self.losses.push(Loss { name, store, at, audio });
            }
        }
    }

    fn has_audio_to_overwrite(&self, now: Moment) -> bool {
        let Retention { recording_days, recording_bytes, .. } = self.retention;
        let is_old =
            |recorded| recording_days.is_some_and(|days| self.date(recorded) < self.limit(now, days));
        recording_bytes.is_some_and(|most| self.storage.bytes() > most)
            || self.storage.oldest().is_some_and(is_old)
    }

    fn has_row_to_overwrite(&self, now: Moment) -> bool {
        let Retention { cdr_days, cdr_rows, .. } = self.retention;
        let is_old = |oldest: &Date| cdr_days.is_some_and(|days| *oldest < self.limit(now, days));
        cdr_rows.is_some_and(|most| self.row_count() > most) || self.given.keys().next().is_some_and(is_old)
    }

    /// The first date that is kept.
    fn limit(&self, now: Moment, days: u32) -> Date {
        self.date(now.shown).checked_sub(i64::from(days).days()).unwrap_or(Date::MIN)
    }

    fn row_count(&self) -> u64 {
        self.given.values().map(|rows| rows.len() as u64).sum()
    }

    fn take_oldest_row(&mut self) -> Option<SimCall> {
        let mut first = self.given.first_entry()?;
        let rows = first.get_mut();
        let (oldest, _) = rows.iter().enumerate().min_by_key(|(_, row)| row.start)?;
        let row = rows.remove(oldest);
        if rows.is_empty() {
            first.remove();
        }
        Some(row)
    }
}
