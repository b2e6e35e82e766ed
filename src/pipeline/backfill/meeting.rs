//! Meeting a PBX: who it is, and what its clock says.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;
use tracing::warn;

use super::range;
use super::site::Site;
use crate::base::recording::printable;
use crate::base::times::parse_systemtime;
use crate::pbx::DeviceInfo;
use crate::pipeline::gate::{Blame, Item};
use crate::store::clocks::{self, Look, PbxClock};
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::fleet::{self, SameDevice};
use crate::store::queue::DayRange;
use crate::vault::Vault;

/// What findings about a PBX's clock are about.
const ITS_CLOCK: &str = "its clock";
/// How long a clock that was set is told.
const JUMP_TOLD: SignedDuration = SignedDuration::from_hours(24);

/// What a PBX said of itself.
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
        range::kept(&site.pbx, self.local_time, now)
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
    pub(crate) async fn meet(&self, vault: &Vault) -> anyhow::Result<Met> {
        let Some(Answer { device, asked_at, answered_at }) = self.ask_who_it_is(vault).await? else {
            return Ok(Met::default());
        };
        let Some((local, told_s)) = device.system_time.as_deref().and_then(parse_systemtime) else {
            return Ok(Met::default());
        };
        let learnt_s = fleet::remembered(&mut *vault.state.db.read().await?, self.id()).await?.utc_offset_s;
        let now = vault.clock.now();
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
            self.compare_clocks(vault, Look { asked_at, answered_at, shown }).await?;
        }
        let first = offsets_s.into_iter().flatten().next().and_then(shown);
        let behind = first.map(|shown| now.duration_since(shown)).unwrap_or_default();
        Ok(Met { local_time: Some(local), behind: behind.max(SignedDuration::ZERO) })
    }

    /// Notes how far the PBX's clock is from ours. A clock that is far off is a finding until it is right.
    async fn compare_clocks(&self, vault: &Vault, look: Look) -> anyhow::Result<()> {
        let (id, now, sync) = (self.id().to_owned(), vault.clock.now(), vault.clock.sync().await);
        vault
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

    async fn ask_who_it_is(&self, vault: &Vault) -> anyhow::Result<Option<Answer>> {
        while !self.is_over() {
            let asked_at = vault.clock.now();
            match self.client.device().await {
                Ok(device) => {
                    let answered_at = vault.clock.now();
                    self.gate.worked(&Item::Device).await?;
                    let Some(device) = device else { return Ok(None) };
                    self.learn(vault, &device.sn).await?;
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

    async fn learn(&self, vault: &Vault, sn: &str) -> anyhow::Result<()> {
        let (id, learnt, now) = (self.id().to_owned(), sn.to_owned(), vault.clock.now());
        let outcome = vault
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
