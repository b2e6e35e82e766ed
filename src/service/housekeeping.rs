//! What concerns all PBXs: the agenda, the sums, the history, the proof of progress, and what the service enters into the ledger
//! about itself: that it began and ended, under which choices, and that the clock was set.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::follower::TURN_EVERY;
use super::scheduler::Scheduler;
use super::shared::Shared;
use super::supervisor;
use crate::base::clock::STEP_MIN;
use crate::base::digest::hex;
use crate::pipeline::backfill::own_trouble;
use crate::proof::sealed_vault::SealedVault;
use crate::proof::verify::{Request, Scope, Verification};
use crate::store::agenda::{Job, Todo};
use crate::store::db::Db;
use crate::store::ledger::{self, Entry, EntryType};
use crate::store::{calls, fleet, queue, requests};
use crate::vault::Vault;
use crate::vault::snapshot::{self, Snapshot};

/// How long a loop may go without turning: every wait in it is shorter, all tries of one part of the CDR together.
const STALE_AFTER: Duration = Duration::from_secs(20 * 60);
/// How long a commit may take before it is no progress any more.
const COMMIT_WITHIN: Duration = Duration::from_secs(30);
/// Entries of the ledger after which a checkpoint is due, whatever the time.
const ENTRIES_PER_CHECKPOINT: u64 = 256;
const LOOK_AT_LEDGER_EVERY: Duration = Duration::from_secs(2);

/// Hands out what is due, until it is stopped.
pub(super) async fn keep_agenda(shared: Arc<Shared>, stop: CancellationToken) -> anyhow::Result<()> {
    let clock = shared.vault().clock;
    let mut scheduler = Scheduler::start(shared.tick.clone()).await?;
    let mut tick = shared.tick.listen();
    let mut steps = clock.steps();
    let mut stepped = false;
    while !stop.is_cancelled() {
        tick.forget();
        let now = clock.now();
        let (due, set_back) = shared.look_at_agenda(now);
        if set_back {
            end_waits(&shared).await?;
        }
        match stepped || set_back {
            true => scheduler.arm_again(due, now).await?,
            false => scheduler.arm(due, now).await?,
        }
        stepped = tokio::select! {
            () = tick.rung() => false,
            _ = steps.next() => true,
            () = stop.cancelled() => false,
        };
    }
    scheduler.stop().await;
    Ok(())
}

/// After the clock was set back: nothing waits until it is there again.
async fn end_waits(shared: &Shared) -> anyhow::Result<()> {
    let vault = shared.vault();
    let (db, now) = (&vault.state.db, vault.clock.now());
    db.write(async move |tx| queue::end_waits_by_another_clock(tx, now).await).await?;
    for seat in shared.seats().values() {
        seat.connection.bell.ring();
    }
    Ok(())
}

/// Does what concerns all PBXs, until it is stopped.
pub(super) async fn keep_house(shared: &Shared, todo: &Todo, stop: CancellationToken) -> anyhow::Result<()> {
    let mut bell = todo.listen();
    while !stop.is_cancelled() {
        bell.forget();
        match todo.next() {
            Some(job) => do_job(shared, job, &stop).await?,
            None => tokio::select! {
                () = bell.rung() => {}
                () = tokio::time::sleep(TURN_EVERY) => {}
                () = stop.cancelled() => {}
            },
        }
    }
    Ok(())
}

async fn do_job(shared: &Shared, job: Job, stop: &CancellationToken) -> anyhow::Result<()> {
    let vault = shared.vault();
    let db = &vault.state.db;
    match job {
        Job::Seal => {
            match shared.opened().seal().await {
                Ok(Some(_)) => shared.sealed.ring(),
                Ok(None) => {}
                Err(error) => {
                    let message = own_trouble(error)?.message;
                    warn!("SHA256SUMS and ledger cannot be brought up to date: {message}");
                }
            }
            // It runs every few seconds, and what is behind is remembered anyway.
            return Ok(());
        }
        Job::History => forget_history(shared, db).await?,
        Job::Verify => verify_archive(&shared.opened(), stop).await?,
        Job::Scrub => read_again(&shared.opened(), stop).await?,
        Job::Snapshot => take_snapshot(&vault, stop).await?,
        Job::Sweep | Job::DeepSweep | Job::Nudge | Job::Voicemail => {}
    }
    shared.note_done(job, "").await
}

