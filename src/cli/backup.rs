//! `callvault backup`: all that the archive does not hold, in a folder for the owner alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::HumanBytes;

use super::{exit, signals};
use crate::base::clock;
use crate::config::Config;
use crate::service::requests::Interrupted;
use crate::vault::backup::{self, Report};

/// What to back up to.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The folder to put it in: one that is not there yet or empty
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Makes a backup, beside the service if it runs, and shows what is in it.
pub(super) async fn run(config: &Path, Options { dir, json }: Options) -> ExitCode {
    exit::finish(make(config, &dir).await, json, |report| (text_of(report), exit::COMPLETE))
}

async fn make(config: &Path, out: &Path) -> anyhow::Result<Report> {
    // Where things are is all that is needed: no secret is read that systemd keeps for the service.
    let config = Config::load_to_trust(config)?;
    let stop = signals::stop_on_signals()?;
    let made = stop.run_until_cancelled(backup::make(&config, out, clock::now())).await;
    made.unwrap_or_else(|| Err(Interrupted.into()))
}

fn text_of(report: &Report) -> String {
    format!(
        "Backed up to {}: {} files, {}, readable by their owner only. RESTORE.txt there says how to restore.\n\
         It contains the key that signs the ledger, and who called whom: encrypt it before it leaves this machine.\n",
        report.path.display(),
        report.files,
        HumanBytes(report.bytes)
    )
}
