//! `callvault retry`: ask again for what was given up, and lift the pause of a PBX.

use std::path::Path;
use std::process::ExitCode;

use super::exit::UsageError;
use super::{exit, progress, signals, summary};
use crate::backfill::{Backfill, Request};
use crate::config::Config;
use crate::fleet;
use crate::queue::{self, Redrive};
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
    let stop = signals::stop_on_signals()?;
    let vault = Vault::open(config).await?;
    let request =
        Request { pbx: choice.pbx.clone().into_iter().collect(), queue_only: true, ..Request::default() };
    let backfill = Backfill::new(&vault, request, stop)?;
    let found = redrive(&vault, &choice).await?;
    if !choice.names.is_empty() && found == 0 {
        let message = format!(
            "no recording that is not archived has the name {}: see `callvault status --json` for those that are owed",
            choice.names.join(", ")
        );
        return Err(UsageError(message).into());
    }
    if !json {
        eprintln!("{found} recordings are asked for again.");
    }
    let report = progress::watch(&backfill).await?;
    if json {
        exit::print_json(&report);
    } else {
        print!("{}", summary::of(&report, &vault, false));
    }
    Ok(ExitCode::from(report.exit_code(false)))
}

async fn redrive(vault: &Vault, choice: &Choice) -> anyhow::Result<u64> {
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
