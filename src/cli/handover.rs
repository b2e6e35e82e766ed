//! Where an errand is done: here, or by the service that owns the state.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use sqlx::SqliteConnection;
use tokio_util::sync::CancellationToken;

use super::errand::{Audience, Errand, Outcome};
use super::{exit, output, progress, signals};
use crate::base::clock::{self, Clock};
use crate::config::Config;
use crate::pipeline::backfill::{Lines, SiteProgress};
use crate::store::db;
use crate::store::owner;
use crate::vault::Vault;
use crate::vault::exposure;
use crate::vault::state::{self, StateError};

/// How often the service is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How long a service that is started again may take until it says that it is one.
const RESTARTS_WITHIN: Duration = Duration::from_secs(60);

/// Does an errand, wherever that is possible, and prints what came of it.
pub async fn run(config: &Path, errand: Errand, json: bool) -> ExitCode {
    let done = match signals::stop_on_signals() {
        Ok(stop) => do_or_hand_over(config, &errand, stop).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(outcome) => outcome.print(json),
        Err(error) => exit::fail(&error, json),
    }
}

/// The same without printing, until `stop`.
pub(super) async fn do_or_hand_over(
    config: &Path,
    errand: &Errand,
    stop: CancellationToken,
) -> anyhow::Result<Outcome> {
    let config = Config::load(config)?;
    state::refuse_other_user(&config)?;
    exposure::check_before_work(&config)?;
    let mut ended_at: Option<Instant> = None;
    loop {
        match Vault::open(config.clone(), Clock::system()).await {
            Ok(vault) => return errand.execute(&vault, Lines::default(), stop, &Audience::Terminal).await,
            Err(error) if is_locked(&error) && state::is_owned_by_service(&config.state.path) => {}
            // Most likely the service is being started again, and has not said yet that it is one.
            Err(error) if is_locked(&error) && ended_at.is_some_and(|at| at.elapsed() < RESTARTS_WITHIN) => {
                tokio::time::sleep(ASK_EVERY).await;
                continue;
            }
            Err(error) => return Err(error),
        }
        // `None`: the service ended meanwhile, and this process may do it.
        if let Some(outcome) = hand_over(&config, errand, &stop).await? {
            return Ok(outcome);
        }
        ended_at = Some(Instant::now());
    }
}

fn is_locked(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<StateError>(), Some(StateError::Locked(_)))
}

async fn hand_over(
    config: &Config,
    errand: &Errand,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Outcome>> {
    let request = serde_json::to_string(errand).context("writing the request")?;
    let mut db = db::open_for_requests(&config.state.path).await?;
    let id = owner::ask(&mut db, &request, clock::now()).await?;
    if errand.is_long() {
        output::error_line("callvault: handed to the service, which works on these PBXs already");
    }
    let mut display = progress::Display::new();
    let outcome = wait(&mut db, id, config, stop, &mut display).await;
    display.finish();
    outcome
}

async fn wait(
    db: &mut SqliteConnection,
    id: i64,
    config: &Config,
    stop: &CancellationToken,
    display: &mut progress::Display,
) -> anyhow::Result<Option<Outcome>> {
    let mut given_up = false;
    loop {
        let answer = owner::answer(db, id).await?.context("the service has forgotten this request")?;
        if let Some(outcome) = answer.outcome {
            return Ok(Some(serde_json::from_str(&outcome).context("reading what the service answered")?));
        }
        if let Some(progress) = answer.progress {
            let sites: Vec<SiteProgress> = serde_json::from_str(&progress).unwrap_or_default();
            display.update(&sites);
        }
        if stop.is_cancelled() && !std::mem::replace(&mut given_up, true) {
            owner::cancel(db, id).await?;
        }
        if !state::is_owned_by_service(&config.state.path) {
            owner::cancel(db, id).await?;
            return Ok(None);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
