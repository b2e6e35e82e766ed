//! When a PBX overwrites what is not archived yet: forecast from its rate, its retention, and what is not archived.
//!
//! `Forecast::of` and the learnt horizon are pure; `read` gathers the facts, and `note` keeps the finding that follows.

use std::time::Duration;

use anyhow::Result;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde::Serialize;

use crate::base::times;
use crate::config::{PbxConfig, RetentionHints};
use crate::store::db::Db;
use crate::store::device_retention::{self, Evidence};
use crate::store::findings::{self, FindingKind};
use crate::store::fleet::{self, Remembered};
use crate::store::queue::{self, DayRange, Kinds};
use crate::store::sql::Conn;
use crate::store::{calls, catalog};

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
    /// Start of the oldest recording that is not archived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_owed_at: Option<Timestamp>,
    /// Until that one is overwritten; negative if it most likely was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin_s: Option<i64>,
    /// Recordings that are not archived and overwritten within `warn_margin_h`.
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
        let learnt = learnt_days(&facts.evidence).filter(|days| *days < hints.recording_days);
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

    /// What began before this and is not archived is at risk.
    fn at_risk_before(&self, hints: &RetentionHints, now: Timestamp) -> Timestamp {
        let kept = SignedDuration::from_secs_f64(self.horizon_days * DAY_S);
        let warn = SignedDuration::try_from(hints.warn_margin).unwrap_or(SignedDuration::MAX);
        now.saturating_sub(kept).and_then(|at| at.saturating_add(warn)).unwrap_or(now)
    }

    /// How long CDR rows that were never read have, in words; `None` while that is longer than `warn_margin`.
    pub fn cdr_warning(&self, warn_margin: Duration) -> Option<String> {
        let margin_s = self.cdr_margin_s.filter(|margin_s| (*margin_s as f64) < warn_margin.as_secs_f64())?;
        let when = if margin_s < 0 { "since about" } else { "in about" };
        Some(format!("CDR rows that were never read are overwritten {when} {}", about(margin_s)))
    }

    /// How long the oldest that is not archived has, in words; `None` if all are.
    pub fn warning(&self) -> Option<String> {
        let margin_s = self.margin_s?;
        let fate = match about(margin_s) {
            about if margin_s < 0 => format!("was most likely overwritten about {about} ago"),
            about => format!("is overwritten in about {about}"),
        };
        Some(format!("the oldest recording not archived yet {fate}"))
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

/// So many on either side must have been asked for: one that somebody deleted says nothing.
const COUNT_MIN: i64 = 5;
/// Of so many that are older than the horizon, one may have been delivered all the same.
const ODD_ONE_IN: i64 = 10;

/// The learnt horizon in days, from evidence in order of age; `None` while nothing shows one.
///
/// It lies halfway between the oldest that was delivered and the youngest that was gone: next to each other where every
/// day was asked for, and an honest guess where days between were not.
fn learnt_days(evidence: &[Evidence]) -> Option<f64> {
    let gone = (0..evidence.len()).filter(|at| evidence[*at].missing > 0);
    let (_, cut) = gone.filter_map(|at| Some((unexplained(evidence, at)?, at))).min()?;
    let oldest_delivered = evidence[..cut].iter().rev().find(|age| age.delivered > 0)?;
    Some((oldest_delivered.age_days + 1 + evidence[cut].age_days) as f64 / 2.0)
}

/// Recordings that a horizon at `cut` does not explain. There is none (`None`) unless what is younger is mostly there, and what
/// is older is gone.
fn unexplained(evidence: &[Evidence], cut: usize) -> Option<i64> {
    let (younger, older) = evidence.split_at(cut);
    let delivered = |ages: &[Evidence]| ages.iter().map(|age| age.delivered).sum::<i64>();
    let missing = |ages: &[Evidence]| ages.iter().map(|age| age.missing).sum::<i64>();
    let is_mostly_there = delivered(younger) >= COUNT_MIN && missing(younger) <= delivered(younger);
    let is_gone = missing(older) >= COUNT_MIN && delivered(older) * ODD_ONE_IN <= missing(older);
    (is_mostly_there && is_gone).then(|| missing(younger) + delivered(older))
}

/// Days over which a PBX's rate is learnt: two weeks have two weekends.
const DAYS: i64 = 14;
const RECORDINGS: &str = "recordings";
const CDR: &str = "cdr";

/// Forecasts when `pbx` overwrites what is not archived yet. Costs the same with a thousand recordings and a million.
pub async fn read(db: &mut Conn, pbx: &PbxConfig, now: Timestamp) -> Result<Forecast> {
    let remembered = fleet::remembered(db, &pbx.id).await?;
    let window = window(db, pbx, &remembered, now).await?;
    let facts = Facts {
        days: f64::from(window.from.until(window.to)?.get_days() + 1),
        recordings: queue::counts(db, &pbx.id, window, Kinds::Calls).await?.listed(),
        cdr_rows: calls::count(db, &pbx.id, window).await?,
        recording_bytes: catalog::mean_size_bytes(db, &pbx.id, window).await?,
        evidence: device_retention::evidence(db, &pbx.id, now).await?,
        oldest_owed_at: queue::oldest_owed(db, &pbx.id).await?,
        swept_at: swept_at(&remembered),
    };
    let mut forecast = Forecast::of(&facts, &pbx.retention, now);
    let before = forecast.at_risk_before(&pbx.retention, now);
    forecast.at_risk = queue::owed_before(db, &pbx.id, before).await?;
    Ok(forecast)
}

/// Forecasts, and records what is overwritten soon as a finding, or closes that. To be called once a cycle.
pub async fn note(db: &Db, pbx: &PbxConfig, now: Timestamp) -> Result<Forecast> {
    let forecast = read(&mut *db.read().await?, pbx, now).await?;
    let near = [(RECORDINGS, recordings_near(&forecast, pbx)), (CDR, cdr_near(&forecast, pbx))];
    let id = pbx.id.clone();
    db.write(async move |tx| {
        for (subject, detail) in near {
            findings::settle(tx, &id, FindingKind::OverwriteNear, subject, detail, now).await?;
        }
        device_retention::forget_old(tx, &id, now).await
    })
    .await?;
    Ok(forecast)
}

fn recordings_near(forecast: &Forecast, pbx: &PbxConfig) -> Option<String> {
    let warning = forecast.warning().filter(|_| forecast.at_risk > 0)?;
    let warn_h = pbx.retention.warn_margin.as_secs() / 3600;
    Some(format!(
        "{warning}, and {} recordings within {warn_h} h: `callvault status` says why they are not archived; give \
         more room with `hours` and `bytes_s_max`, or raise the limits of the PBX's auto cleanup",
        forecast.at_risk
    ))
}

fn cdr_near(forecast: &Forecast, pbx: &PbxConfig) -> Option<String> {
    let warning = forecast.cdr_warning(pbx.retention.warn_margin)?;
    Some(format!(
        "{warning}: `callvault status` says why the CDR is not read; fix that, or raise the limit of the PBX's auto cleanup"
    ))
}

/// The complete days that the last sweep saw, at most two weeks of them and none before the first call.
async fn window(db: &mut Conn, pbx: &PbxConfig, remembered: &Remembered, now: Timestamp) -> Result<DayRange> {
    let zone = times::zone_of(pbx.timezone.as_ref(), remembered.utc_offset_s);
    let swept_on: Date = zone.to_datetime(swept_at(remembered).unwrap_or(now).min(now)).date();
    let to = swept_on.checked_sub(1.day()).unwrap_or(swept_on);
    let first = calls::first_day(db, &pbx.id).await?;
    let from = to.checked_sub((DAYS - 1).days()).unwrap_or(to).max(first.unwrap_or(to));
    // A PBX with calls on its first day only: that day is all there is.
    Ok(if from > to { DayRange { from: swept_on, to: swept_on } } else { DayRange { from, to } })
}

fn swept_at(remembered: &Remembered) -> Option<Timestamp> {
    remembered.last_sweep_at_ms.map(Timestamp::from)
}

#[cfg(test)]
mod tests {
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
            (
                ago(24),
                vec![],
                Some(179 * 86_400),
                "the oldest recording not archived yet is overwritten in about 179 days",
            ),
            (
                ago(179 * 24 - 2),
                vec![],
                Some(26 * 3600),
                "the oldest recording not archived yet is overwritten in about 26 h",
            ),
            (
                ago(29 * 24),
                gone_after_30.clone(),
                Some(86_400),
                "the oldest recording not archived yet is overwritten in about 24 h",
            ),
            (
                ago(30 * 24 - 1),
                gone_after_30.clone(),
                Some(3600),
                "the oldest recording not archived yet is overwritten in about 60 min",
            ),
            (
                ago(34 * 24),
                gone_after_30,
                Some(-4 * 86_400),
                "the oldest recording not archived yet was most likely overwritten about 4 days ago",
            ),
        ];
        for (oldest_owed_at, evidence, margin_s, told) in table {
            let facts = Facts { oldest_owed_at, evidence, ..Facts::default() };
            let forecast = Forecast::of(&facts, &RetentionHints::default(), now());
            assert_eq!(forecast.margin_s, margin_s, "{facts:?}");
            assert_eq!(forecast.warning().unwrap_or("None".into()), told, "{facts:?}");
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
            assert_eq!(forecast.cdr_warning(RetentionHints::default().warn_margin).is_some(), is_near);
        }
    }

    #[test]
    fn what_has_less_than_the_warning_time_left_is_at_risk() {
        let forecast = Forecast::of(&Facts::default(), &RetentionHints::default(), now());
        let before = forecast.at_risk_before(&RetentionHints::default(), now());
        assert_eq!(Some(before), ago(177 * 24));
    }

    #[test]
    fn a_horizon_is_where_delivery_ends_and_absence_begins() {
        // (age in days, delivered, missing) … and the horizon.
        type Table = [(&'static [(i64, i64, i64)], Option<f64>)];
        let table: &Table = &[
            (&[], None),
            (&[(0, 100, 0), (30, 50, 0)], None),
            (&[(0, 0, 40)], None),
            (&[(0, 100, 0), (29, 10, 0), (30, 0, 10), (31, 0, 10)], Some(30.0)),
            // Nobody knows what was between.
            (&[(0, 100, 0), (9, 10, 0), (30, 0, 10)], Some(20.0)),
            // Deleted by hand: too few, or in the midst.
            (&[(0, 100, 0), (30, 0, 4)], None),
            (&[(0, 100, 0), (10, 3, 30), (20, 50, 0)], None),
            // The store was offline for a day.
            (&[(0, 20, 20), (1, 50, 0), (90, 10, 0)], None),
            (&[(0, 90, 30), (29, 40, 2), (30, 0, 60)], Some(30.0)),
            // One with a wrong date was delivered.
            (&[(0, 100, 0), (29, 10, 0), (30, 0, 20), (200, 1, 0)], Some(30.0)),
            // Nothing is delivered at all: that says nothing of age.
            (&[(0, 1, 30), (100, 0, 30)], None),
        ];
        for (ages, expected) in table {
            let evidence: Vec<Evidence> = ages
                .iter()
                .map(|(age_days, delivered, missing)| Evidence {
                    age_days: *age_days,
                    delivered: *delivered,
                    missing: *missing,
                })
                .collect();
            assert_eq!(learnt_days(&evidence), *expected, "{ages:?}");
        }
    }
}
