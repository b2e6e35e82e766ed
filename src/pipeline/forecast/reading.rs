//! Where the facts of a forecast come from, and the finding that it leads to.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use sqlx::SqliteConnection;

use super::{Facts, Forecast};
use crate::base::times;
use crate::config::PbxConfig;
use crate::store::calls;
use crate::store::catalog;
use crate::store::db::Db;
use crate::store::device_retention;
use crate::store::findings::{self, FindingKind};
use crate::store::fleet::{self, Remembered};
use crate::store::queue::{self, DayRange, Kinds};

/// Days over which a PBX's rate is learnt: two weeks have two weekends.
const DAYS: i64 = 14;
const RECORDINGS: &str = "recordings";
const CDR: &str = "cdr";

/// Forecasts when `pbx` overwrites what is not archived yet. Costs the same with a thousand recordings and a million.
pub async fn read(db: &mut SqliteConnection, pbx: &PbxConfig, now: Timestamp) -> anyhow::Result<Forecast> {
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
pub async fn note(db: &Db, pbx: &PbxConfig, now: Timestamp) -> anyhow::Result<Forecast> {
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
    let told = forecast.told().filter(|_| forecast.at_risk > 0)?;
    let warn_h = pbx.retention.warn_margin.as_secs() / 3600;
    Some(format!(
        "{told}, and of all that is owed {} within {warn_h} h: `callvault status` tells why they are not archived; give \
         more room with `hours` and `bytes_s_max`, or raise the limits of the PBX's auto cleanup",
        forecast.at_risk
    ))
}

fn cdr_near(forecast: &Forecast, pbx: &PbxConfig) -> Option<String> {
    let told = forecast.cdr_told(pbx.retention.warn_margin)?;
    Some(format!(
        "{told}: `callvault status` tells why the CDR is not read; mend that, or raise the limit of the PBX's auto cleanup"
    ))
}

/// The complete days that the last sweep saw, at most two weeks of them and none before the first call.
async fn window(
    db: &mut SqliteConnection,
    pbx: &PbxConfig,
    remembered: &Remembered,
    now: Timestamp,
) -> anyhow::Result<DayRange> {
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
