//! `callvault rebuild`: rebuilds the database from the archive and the ledger.

use std::convert::Infallible;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use askama::Template;
use indicatif::HumanCount;

use super::status_page::numbers;
use super::{exit, output, signals};
use crate::base::clock;
use crate::base::counts::Counts;
use crate::config::Config;
use crate::proof::rebuild::{self, Progress, Report, Request, Trust};
use crate::service::requests::Interrupted;
use crate::vault::state::{self, StateError};

/// How often progress is shown.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Damaged parts that are shown; `--json` names more.
const DAMAGE_SHOWN: usize = 20;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Which state's database to rebuild, if the folders of the archive name several
    #[arg(long, value_name = "ID")]
    state_id: Option<String>,
    /// A key that you know signed the ledger, from outside the archive; may be given more than once
    #[arg(long = "vkey", value_name = "KEY")]
    vkeys: Vec<String>,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Rebuilds the database and shows the result. Exits 5 if anything was damaged.
pub(super) async fn run(config: &Path, Options { state_id, vkeys, json }: Options) -> ExitCode {
    exit::finish(rebuild(config, Request { state_id, vkeys }).await, json, |report| {
        (text_of(report), if report.damaged > 0 { exit::DAMAGED } else { exit::COMPLETE })
    })
}

async fn rebuild(config: &Path, request: Request) -> anyhow::Result<Report> {
    let config = Config::load(config)?;
    state::refuse_other_user(&config)?;
    let stop = signals::stop_on_signals()?;
    let (began, progress) = (Instant::now(), Arc::<Progress>::default());
    let rebuilt = tokio::select! {
        rebuilt = rebuild::rebuild(&config, &request, progress.clone(), clock::now()) => rebuilt,
        () = stop.cancelled() => Err(Interrupted.into()),
        never = show(&progress) => match never {},
    };
    match rebuilt {
        Ok(report) => Ok(Report { elapsed_s: began.elapsed().as_secs_f64(), ..report }),
        Err(error) if is_served(&error, &config.state.path) => {
            Err(StateError::Served(config.state.path).into())
        }
        Err(error) => Err(error),
    }
}

/// Whether it is the service that has the state: the work cannot be handed to it, for it needs the state to itself.
fn is_served(error: &anyhow::Error, state: &Path) -> bool {
    matches!(error.downcast_ref(), Some(StateError::Locked(_))) && state::is_owned_by_service(state)
}

/// Shows progress now and then.
async fn show(progress: &Progress) -> Infallible {
    loop {
        tokio::time::sleep(LINE_EVERY).await;
        let [files, lines, entries] = progress.counts().map(HumanCount);
        output::error_line(format_args!(
            "callvault: {files} archived files found, {lines} lines of call lists read, {entries} entries replayed"
        ));
    }
}

#[derive(Template)]
#[template(path = "rebuild.txt", whitespace = "preserve")]
struct Page<'a> {
    report: &'a Report,
}

fn text_of(report: &Report) -> String {
    Page { report }.render().expect("writing to a String cannot fail") + "\n"
}

fn states(counts: &Counts) -> String {
    let states = numbers(counts);
    if states.is_empty() { "none".to_owned() } else { states.join(", ") }
}

fn human(count: &i64) -> HumanCount {
    HumanCount(u64::try_from(*count).unwrap_or(0))
}
