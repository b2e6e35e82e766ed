//! Meeting a PBX: who it is, and what its clock says.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use tracing::warn;

use super::site::{SAME_DEVICE, Site};
use crate::access::Trouble;
use crate::findings::{self, Finding, FindingKind};
use crate::fleet::{self, SameDevice};
use crate::pbx::DeviceInfo;
use crate::recording::printable;
use crate::vault::Vault;

impl Site {
    /// How far the device's clock is behind ours: a day settles by the earlier clock.
    pub(super) fn device_behind(
        &self,
        system_time: Option<(DateTime, Option<i32>)>,
        learnt_offset_s: Option<i32>,
        now: Timestamp,
    ) -> SignedDuration {
        let behind = system_time.and_then(|(local, told_s)| {
            let configured_s = self.pbx.timezone.as_ref().map(|zone| zone.to_offset(now).seconds());
            let offset = Offset::from_seconds(told_s.or(learnt_offset_s).or(configured_s)?).ok()?;
            Some(now.duration_since(offset.to_timestamp(local).ok()?))
        });
        behind.unwrap_or_default().max(SignedDuration::ZERO)
    }

    /// Asks the PBX who it is, and learns its serial number. A PBX that cannot be reached is given up here.
    pub(super) async fn meet(&self, vault: &Vault) -> anyhow::Result<Option<DeviceInfo>> {
        while !self.stop.is_cancelled() && !self.access.given_up().is_cancelled() {
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
            Err(error) if error.is::<SameDevice>() => {
                let trouble = Trouble { reason: SAME_DEVICE.into(), message: error.to_string() };
                self.access.refuse(trouble).await;
                Ok(())
            }
            outcome => outcome,
        }
    }
}
