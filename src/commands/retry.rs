//! `callvault retry`: ask again for what was given up, and lift the pause of a PBX.

use std::path::Path;
use std::process::ExitCode;

use super::exit::UsageError;
use super::{exit, progress, signals, summary};
use crate::backfill::{Backfill, Request};
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
    /// Only these.
    pub names: Vec<String>,
}

/// Puts recordings back into the queue and works on it.
pub async fn run(config: &Path, choice: Choice, json: bool) -> ExitCode {
    match retry(config, choice, json).await {
        Ok(code) => code,
        Err(error) => exit::fail(&error, json),
    }
}

async fn retry(config: &Path, choice: Choice, json: bool) -> anyhow::Result<ExitCode> {
    let config = Config::load(config)?;
    if choice.names.iter().any(String::is_empty) {
        return Err(UsageError("an empty name names no recording: leave it out to retry all".into()).into());
    }
    let stop = signals::stop_on_signals()?;
    let vault = Vault::open(config).await?;
    let unknown = choice.pbx.as_ref().filter(|id| !vault.config.pbx.iter().any(|pbx| pbx.id == **id));
    if let Some(unknown) = unknown {
        return Err(
            UsageError(format!("no pbx `{unknown}` is configured: see `callvault config check`")).into()
        );
    }
    let redriven = redrive(&vault, &choice).await?;
    if !choice.names.is_empty() && redriven.count == 0 {
        let message = format!(
            "no recording that is not archived has the name {}: see `callvault status --json` for those that are owed",
            choice.names.join(", ")
        );
        return Err(UsageError(message).into());
    }
    if !json {
        eprintln!("{} recordings are asked for again.", redriven.count);
    }
    let chosen = choice.pbx.map_or(redriven.pbx, |pbx| vec![pbx]);
    let configured = |id: &String| vault.config.pbx.iter().any(|pbx| pbx.id == *id);
    let request = Request {
        pbx: chosen.into_iter().filter(configured).collect(),
        queue_only: Some(redriven.days.unwrap_or(DayRange::ALL)),
        ..Request::default()
    };
    let backfill = Backfill::new(&vault, request, stop)?;
    let report = progress::watch(&backfill).await?;
    if json {
        exit::print_json(&report);
    } else {
        print!("{}", summary::of(&report, &vault, false));
    }
    Ok(ExitCode::from(report.exit_code(false)))
}

async fn redrive(vault: &Vault, choice: &Choice) -> anyhow::Result<Redriven> {
    let lifted = choice.pbx.clone();
    let what = Redrive {
        pbx: choice.pbx.clone(),
        stuck_only: choice.stuck,
        names: choice.names.iter().filter_map(|name| RecordingName::new(name.as_bytes())).collect(),
    };
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
