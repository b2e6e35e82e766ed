//! What the service tells the ledger of itself: that it began and ended, under which choices, and that the clock was set.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::shared::Shared;
use crate::base::clock::Clock;
use crate::base::digest::hex;
use crate::store::fleet;
use crate::store::ledger::{self, Entry, EntryType};
use crate::vault::Vault;

/// How often the clock is compared with one that nobody can set.
const COMPARE_EVERY: Duration = Duration::from_secs(10);
/// Clocks drift apart by less than this between two looks; a larger step was made.
const STEP_MS: i64 = 2000;

/// Notes that the service begins, and its choices if they are others than before.
pub(super) async fn note_start(vault: &Vault) -> anyhow::Result<()> {
    let entry = Entry::new(EntryType::Start, vault.clock.now()).with("version", env!("CARGO_PKG_VERSION"));
    append(vault, entry).await?;
    note_choices(vault).await
}

/// Notes that the service has ended in good order.
pub(super) async fn note_stop(vault: &Vault) -> anyhow::Result<()> {
    let entry = Entry::new(EntryType::Stop, vault.clock.now()).with("version", env!("CARGO_PKG_VERSION"));
    append(vault, entry).await
}

/// Notes the configuration in force, if it is another than the one noted last. The entry shows that it changed, which PBXs
/// are followed, and which rules keep recordings out; not what else it says.
pub(super) async fn note_choices(vault: &Vault) -> anyhow::Result<()> {
    let settings = hex(&vault.state.settings_of_all(&vault.config));
    let ids: Vec<&str> = vault.config.pbx.iter().map(|pbx| pbx.id.as_str()).collect();
    let rules: Vec<&str> = vault.config.exclude.iter().map(|rule| rule.name.as_str()).collect();
    let mut entry = Entry::new(EntryType::Config, vault.clock.now()).with("settings", settings.as_str());
    // A fleet of hundreds would not fit into an entry; then their number must do.
    let fits = |names: &[&str]| names.iter().map(|name| name.len() + 3).sum::<usize>() < 1500;
    entry = if fits(&ids) { entry.with("pbx", ids) } else { entry.with("pbx_count", ids.len()) };
    entry =
        if fits(&rules) { entry.with("exclude", rules) } else { entry.with("exclude_count", rules.len()) };
    vault
        .state
        .db
        .write(async move |tx| {
            if fleet::meta(tx, ledger::SETTINGS).await?.as_deref() == Some(&*settings) {
                return Ok(());
            }
            ledger::append(tx, &entry).await?;
            fleet::set_meta(tx, ledger::SETTINGS, &settings).await
        })
        .await
}

/// Notes each step of the clock, until it is stopped.
pub(super) async fn watch_clock(shared: &Shared, stop: &CancellationToken) -> anyhow::Result<()> {
    let clock = shared.vault().clock;
    let mut before = Moment::of(&clock);
    while !stop.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(COMPARE_EVERY) => {}
            () = stop.cancelled() => return Ok(()),
        }
        let now = Moment::of(&clock);
        let step_ms = now.step_ms_since(&before);
        before = now;
        if step_ms.abs() > STEP_MS {
            warn!("The clock was set by {:+.1} s", step_ms as f64 / 1000.0);
            let entry = Entry::new(EntryType::Clock, clock.now()).with("step_ms", step_ms);
            append(&shared.vault(), entry).await?;
        }
    }
    Ok(())
}

/// What both clocks showed at one moment.
struct Moment {
    wall: Timestamp,
    steady: Instant,
}

impl Moment {
    /// Reads the one between two looks at the other. A machine that was busy in between is looked at again: the step would
    /// be its own.
    fn of(clock: &Clock) -> Self {
        loop {
            let steady = Instant::now();
            let wall = clock.now();
            if steady.elapsed() < Duration::from_millis(100) {
                return Self { wall, steady };
            }
        }
    }

    /// By how much the wall's clock was set in between.
    fn step_ms_since(&self, before: &Self) -> i64 {
        let passed = self.steady.duration_since(before.steady).as_millis();
        let shown = self.wall.as_millisecond().saturating_sub(before.wall.as_millisecond());
        shown.saturating_sub(i64::try_from(passed).unwrap_or(i64::MAX))
    }
}

async fn append(vault: &Vault, entry: Entry) -> anyhow::Result<()> {
    let append = vault.state.db.write(async move |tx| ledger::append(tx, &entry).await);
    append.await.map(drop)
}
