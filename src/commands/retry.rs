//! `callvault retry`: ask again for what was given up, and lift the pause of a PBX.

use std::path::Path;
use std::process::ExitCode;

use super::exit::UsageError;
use super::summary::count;
use super::{exit, output, progress, signals, summary};
use crate::backfill::{Backfill, BackfillReport, RangeError, Request};
use crate::clock::Clock;
use crate::config::Config;
use crate::fleet;
use crate::queue::{self, DayRange, Redrive, Redriven};
use crate::recording::RecordingName;
use crate::vault::Vault;

/// What to retry.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Only this PBX; its pause is lifted.
    pub pbx: Option<String>,
    /// Only stuck recordings.
    pub stuck: bool,
    /// Only these; a recording's name may hold any bytes.
    pub names: Vec<Vec<u8>>,
}

impl Choice {
    fn parse(self) -> Result<Redrive, UsageError> {
        let empty = || UsageError("a NAME is empty: leave it out to retry all recordings".to_owned());
        let names = self.names.into_iter().map(|name| RecordingName::new(name).ok_or_else(empty));
        Ok(Redrive { pbx: self.pbx, stuck_only: self.stuck, names: names.collect::<Result<_, _>>()? })
    }
}

/// Puts recordings back into the queue and works on it.
pub async fn run(config: &Path, choice: Choice, json: bool) -> ExitCode {
    match retry(config, choice, json).await {
        Ok(code) => code,
        Err(error) => exit::fail(&error, json),
    }
}

async fn retry(config: &Path, choice: Choice, json: bool) -> anyhow::Result<ExitCode> {
    let what = choice.parse()?;
    let config = Config::load(config)?;
    let stop = signals::stop_on_signals()?;
    let vault = Vault::open(config, Clock::system()).await?;
    let configured = |id: &String| vault.config.pbx.iter().any(|pbx| pbx.id == *id);
    if let Some(unknown) = what.pbx.as_ref().filter(|id| !configured(id)) {
        return Err(RangeError::unknown_pbx(unknown, &vault.config.pbx).into());
    }
    let redriven = redrive(&vault, what.clone()).await?;
    if !what.names.is_empty() && redriven.count == 0 {
        let message = format!(
            "nothing to retry under {}: it is archived, excluded by a rule, or unknown (with --stuck: not stuck)",
            what.names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        );
        return Err(UsageError(message).into());
    }
    if !json {
        output::error_line(format_args!("Asking again for {}.", count(redriven.count, "recording")));
    }
    // What was put back chooses where to work, unless the operator chose: an empty choice would mean every PBX.
    let chosen: Vec<String> = what.pbx.map_or(redriven.pbx, |pbx| vec![pbx]);
    let chosen: Vec<String> = chosen.into_iter().filter(configured).collect();
    if chosen.is_empty() && (what.stuck_only || redriven.count > 0) {
        let message = match redriven.count {
            0 => "nothing is stuck".to_owned(),
            _ => "what was put back belongs to PBXs that are not configured any more".to_owned(),
        };
        output::error_line(format_args!("There is nothing to do: {message}."));
        if json {
            exit::print_json(&BackfillReport::default());
        }
        return Ok(ExitCode::from(exit::COMPLETE));
    }
    let request = Request {
        pbx: chosen,
        queue_only: Some(redriven.days.unwrap_or(DayRange::ALL)),
        ..Request::default()
    };
    let backfill = Backfill::new(&vault, request, stop)?;
    let report = progress::watch(&backfill).await?;
    summary::tell(&report, &vault, false, json);
    Ok(ExitCode::from(report.exit_code(false)))
}

async fn redrive(vault: &Vault, what: Redrive) -> anyhow::Result<Redriven> {
    let lifted = what.pbx.clone();
    vault
        .state
        .db
        .write(move |tx| {
            Box::pin(async move {
                if let Some(pbx) = lifted {
                    fleet::clear_problem(tx, &pbx).await?;
                }
                queue::redrive(tx, &what).await
            })
        })
        .await
}
