//! `callvault backfill`: archive a range of days, once.

use std::path::Path;
use std::process::ExitCode;

use super::{exit, progress, signals, summary};
use crate::backfill::{Backfill, Request};
use crate::clock::Clock;
use crate::config::Config;
use crate::vault::Vault;

/// Runs a backfill and tells how it went.
pub async fn run(config: &Path, request: Request, json: bool) -> ExitCode {
    match backfill(config, request, json).await {
        Ok(code) => code,
        Err(error) => exit::fail(&error, json),
    }
}

async fn backfill(config: &Path, request: Request, json: bool) -> anyhow::Result<ExitCode> {
    let config = Config::load(config)?;
    let stop = signals::stop_on_signals()?;
    let vault = Vault::open(config, Clock::system()).await?;
    let dry_run = request.dry_run;
    let backfill = Backfill::new(&vault, request, stop)?;
    let report = progress::watch(&backfill).await?;
    summary::tell(&report, &vault, dry_run, json);
    Ok(ExitCode::from(report.exit_code(dry_run)))
}
