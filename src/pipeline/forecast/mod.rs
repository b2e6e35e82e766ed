//! When a PBX overwrites what is not archived yet: forecast from its rate, its retention, and what is owed.
//!
//! `Forecast::of` is pure; `read` gathers its facts, and `note` keeps the finding that follows from it.

mod horizon;
mod reading;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

pub use reading::{note, read};

use crate::config::RetentionHints;
use crate::store::device_retention::Evidence;

/// The CDR's second limit on the device (`docs/pbx-api.md` §10).
const CDR_DAYS: f64 = 180.0;
const DAY_S: f64 = 86_400.0;

#[derive(Debug, Clone, Default)]
struct Facts {
    days: f64,
    recordings: i64,
    cdr_rows: i64,
    recording_bytes: Option<f64>,
    evidence: Vec<Evidence>,
    oldest_owed_at: Option<Timestamp>,
    swept_at: Option<Timestamp>,
}

/// What is to be expected of one PBX.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    pub recordings_per_day: f64,
    /// Their bytes; `None` while none of them is archived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_day: Option<f64>,
    pub cdr_rows_per_day: f64,
    /// For how many days it keeps a recording.
    pub horizon_days: f64,
    pub horizon_source: HorizonSource,
    /// Start of the oldest recording that is owed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_owed_at: Option<Timestamp>,
    /// Until that one is overwritten; negative if it most likely was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin_s: Option<i64>,
    /// Recordings that are owed and overwritten within `warn_margin_h`.
    pub at_risk: i64,
    /// Until CDR rows that were never read are overwritten; `None` before the first complete sweep, and of a PBX without
    /// calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cdr_margin_s: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HorizonSource {
    Hint,
    /// The PBX does not have what is older.
    Learnt,
}

impl Forecast {
    /// Everything but the number at risk, which takes another look at the queue.
    fn of(facts: &Facts, hints: &RetentionHints, now: Timestamp) -> Self {
        let learnt = horizon::learnt_days(&facts.evidence).filter(|days| *days < hints.recording_days);
        let horizon_days = learnt.unwrap_or(hints.recording_days);
        let days = facts.days.max(1.0);
        let recordings_per_day = facts.recordings as f64 / days;
        let cdr_rows_per_day = facts.cdr_rows as f64 / days;
        let cdr_lasts_days =
            (cdr_rows_per_day > 0.0).then(|| (hints.cdr_rows as f64 / cdr_rows_per_day).min(CDR_DAYS));
        let ends = |from: Option<Timestamp>, days: Option<f64>| Some(seconds_until(from?, days?, now));
        Self {
            recordings_per_day,
            bytes_per_day: facts.recording_bytes.map(|bytes| bytes * recordings_per_day),
            cdr_rows_per_day,
            horizon_days,
            horizon_source: if learnt.is_some() { HorizonSource::Learnt } else { HorizonSource::Hint },
            oldest_owed_at: facts.oldest_owed_at,
            margin_s: ends(facts.oldest_owed_at, Some(horizon_days)),
            at_risk: 0,
            cdr_margin_s: ends(facts.swept_at, cdr_lasts_days),
        }
    }

    /// What began before this and is owed is at risk.
    fn at_risk_before(&self, hints: &RetentionHints, now: Timestamp) -> Timestamp {
        let kept = SignedDuration::from_secs_f64(self.horizon_days * DAY_S);
        let warn = SignedDuration::try_from(hints.warn_margin).unwrap_or(SignedDuration::MAX);
        now.saturating_sub(kept).and_then(|at| at.saturating_add(warn)).unwrap_or(now)
    }

    /// How long CDR rows that were never read have, in words; `None` while that is longer than `warn_margin`.
    pub fn cdr_told(&self, warn_margin: Duration) -> Option<String> {
        let margin_s = self.cdr_margin_s.filter(|margin_s| (*margin_s as f64) < warn_margin.as_secs_f64())?;
        let when = if margin_s < 0 { "since about" } else { "in about" };
        Some(format!("CDR rows that were never read are overwritten {when} {}", about(margin_s)))
    }

