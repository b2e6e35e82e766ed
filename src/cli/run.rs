//! `callvault run`: the service.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{exit, signals};
use crate::base::clock::Clock;
use crate::config::{Config, ConfigErrors};
use crate::service::{Orders, Service};
use crate::store::db;
use crate::vault::exposure;
use crate::vault::state::{self, StateError};

/// Follows every configured PBX until SIGTERM or SIGINT; SIGHUP reads the configuration again. Exits 0 at its end.
///
/// Its supervisor starts it again after exit code 1 and not after 2. So 2 is only what no time mends: a configuration
/// with mistakes, or the wrong user. A full disk, an archive that is not mounted yet or a state that another process still holds may pass.
pub(super) async fn run(config: &Path) -> ExitCode {
    match follow(config).await {
        Ok(()) => ExitCode::from(exit::COMPLETE),
        Err(error) if error.is::<ConfigErrors>() || is_another_users(&error) => exit::fail(&error, false),
        Err(error) => {
            exit::fail(&error, false);
            ExitCode::from(exit::INTERNAL)
        }
    }
}

fn is_another_users(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StateError::OtherUser { .. } | StateError::OtherUsersFile { .. }))
}

async fn follow(file: &Path) -> anyhow::Result<()> {
    // Nothing is opened before the configuration is known to be right. What concerns the listener alone keeps an
    // installation that has it already from nothing: it is told by an alert.
    let config = Config::load(file)?;
    if matches!(db::database_file(&config.state.path).try_exists(), Ok(false)) {
        Config::load_to_check(file)?;
    }
    state::refuse_other_user(&config)?;
    exposure::check_before_work(&config)?;
    let stop = signals::stop_on_signals()?;
    let reload = reload_on_hangup(file.to_owned(), stop.clone())?;
    let count = config.pbx.len();
    let service = Service::open(config, Clock::system()).await?;
    info!("callvault {} follows {count} PBXs", env!("CARGO_PKG_VERSION"));
    service.run(Orders { stop, reload }).await?;
    info!("callvault has ended in good order");
    Ok(())
}

/// Reads the configuration again on each SIGHUP.
fn reload_on_hangup(
    file: PathBuf,
    stop: CancellationToken,
) -> anyhow::Result<mpsc::Receiver<Result<Config, String>>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while stop.run_until_cancelled(hangup.recv()).await.is_some() {
            let loaded = Config::load(&file).map_err(|errors| errors.to_string());
            if sender.send(loaded).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