/// Checks that the archive holds what it should.
async fn verify_archive(opened: &SealedVault, stop: &CancellationToken) -> anyhow::Result<()> {
    let request = Request::of(Scope::Quick);
    match Verification::new(opened, request, stop.clone()).run().await {
        Ok(report) if report.is_clean() => info!("Verified: {} files of the archive are there", report.files),
        Ok(report) => {
            let damaged = report.counts.all();
            warn!(
                "Verified: {damaged} things in the archive are not as they should be; see `callvault status`"
            );
        }
        Err(error) => warn!("The archive cannot be verified: {}", own_trouble(error)?.message),
    }
    Ok(())
}

/// Reads a part of the archive again: its share, so that all is read in time.
async fn read_again(opened: &SealedVault, stop: &CancellationToken) -> anyhow::Result<()> {
    let vault = &opened.vault;
    let (line, now) = (&vault.config.schedule.scrub, vault.clock.now());
    let next = line.next_after(now);
    let period = line.next_after(next).duration_since(next);
    let parts = parts(vault.config.verify.full_days, period);
    // It ends before the next one is due.
    let request = Request { time_limit: Some(period.unsigned_abs()), ..Request::of(Scope::Full) };
    match Verification::new(opened, request, stop.clone()).scrub(parts).await {
        Ok(report) if report.is_clean() => {
            info!("Read {} files of the archive again: all are right", report.files)
        }
        Ok(report) => {
            let damaged = report.counts.all();
            warn!("Read the archive again: {damaged} files are not what they were; see `callvault status`");
        }
        Err(error) => warn!("The archive cannot be read again: {}", own_trouble(error)?.message),
    }
    Ok(())
}

/// In how many parts all is read in time; a tenth fewer than there are runs, for some are missed.
fn parts(full_days: u32, period: SignedDuration) -> u32 {
    let runs = i64::from(full_days) * 86_400 / period.as_secs().max(1);
    u32::try_from(runs * 9 / 10).unwrap_or(u32::MAX).max(1)
}

/// Makes a snapshot of the database. A failure holds nothing up: it is logged, and tried again.
async fn take_snapshot(vault: &Vault, stop: &CancellationToken) -> anyhow::Result<()> {
    let keep = &vault.config.snapshots;
    if !keep.is_on() {
        return Ok(());
    }
    let (state, free_bytes_min) = (&vault.config.state.path, vault.config.archive.free_bytes_min);
    let take = snapshot::take(state, keep, free_bytes_min, vault.clock.now());
    let Some(taken) = stop.run_until_cancelled(take).await else { return Ok(()) };
    let error = taken.as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default();
    match taken {
        Ok(Snapshot { file, .. }) => info!("Kept the database as {}", file.display()),
        Err(_) => warn!("{error}"),
    }
    let db = &vault.state.db;
    db.write(async move |tx| fleet::set_meta(tx, snapshot::LAST_ERROR, &error).await).await
}

/// Forgets what callvault noted of its own work long ago. Nothing of calls and recordings is ever forgotten.
async fn forget_history(shared: &Shared, db: &Db) -> anyhow::Result<()> {
    let vault = shared.vault();
    let now = vault.clock.now();
    let cutoff = now.checked_sub(vault.config.service.history).unwrap_or(jiff::Timestamp::MIN);
    db.write(async move |tx| {
        requests::forget_requests(tx, cutoff).await?;
        ledger::forget_checkpoints(tx, cutoff).await?;
        calls::forget_readings(tx, cutoff).await
    })
    .await
}

/// Proves progress as often as systemd wants it, until it is stopped: the database commits, and every loop has turned.
pub(super) async fn prove_progress(shared: Arc<Shared>, stop: CancellationToken) -> anyhow::Result<()> {
    let every = supervisor::beat_every();
    let mut received = Received::new();
    while !stop.is_cancelled() {
        let status = shared.glance().to_string();
        let hangs = what_hangs(&shared, &mut received).await?;
        shared.makes_progress.store(hangs.is_none(), SeqCst);
        match hangs {
            None => supervisor::alive(&status),
            Some(hanging) => {
                warn!("No progress: {hanging}");
                supervisor::hangs(&format!("no progress: {hanging}"));
            }
        }
        stop.run_until_cancelled(tokio::time::sleep(every)).await;
    }
    Ok(())
}