    /// How long the oldest that is owed has, in words; `None` if nothing is owed.
    pub fn told(&self) -> Option<String> {
        Some(match self.margin_s? {
            margin_s if margin_s < 0 => {
                format!("the oldest owed was most likely overwritten about {} ago", about(margin_s))
            }
            margin_s => format!("the oldest owed is overwritten in about {}", about(margin_s)),
        })
    }
}

/// From `now` until `days` after `from`.
fn seconds_until(from: Timestamp, days: f64, now: Timestamp) -> i64 {
    (from.duration_since(now).as_secs_f64() + days * DAY_S) as i64
}

/// A time span, without its sign, as a person says it.
fn about(seconds: i64) -> String {
    match seconds.unsigned_abs() {
        seconds @ 0..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..259_200 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;

    fn now() -> Timestamp {
        "2024-03-15T12:00:00Z".parse().unwrap()
    }

    fn ago(hours: i64) -> Option<Timestamp> {
        Some(now() - hours.hours())
    }

    #[test]
    fn the_margin_is_what_is_left_of_the_horizon() {
        let gone_after_30 = vec![
            Evidence { age_days: 29, delivered: 9, missing: 0 },
            Evidence { age_days: 30, delivered: 0, missing: 9 },
        ];
        let table = [
            (None, vec![], None, "None"),
            (ago(24), vec![], Some(179 * 86_400), "the oldest owed is overwritten in about 179 days"),
            (ago(179 * 24 - 2), vec![], Some(26 * 3600), "the oldest owed is overwritten in about 26 h"),
            (
                ago(29 * 24),
                gone_after_30.clone(),
                Some(86_400),
                "the oldest owed is overwritten in about 24 h",
            ),
            (
                ago(30 * 24 - 1),
                gone_after_30.clone(),
                Some(3600),
                "the oldest owed is overwritten in about 60 min",
            ),
            (
                ago(34 * 24),
                gone_after_30,
                Some(-4 * 86_400),
                "the oldest owed was most likely overwritten about 4 days ago",
            ),
        ];
        for (oldest_owed_at, evidence, margin_s, told) in table {
            let facts = Facts { oldest_owed_at, evidence, ..Facts::default() };
            let forecast = Forecast::of(&facts, &RetentionHints::default(), now());
            assert_eq!(forecast.margin_s, margin_s, "{facts:?}");
            assert_eq!(forecast.told().unwrap_or("None".into()), told, "{facts:?}");
        }
    }

    #[test]
    fn a_learnt_horizon_counts_only_if_it_is_shorter_than_the_hint() {
        let evidence = vec![
            Evidence { age_days: 29, delivered: 9, missing: 0 },
            Evidence { age_days: 30, delivered: 0, missing: 9 },
        ];
        for (recording_days, expected) in
            [(180.0, (30.0, HorizonSource::Learnt)), (14.0, (14.0, HorizonSource::Hint))]
        {
            let hints = RetentionHints { recording_days, ..RetentionHints::default() };
            let facts = Facts { evidence: evidence.clone(), ..Facts::default() };
            let forecast = Forecast::of(&facts, &hints, now());
            assert_eq!((forecast.horizon_days, forecast.horizon_source), expected);
        }
    }

    #[test]
    fn the_cdr_lasts_as_long_as_its_rows_do() {
        let table = [
            (0, ago(1), None),
            (14_000, None, None),
            // 1000 rows a day: 100 days.
            (14_000, ago(24), Some(99 * 86_400)),
            (14, ago(24), Some(179 * 86_400)),
            (1_400_000, ago(30), Some(-6 * 3600)),
        ];
        for (cdr_rows, swept_at, margin_s) in table {
            let facts = Facts { days: 14.0, cdr_rows, swept_at, ..Facts::default() };
            let forecast = Forecast::of(&facts, &RetentionHints::default(), now());
            assert_eq!(forecast.cdr_margin_s, margin_s, "{facts:?}");
            let is_near = margin_s.is_some_and(|margin_s| margin_s < 72 * 3600);
            assert_eq!(forecast.cdr_told(RetentionHints::default().warn_margin).is_some(), is_near);
        }
    }

    #[test]
    fn what_has_less_than_the_warning_time_left_is_at_risk() {
        let forecast = Forecast::of(&Facts::default(), &RetentionHints::default(), now());
        let before = forecast.at_risk_before(&RetentionHints::default(), now());
        assert_eq!(Some(before), ago(177 * 24));
    }
}
