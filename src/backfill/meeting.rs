//! Meeting a PBX: who it is, and what its clock says.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use tracing::warn;

use super::range;
use super::site::Site;
use crate::findings::{self, Finding, FindingKind};
use crate::fleet::{self, SameDevice};
use crate::pbx::DeviceInfo;
use crate::queue::DayRange;
use crate::recording::printable;
use crate::times::parse_systemtime;
use crate::vault::Vault;

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

impl Site {
    /// Asks the PBX who it is, and learns its serial number. A PBX that cannot be reached is given up here.
    pub(crate) async fn meet(&self, vault: &Vault) -> anyhow::Result<Met> {
        let device = self.ask_who_it_is(vault).await?;
        let Some((local, told_s)) =
            device.and_then(|device| parse_systemtime(device.system_time.as_deref()?))
        else {
            return Ok(Met::default());
        };
        let learnt_s = fleet::remembered(&mut *vault.state.db.read().await?, self.id()).await?.utc_offset_s;
        let now = vault.clock.now();
        let configured_s = self.pbx.timezone.as_ref().map(|zone| zone.to_offset(now).seconds());
        let offset = told_s.or(learnt_s).or(configured_s).and_then(|s| Offset::from_seconds(s).ok());
        let shown = offset.and_then(|offset| offset.to_timestamp(local).ok());
        let behind = shown.map(|shown| now.duration_since(shown)).unwrap_or_default();
        Ok(Met { local_time: Some(local), behind: behind.max(SignedDuration::ZERO) })
    }

    async fn ask_who_it_is(&self, vault: &Vault) -> anyhow::Result<Option<DeviceInfo>> {
        while !self.is_over() {
            match self.client.device_info().await {
                Ok(device) => {
                    self.access.worked().await?;
                    if let Some(device) = &device {
                        self.learn(vault, &device.sn).await?;
                    }
                    return Ok(device);
                }
                Err(error) if error.policy().concerns_pbx() => self.access.failed(&error).await?,
                // Who it is helps, but is not needed: a passing failure must not stop the work.
                Err(error) => {
                    self.access.troubled(&error).await?;
                    warn!(pbx = self.id(), "Pbx `{}` does not say who it is: {error}", self.id());
                    return Ok(None);
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
            .write(move |tx| {
                Box::pin(async move {
                    if let Some(before) = fleet::learn_serial_number(tx, &id, &learnt).await? {
                        let shown = printable(learnt.as_bytes());
                        let detail = format!(
                            "the device says serial number {shown}, it was {before}: was it replaced?"
                        );
                        let kind = FindingKind::SerialNumberChanged;
                        findings::record(tx, &id, &Finding { kind, subject: shown, detail }, now).await?;
                    }
                    Ok(())
                })
            })
            .await;
        match outcome {
            Err(error) if error.is::<SameDevice>() => self.refuse_same_device(error.to_string()).await,
            outcome => outcome,
        }
    }
}