/// Has the ledger sealed before its time when much has happened: an entry waits for 256 others at most.
pub(super) async fn keep_sealing(shared: Arc<Shared>, stop: CancellationToken) -> anyhow::Result<()> {
    let db = shared.vault().state.db.clone();
    while !stop.is_cancelled() {
        let entries = ledger::size(&mut *db.read().await?).await?;
        let signed = shared.opened().notary.sealed_size();
        if entries.saturating_sub(signed) >= ENTRIES_PER_CHECKPOINT {
            shared.todo.add(Job::Seal);
        }
        stop.run_until_cancelled(tokio::time::sleep(LOOK_AT_LEDGER_EVERY)).await;
    }
    Ok(())
}

/// The bytes that each PBX had sent when that number last changed, and when that was.
type Received = BTreeMap<String, (u64, Instant)>;

async fn what_hangs(shared: &Shared, received: &mut Received) -> anyhow::Result<Option<String>> {
    let vault = shared.vault();
    let now = vault.clock.now();
    let beat = vault.state.db.write(async move |tx| requests::note_beat(tx, now).await);
    match tokio::time::timeout(COMMIT_WITHIN, beat).await {
        Ok(committed) => committed?,
        Err(_) => {
            return Ok(Some(format!("the database did not commit within {} s", COMMIT_WITHIN.as_secs())));
        }
    }
    for (id, seat) in shared.seats() {
        let bytes = seat.connection.client.counters().bytes;
        let seen = received.entry(id.clone()).or_insert((bytes, Instant::now()));
        if seen.0 != bytes {
            *seen = (bytes, Instant::now());
        }
        // What waits for its turn behind a long download moves as long as that does.
        let since = seat.pulse.since().min(seen.1.elapsed());
        if since > STALE_AFTER {
            return Ok(Some(format!("nothing moves at pbx `{id}` since {} min", since.as_secs() / 60)));
        }
    }
    Ok(None)
}

/// Notes that the service begins, or that it has ended in good order.
pub(super) async fn note(vault: &Vault, start_or_stop: EntryType) -> anyhow::Result<()> {
    let entry = Entry::new(start_or_stop, vault.clock.now()).with("version", env!("CARGO_PKG_VERSION"));
    append(vault, entry).await
}

/// Notes the configuration in force, if it is another than the one noted last. The entry shows that it changed, which PBXs
/// are followed, and which rules keep recordings out; not what else it says.
pub(super) async fn note_choices(vault: &Vault) -> anyhow::Result<()> {
    let settings = hex(&vault.state.settings(&vault.config.pbx, &vault.config));
    let ids: Vec<&str> = vault.config.pbx.iter().map(|pbx| pbx.id.as_str()).collect();
    let rules: Vec<&str> = vault.config.exclude.iter().map(|rule| rule.name.as_str()).collect();
    let mut entry = Entry::new(EntryType::Config, vault.clock.now()).with("settings", settings.as_str());
    // A fleet of hundreds would not fit into an entry; then their number must do.
    let fits = |names: &[&str]| names.iter().map(|name| name.len() + 3).sum::<usize>() < 1500;
    entry = if fits(&ids) { entry.with("pbx", ids) } else { entry.with("pbx_count", ids.len()) };
    entry =
        if fits(&rules) { entry.with("exclude", rules) } else { entry.with("exclude_count", rules.len()) };
    let db = &vault.state.db;
    db.write(async move |tx| {
        if fleet::meta(tx, ledger::SETTINGS).await?.as_deref() == Some(&*settings) {
            return Ok(());
        }
        ledger::append(tx, &entry).await?;
        fleet::set_meta(tx, ledger::SETTINGS, &settings).await
    })
    .await
}

/// Notes each step of the clock, until it is stopped.
pub(super) async fn watch_clock(shared: Arc<Shared>, stop: CancellationToken) -> anyhow::Result<()> {
    let clock = shared.vault().clock;
    let mut steps = clock.steps();
    while let Some(step) = stop.run_until_cancelled(steps.next()).await {
        if step.abs() > STEP_MIN {
            warn!("The clock was set by {:+.1} s", step.as_secs_f64());
            let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
            append(&shared.vault(), Entry::new(EntryType::Clock, clock.now()).with("step_ms", step_ms))
                .await?;
        }
    }
    Ok(())
}

async fn append(vault: &Vault, entry: Entry) -> anyhow::Result<()> {
    let append = vault.state.db.write(async move |tx| ledger::append(tx, &entry).await);
    append.await.map(drop)
}
