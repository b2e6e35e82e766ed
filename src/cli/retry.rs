//! `callvault retry`: ask again for what was given up, and lift the pause of a PBX.

use std::path::Path;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::errand::{Errand, Outcome};
use super::exit::{self, UsageError};
use super::handover;
use crate::base::recording::RecordingName;
use crate::pipeline::backfill::{BackfillReport, Lines, RangeError, Request};
use crate::store::calls;
use crate::store::findings;
use crate::store::fleet;
use crate::store::queue::{self, DayRange, Redrive, Redriven};
use crate::vault::Vault;

/// What to retry.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Choice {
    /// Only this PBX; its pause is lifted, and its findings count as seen.
    pub pbx: Option<String>,
    /// Only stuck recordings.
    pub stuck: bool,
    /// Only these; a recording's name may hold any bytes.
    pub names: Vec<Vec<u8>>,
}

impl Choice {
    fn parse(&self) -> Result<Redrive, UsageError> {
        let names = self
            .names
            .iter()
            .map(|name| RecordingName::new(name.clone()).ok_or_else(super::errand::empty_name));
        Ok(Redrive { pbx: self.pbx.clone(), stuck_only: self.stuck, names: names.collect::<Result<_, _>>()? })
    }
}

/// What there is to retry.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing, and why.
    Nothing(Outcome),
    /// This.
    Work {
        /// Where it is.
        request: Request,
        /// How many recordings were put back.
        count: u64,
    },
}

/// Puts recordings back into the queue and works on it.
pub async fn run(config: &Path, choice: Choice, json: bool) -> ExitCode {
    // Before anything is opened or asked.
    if let Err(error) = choice.parse() {
        return exit::fail(&error.into(), json);
    }
    handover::run(config, Errand::Retry(choice), json).await
}
/// Puts back what was chosen, and tells where there is work now.
pub(super) async fn redrive(vault: &Vault, choice: &Choice, lines: &Lines) -> anyhow::Result<Found> {
    let what = choice.parse()?;
    let configured = |id: &String| vault.config.pbx.iter().any(|pbx| pbx.id == *id);
    if let Some(unknown) = what.pbx.as_ref().filter(|id| !configured(id)) {
        return Err(RangeError::unknown_pbx(unknown, &vault.config.pbx).into());
    }
    let redriven = put_back(vault, what.clone()).await?;
    if let Some(line) = what.pbx.as_ref().and_then(|pbx| lines.by_pbx.get(pbx)) {
        line.client.lift_refusal().await;
    }
    if !what.names.is_empty() && redriven.count == 0 {
        let message = format!(
            "nothing to retry under {}: it is archived, excluded by a rule, or unknown (with --stuck: not stuck)",
            what.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        );
        return Err(UsageError(message).into());
    }
    // What was put back chooses where to work, unless the operator chose: an empty choice would mean every PBX.
    let chosen: Vec<String> = what.pbx.map_or(redriven.pbx, |pbx| vec![pbx]);
    let chosen: Vec<String> = chosen.into_iter().filter(configured).collect();
    if chosen.is_empty() && (what.stuck_only || redriven.count > 0) {
        return nothing_to_do(redriven.count);
    }
    let queue_only = Some(redriven.days.unwrap_or(DayRange::ALL));
    Ok(Found::Work {
        request: Request { pbx: chosen, queue_only, ..Request::default() },
        count: redriven.count,
    })
}

fn nothing_to_do(count: u64) -> anyhow::Result<Found> {
    let why = match count {
        0 => "nothing is stuck",
        _ => "what was put back belongs to PBXs that are not configured any more",
    };
    let text = format!("There is nothing to do: {why}.");
    Ok(Found::Nothing(Outcome::told(&text, &BackfillReport::default())?))
}

/// Who names a PBX has looked at it: its pause is lifted and its findings count as seen.
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
