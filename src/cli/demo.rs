//! `callvault demo`: a simulated PBX, a few days of calls, archived and checked, with nothing to configure.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use jiff::tz::TimeZone;

use super::{exit, output, progress, signals, summary};
use crate::base::clock::Clock;
use crate::base::digest::Digest;
use crate::base::recording::printable;
use crate::base::users::quoted;
use crate::config::{ArchiveConfig, Config, PbxConfig, QueueConfig, StateConfig, WebConfig};
use crate::pipeline::backfill::{Connections, Request};
use crate::proof::sealed_vault::SealedVault;
use crate::service::backfill::Backfill;
use crate::service::requests::UsageError;
use crate::simulator::{Faults, Simulator, SimulatorOptions};

const PBX: &str = "demo-pbx";
/// Marks a folder as ours to replace.
const MARKER: &str = ".callvault-demo";
const RECORDINGS: u64 = 300;
const DAYS: u32 = 5;
/// One request in so many goes wrong, each in its own way: a PBX on a bad day.
const FAULT: f64 = 0.02;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The folder for the demo's archive and state
    #[arg(long, default_value = "callvault-demo")]
    dir: PathBuf,
    /// Continue with what an earlier demo left there, instead of starting anew
    #[arg(long)]
    keep: bool,
}

/// Runs the demo.
pub(super) async fn run(Options { dir, keep }: Options) -> ExitCode {
    exit::of(demo(&dir, keep).await, false)
}

async fn demo(dir: &Path, keep: bool) -> anyhow::Result<u8> {
    let dir = prepare(dir, keep)?;
    let stop = signals::stop_on_signals()?;
    let simulator = Simulator::start(simulator_options()).await?;
    simulator.set_faults(bad_day());
    output::line(format_args!(
        "A simulated PBX answers at {}: {RECORDINGS} recordings over {DAYS} days.",
        simulator.url()
    ));
    output::line("It is having a bad day: connections break, tickets expire, errors come as HTTP 200.\n");
    let opened = SealedVault::open(config(&dir, &simulator.url())?, Clock::system()).await?;
    let backfill = Backfill::new(&opened, Request::default(), Connections::default(), stop)?;
    let report = backfill.run(&mut progress::Display::new()).await?;
    let vault = &opened.vault;
    summary::print(&report, &vault.config.archive.path, false);
    print_faults(&simulator);
    if report.exit_code(false) != exit::COMPLETE {
        return Ok(report.exit_code(false));
    }
    let example = check(&simulator, &vault.config.archive.path)?;
    print_how_to_check(&vault.config.archive.path, &example);
    simulator.shutdown().await;
    Ok(exit::COMPLETE)
}

/// Makes the demo's folder. Only a folder that an earlier demo marked is ever emptied.
fn prepare(dir: &Path, keep: bool) -> anyhow::Result<PathBuf> {
    let marked = dir.join(MARKER).exists();
    let occupied = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    let shown = dir.display();
    ensure!(
        marked || !occupied,
        UsageError(format!("{shown} holds files that no demo made: choose another folder with --dir"))
    );
    let cannot = |error: std::io::Error| {
        let error = error.to_string();
        let why = error.split(" (os error").next().unwrap_or(&error);
        UsageError(format!("{shown} cannot be the demo's folder ({why}): choose another with --dir"))
    };
    if marked && !keep {
        let message = format!("another demo is running in {shown}: wait for it, or use --dir");
        ensure!(!in_use(dir), UsageError(message));
        fs::remove_dir_all(dir).map_err(cannot)?;
    }
    fs::create_dir_all(dir).map_err(cannot)?;
    fs::write(dir.join(MARKER), "made by `callvault demo`\n").map_err(cannot)?;
    Ok(dir.canonicalize().map_err(cannot)?)
}

