//! Meeting a PBX: who it is, and what its clock says.

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use sqlx::SqliteConnection;
use tracing::warn;

use super::Site;
use crate::base::recording::printable;
use crate::base::times::parse_systemtime;
use crate::config::PbxConfig;
use crate::pbx::DeviceInfo;
use crate::pipeline::gate::{Blame, Item};
use crate::store::clocks::{self, Look, PbxClock};
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::fleet::{self, SameDevice};
use crate::store::queue::DayRange;

/// What findings about a PBX's clock are about.
const ITS_CLOCK: &str = "its clock";
/// How long a clock that was set is told.
const JUMP_TOLD: SignedDuration = SignedDuration::from_hours(24);

/// The default retention of a device: what a backfill without dates covers (`docs/pbx-api.md` §10).
pub(in crate::pipeline) const DAYS_BACK: i64 = 180;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Met {
    /// What its clock on the wall shows, if it tells.
    pub(crate) local_time: Option<DateTime>,
    /// How far its clock is behind ours: a day settles by the earlier clock.
    pub(crate) behind: SignedDuration,
}

impl Met {
    /// The days that `site` keeps, up to its tomorrow.
    pub(crate) fn kept_days(&self, site: &Site, now: Timestamp) -> Vec<DayRange> {
        kept_days(&site.pbx, self.local_time, now)
    }
}

/// What a PBX answered, and when, by our clock.
struct Answer {
    device: DeviceInfo,
    asked_at: Timestamp,
    answered_at: Timestamp,
}

impl Site {
    /// Asks the PBX who it is, learns its serial number, and compares its clock with ours. A PBX that cannot be reached is
    /// given up here.
    pub(crate) async fn meet(&self) -> anyhow::Result<Met> {
        let Some(Answer { device, asked_at, answered_at }) = self.ask_who_it_is().await? else {
            return Ok(Met::default());
        };
        let Some((local, told_s)) = device.system_time.as_deref().and_then(parse_systemtime) else {
            return Ok(Met::default());
        };
        let learnt_s =
            fleet::remembered(&mut *self.vault.state.db.read().await?, self.id()).await?.utc_offset_s;
        let now = self.vault.clock.now();
        let configured_s = self.pbx.timezone.as_ref().map(|zone| zone.to_offset(now).seconds());
        let offsets_s = [told_s, learnt_s, configured_s];
        let shown = |offset_s: i32| Offset::from_seconds(offset_s).ok()?.to_timestamp(local).ok();
        // Whichever distance to UTC brings it closest to ours: a wrong zone is no wrong clock, and is told elsewhere.
        let nearest = offsets_s
            .into_iter()
            .flatten()
            .filter_map(shown)
            .min_by_key(|shown| shown.duration_since(answered_at).abs());
        if let Some(shown) = nearest {
            self.compare_clocks(Look { asked_at, answered_at, shown }).await?;
        }
        let first = offsets_s.into_iter().flatten().next().and_then(shown);
        let behind = first.map(|shown| now.duration_since(shown)).unwrap_or_default();
        Ok(Met { local_time: Some(local), behind: behind.max(SignedDuration::ZERO) })
    }

    /// Notes how far the PBX's clock is from ours. A clock that is far off is a finding until it is right.
    async fn compare_clocks(&self, look: Look) -> anyhow::Result<()> {
        let (id, now, sync) = (self.id().to_owned(), self.vault.clock.now(), self.vault.clock.sync().await);
        self.vault
            .state
            .db
            .write(async move |tx| {
                clocks::note_own(tx, now, sync).await?;
                let Some(clock) = clocks::record(tx, &id, &look).await? else { return Ok(()) };
                note_jump(tx, &id, &clock, now).await?;
                let kind = FindingKind::ClockSkewed;
                if !clock.is_skewed() {
                    return findings::close(tx, &id, kind, now).await;
                }
                let detail = clocks::describe_skew(&look, &clock, sync);
                let finding = Finding { kind, subject: ITS_CLOCK.to_owned(), detail };
                findings::record(tx, &id, &finding, now).await
            })
            .await
    }

    async fn ask_who_it_is(&self) -> anyhow::Result<Option<Answer>> {
        while !self.is_over() {
            let asked_at = self.vault.clock.now();
            match self.client.device().await {
                Ok(device) => {
                    let answered_at = self.vault.clock.now();
                    self.gate.worked(&Item::Device).await?;
                    let Some(device) = device else { return Ok(None) };
                    self.learn(&device.sn).await?;
                    return Ok(Some(Answer { device, asked_at, answered_at }));
                }
                // Who it is helps, but is not needed: what only this question fails by must not stop the work.
                Err(error) => {
                    let blame = self.gate.troubled(&Item::Device, &error).await?;
                    if blame == Blame::Item {
                        warn!(pbx = self.id(), "Pbx `{}` does not say who it is: {error}", self.id());
                        return Ok(None);
                    }
                }
            }
        }
        Ok(None)
    }

    async fn learn(&self, sn: &str) -> anyhow::Result<()> {
        let (id, learnt, now) = (self.id().to_owned(), sn.to_owned(), self.vault.clock.now());
        let outcome = self
            .vault
            .state
            .db
            .write(async move |tx| {
                if let Some(before) = fleet::learn_serial_number(tx, &id, &learnt).await? {
                    let shown = printable(learnt.as_bytes());
                    let detail =
                        format!("the device says serial number {shown}, it was {before}: was it replaced?");
                    let kind = FindingKind::SerialNumberChanged;
                    findings::record(tx, &id, &Finding { kind, subject: shown, detail }, now).await?;
                }
                Ok(())
            })
            .await;
        match outcome {
            Err(error) if error.is::<SameDevice>() => self.refuse_same_device(error.to_string()).await,
            outcome => outcome,
        }
    }
}

/// Tells of a clock that was set since the last look, for a day: what was read around that is read again by then.
async fn note_jump(
    tx: &mut SqliteConnection,
    pbx: &str,
    clock: &PbxClock,
    now: Timestamp,
) -> anyhow::Result<()> {
    let kind = FindingKind::ClockJumped;
    match clock.jump {
        Some(jump) if jump.before == clock.measured_at => {
            let finding = Finding { kind, subject: ITS_CLOCK.to_owned(), detail: jump.to_string() };
            findings::record(tx, pbx, &finding, now).await
        }
        Some(jump) if now.duration_since(jump.before).abs() < JUMP_TOLD => Ok(()),
        _ => findings::close(tx, pbx, kind, now).await,
    }
}

/// The days that a PBX keeps, up to its tomorrow: by its own clock and by ours, for either may be a year off.
pub(in crate::pipeline) fn kept_days(
    pbx: &PbxConfig,
    device: Option<DateTime>,
    now: Timestamp,
) -> Vec<DayRange> {
    let ours = our_date(pbx, now);
    let theirs = device.map_or(ours, DateTime::date);
    let [early, late] = [ours.min(theirs), ours.max(theirs)].map(|today| DayRange {
        from: today.checked_sub(DAYS_BACK.days()).unwrap_or(today),
        to: today.checked_add(1.day()).unwrap_or(today),
    });
    if early.to < late.from { vec![early, late] } else { vec![DayRange { from: early.from, to: late.to }] }
}

fn our_date(pbx: &PbxConfig, now: Timestamp) -> Date {
    now.to_zoned(pbx.timezone.clone().unwrap_or(TimeZone::UTC)).date()
}
