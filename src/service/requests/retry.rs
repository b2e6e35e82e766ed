//! Retry: ask again for recordings that were given up, and lift the pause of a PBX.

use serde::{Deserialize, Serialize};

use super::UsageError;
use crate::base::recording::RecordingName;
use crate::pipeline::backfill::{self, Connections, RangeError};
use crate::store::calls;
use crate::store::findings;
use crate::store::fleet;
use crate::store::queue::{self, DayRange, Redrive, Redriven};
use crate::vault::Vault;

/// What to retry.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Retry {
    /// Only this PBX; its pause is lifted, and its findings count as seen.
    pub pbx: Option<String>,
    /// Only stuck recordings.
    pub stuck: bool,
    /// Only these; a recording's name may hold any bytes.
    pub names: Vec<Vec<u8>>,
}

/// What there is to retry.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing: so many were put back, of PBXs that are not configured any more.
    Nothing { put_back: u64 },
    /// So many were put back, and this is the range to work on.
    Work { request: backfill::Request, put_back: u64 },
}

impl Retry {
    /// Refuses a name that names nothing, before anything is opened or asked.
    ///
    /// # Errors
    /// [`UsageError`].
    pub fn check(&self) -> Result<(), UsageError> {
        self.parse().map(drop)
    }

    fn parse(&self) -> Result<Redrive, UsageError> {
        let empty = || UsageError("a NAME is empty: leave it out to retry all recordings".to_owned());
        let names = self.names.iter().map(|name| RecordingName::new(name.clone()).ok_or_else(empty));
        Ok(Redrive { pbx: self.pbx.clone(), stuck_only: self.stuck, names: names.collect::<Result<_, _>>()? })
    }

    /// Puts back what was chosen, and says where there is work now.
    pub(super) async fn redrive(&self, vault: &Vault, connections: &Connections) -> anyhow::Result<Found> {
        let what = self.parse()?;
        let configured = |id: &String| vault.config.pbx.iter().any(|pbx| pbx.id == *id);
        if let Some(pbx) = &what.pbx {
            RangeError::check_pbx(pbx, &vault.config.pbx)?;
        }
        let Redriven { count: put_back, pbx, days, .. } = put_back(vault, what.clone()).await?;
        if let Some(connection) = what.pbx.as_ref().and_then(|pbx| connections.by_pbx.get(pbx)) {
            connection.client.lift_refusal().await;
        }
        if !what.names.is_empty() && put_back == 0 {
            let message = format!(
                "nothing to retry under {}: it is archived, excluded by a rule, or unknown (with --stuck: not stuck)",
                what.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            );
            return Err(UsageError(message).into());
        }
        // What was put back chooses where to work, unless the operator chose: an empty choice would mean every PBX.
        let chosen: Vec<String> = what.pbx.map_or(pbx, |pbx| vec![pbx]);
        let chosen: Vec<String> = chosen.into_iter().filter(configured).collect();
        if chosen.is_empty() && (what.stuck_only || put_back > 0) {
            return Ok(Found::Nothing { put_back });
        }
        let queue_only = Some(days.unwrap_or(DayRange::ALL));
        let request = backfill::Request { pbx: chosen, queue_only, ..backfill::Request::default() };
        Ok(Found::Work { request, put_back })
    }
}

/// An operator who names a PBX has looked at it: its pause is lifted, and its findings count as seen.
async fn put_back(vault: &Vault, what: Redrive) -> anyhow::Result<Redriven> {
    let (lifted, now) = (what.pbx.clone(), vault.clock.now());
    vault
        .state
        .db
        .write(async move |tx| {
            if let Some(pbx) = lifted {
                fleet::clear_problem(tx, &pbx).await?;
                findings::acknowledge(tx, &pbx, now).await?;
            }
            let redriven = queue::redrive(tx, &what).await?;
            calls::reopen_all(tx, &redriven.changed).await?;
            Ok(redriven)
        })
        .await
}