/// Whether somebody holds the lock of the demo's state.
fn in_use(dir: &Path) -> bool {
    let lock = fs::File::open(dir.join("state/lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

fn simulator_options() -> SimulatorOptions {
    SimulatorOptions {
        seed: 7,
        recordings: RECORDINGS,
        days: DAYS,
        odd_names: 6,
        size_bytes: (16_000, 240_000),
        ..SimulatorOptions::default()
    }
}

fn bad_day() -> Faults {
    Faults {
        reset: FAULT,
        truncate: FAULT,
        json_body: FAULT,
        html_200: FAULT,
        ticket_expired: FAULT,
        token_revoked: FAULT,
        html_504: FAULT,
        errno_20010: FAULT,
        ..Faults::default()
    }
}

fn config(dir: &Path, url: &str) -> anyhow::Result<Config> {
    let SimulatorOptions { username, password, timezone, .. } = simulator_options();
    let mut pbx = PbxConfig::for_url(PBX, url.parse()?, "v1.1.0".parse()?, username, password);
    pbx.timezone = Some(TimeZone::get(&timezone)?);
    Ok(Config {
        file: dir.join("(demo)"),
        archive: ArchiveConfig { path: dir.join("archive"), free_bytes_min: 64 << 20 },
        state: StateConfig { path: dir.join("state") },
        // The bad day of a simulator passes quickly: no need to wait for minutes.
        queue: QueueConfig { retry_base: std::time::Duration::from_millis(100), ..QueueConfig::default() },
        pbx: vec![pbx],
        // The demo ends before anybody could look.
        web: WebConfig { listen: None, ..WebConfig::default() },
        ..Config::default()
    })
}

fn print_faults(simulator: &Simulator) {
    let counters = simulator.counters();
    let faults: Vec<String> =
        counters.faults.iter().map(|(fault, count)| format!("{count} {fault}")).collect();
    let faults = if faults.is_empty() { "nothing".to_owned() } else { faults.join(", ") };
    output::line(format_args!(
        "\nWhat the PBX counted:
  {:>5} connections at most at one time (it allows 2)
  {:>5} logins
  {:>5} downloads begun, {} tickets used twice
  faults that it injected: {faults}",
        counters.connections_peak, counters.logins_ok, counters.downloads_started, counters.tickets_reused
    ));
}

/// Hashes every archived file again and compares with what the PBX holds; returns one file to listen to.
fn check(simulator: &Simulator, archive: &Path) -> anyhow::Result<PathBuf> {
    let mut found: BTreeMap<Digest, PathBuf> = BTreeMap::new();
    collect(&archive.join(PBX), &mut found)?;
    let truth = simulator.truth();
    for recording in &truth {
        ensure!(
            found.contains_key(&recording.sha256),
            "{} is not in the archive: this demo has failed",
            printable(&recording.name)
        );
    }
    output::line(format_args!(
        "\nChecked: {} files were read again from the disk; every recording that the PBX holds is among them,\n\
         byte for byte ({} recordings).",
        found.len(),
        truth.len()
    ));
    found.into_values().next().context("the archive is empty: this demo has failed")
}

fn collect(folder: &Path, found: &mut BTreeMap<Digest, PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "wav") {
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            found.insert(Digest::of(bytes), path);
        }
    }
    Ok(())
}

fn print_how_to_check(archive: &Path, example: &Path) {
    let folder = example.parent().unwrap_or(archive);
    let shown = |path: &Path| quoted(&path.display().to_string());
    output::line(format_args!(
        "\nIs it real? Look for yourself:
  find {archive} -name '*.wav' | head
  (cd {folder} && sha256sum -c --quiet --strict SHA256SUMS && echo intact)
  cat {example}.json
  ffplay -autoexit {example}
Run `callvault demo --keep --dir {dir}` to see that a second run fetches nothing.",
        archive = shown(archive),
        folder = shown(folder),
        example = shown(example),
        dir = shown(archive.parent().unwrap_or(archive)),
    ));
}
