//! Where a request is executed: in this process, or by the service that owns the state.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio_util::sync::CancellationToken;

use super::{exit, outcome, output, progress, signals};
use crate::base::clock::{self, Clock};
use crate::config::Config;
use crate::pipeline::backfill::Connections;
use crate::pipeline::site::SiteProgress;
use crate::proof::sealed_vault::SealedVault;
use crate::service::requests::{Outcome, Request};
use crate::store::db;
use crate::store::requests;
use crate::vault::exposure;
use crate::vault::state::{self, StateError};

/// How often the service is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How long a service that is started again may take until it says that it is one.
const RESTARTS_WITHIN: Duration = Duration::from_secs(60);

/// Who executes a request.
enum Executor {
    /// This process, which has opened state and archive.
    Us(Box<SealedVault>),
    /// The service did: its answer.
    Service(Outcome),
}

/// Executes a request, wherever that is possible, and prints what came of it.
pub(super) async fn run(config: &Path, request: Request, json: bool) -> ExitCode {
    let done = async {
        let (config, stop) = (Config::load(config)?, signals::stop_on_signals()?);
        let outcome = match open_or_hand_over(&config, &request, &stop).await? {
            Executor::Us(opened) => {
                let display = &mut progress::Display::new();
                request.execute(&opened, Connections::default(), stop, display).await?
            }
            Executor::Service(outcome) => outcome,
        };
        Ok((outcome, config))
    };
    match done.await {
        Ok((outcome, config)) => outcome::print(&outcome, &config, json),
        Err(error) => exit::fail(&error, json),
    }
}

/// The same without printing, until `stop`. What ended the request is an error, wherever it was executed.
///
/// # Errors
/// A [`Failure`](crate::service::requests::Failure) of the service, or the error of this process.
pub(super) async fn execute(config: &Config, request: &Request, stop: CancellationToken) -> Result<Outcome> {
    match open_or_hand_over(config, request, &stop).await? {
        Executor::Us(opened) => {
            request.execute(&opened, Connections::default(), stop, &mut progress::Display::new()).await
        }
        Executor::Service(outcome) => Ok(outcome),
    }
}

async fn open_or_hand_over(config: &Config, request: &Request, stop: &CancellationToken) -> Result<Executor> {
    state::refuse_other_user(config)?;
    exposure::check_before_work(config)?;
    let mut ended_at: Option<Instant> = None;
    loop {
        match SealedVault::open(config.clone(), Clock::system()).await {
            Ok(opened) => return Ok(Executor::Us(Box::new(opened))),
            Err(error) if is_locked(&error) && state::is_owned_by_service(&config.state.path) => {}
            // Most likely the service is being started again, and has not said yet that it is one.
            Err(error) if is_locked(&error) && ended_at.is_some_and(|at| at.elapsed() < RESTARTS_WITHIN) => {
                tokio::time::sleep(ASK_EVERY).await;
                continue;
            }
            Err(error) => return Err(error),
        }
        // `None`: the service ended meanwhile, and this process may do it.
        match hand_over(config, request, stop).await? {
            Some(Outcome::Failed(failure)) => return Err(failure.into()),
            Some(outcome) => return Ok(Executor::Service(outcome)),
            None => {}
        }
        ended_at = Some(Instant::now());
    }
}

fn is_locked(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<StateError>(), Some(StateError::Locked(_)))
}

async fn hand_over(config: &Config, request: &Request, stop: &CancellationToken) -> Result<Option<Outcome>> {
    let text = serde_json::to_string(request).context("writing the request")?;
    let mut db = db::open_for_requests(&config.state.path).await?;
    let id = requests::ask(&mut db, &text, clock::now()).await?;
    if request.is_long() {
        output::error_line("callvault: handed to the service, which already works on these PBXs");
    }
    let (mut display, mut given_up) = (progress::Display::new(), false);
    loop {
        let answer = requests::answer(&mut db, id).await?;
        let answer = answer.context("the service has lost this request: run the command again")?;
        if let Some(outcome) = answer.outcome {
            return Ok(Some(Outcome::from_answer(&outcome).context("reading what the service answered")?));
        }
        if let Some(progress) = answer.progress {
            let sites: Vec<SiteProgress> = serde_json::from_str(&progress).unwrap_or_default();
            display.update(&sites);
        }
        if stop.is_cancelled() && !std::mem::replace(&mut given_up, true) {
            requests::cancel(&mut db, id).await?;
        }
        if !state::is_owned_by_service(&config.state.path) {
            requests::cancel(&mut db, id).await?;
            return Ok(None);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
