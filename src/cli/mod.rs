//! The commands: a file each, with its options and what it prints. Each loads what it needs, does its work through the library,
//! and speaks to the operator.

mod accept;
mod backfill;
mod backup;
mod config_check;
mod demo;
pub mod exit;
mod export;
mod feed;
mod handover;
mod ledger;
mod outcome;
mod output;
mod pause;
mod progress;
mod rebuild;
mod reconcile;
mod reconcile_page;
mod retry;
mod run;
mod signals;
mod simulate;
mod status;
pub mod status_page;
mod summary;
mod trust;
mod verify;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use jiff::civil::Date;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tracing_subscriber::EnvFilter;

use crate::service::requests::UsageError;

/// Archives every call recording of a Yeastar S-Series (or compatible) PBX, and can prove it.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Cli {
    /// The configuration
    #[arg(long, global = true, default_value = "/etc/callvault/callvault.toml", env = "CALLVAULT_CONFIG")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 complete; 1 internal error; 2 wrong usage or configuration, disk full, archive \
unusable, or state locked by another callvault; 3 finished, but something listed is not archived; 4 a PBX was unreachable or \
refused callvault; 5 something archived or signed is damaged; 130 interrupted.\n\nSet CALLVAULT_LOG=debug to see each request \
on stderr.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Archive from a simulated PBX: nothing to configure
    Demo(demo::Options),
    /// Archive a range of days, once
    Backfill(backfill::Options),
    /// Show what is not archived yet, what is wrong, and what to do
    Status(status::Options),
    /// Compare what each PBX listed, day by day, with what became of it
    Reconcile(reconcile::Options),
    /// Follow every PBX until stopped: the service
    Run,
    /// Print the ledger as lines of JSON, in order
    Feed(feed::Options),
    /// Stop working on a PBX until it is resumed
    Pause(pause::Options),
    /// Work on a paused PBX again
    Resume(pause::Options),
    /// Try again what was given up, and lift a PBX's pause
    Retry(retry::Options),
    /// Accept a day's call list as it is, or a file found in the place of a recording; the ledger keeps the reason
    Accept(accept::Options),
    /// Rebuild the database from the archive and the ledger; the former database is kept
    Rebuild(rebuild::Options),
    /// Back up everything that the archive does not hold: database, keys and configuration, readable by their owner only
    Backup(backup::Options),
    /// Show the certificate of a PBX, and pin its key
    Trust(trust::Options),
    /// Check that the archive is unchanged, and name what is not
    Verify(verify::Options),
    /// Export recordings with their proofs, as a folder or ZIP that others can check without callvault
    Export(export::Options),
    /// Show, prove and check the ledger of everything that happened to the archive
    Ledger(ledger::Options),
    /// Check the configuration
    Config {
        #[command(subcommand)]
        command: config_check::Command,
    },
    /// Run a simulated PBX, to rehearse and to test
    Simulate(Box<simulate::Options>),
}

/// `--json`, of every command that has something to print.
#[derive(Debug, Clone, Copy, Default, Args)]
struct Json {
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// `--pbx`, of commands that work on some PBXs.
#[derive(Debug, Clone, Default, Args)]
struct Pbxs {
    /// Only this PBX; may be given more than once
    #[arg(long, value_name = "ID")]
    pbx: Vec<String>,
}

/// The last day of a range whose first day means something else in each command.
#[derive(Debug, Clone, Copy, Default, Args)]
struct To {
    /// The last day, included
    #[arg(long, value_name = "DATE")]
    to: Option<Date>,
}

/// Runs the command line that this process was started with.
pub fn main() -> ExitCode {
    keep_memory_private();
    keep_out_others();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    log_to_stderr(matches!(cli.command, Command::Run));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::fail(&anyhow::Error::new(error).context("starting the threads"), false),
    };
    let Cli { config, command } = cli;
    runtime.block_on(async {
        match command {
            Command::Demo(options) => demo::run(options).await,
            Command::Backfill(options) => {
                let (request, json) = options.into_request();
                handover::run(&config, request, json).await
            }
            Command::Status(options) => status::run(&config, options).await,
            Command::Reconcile(options) => reconcile::run(&config, options).await,
            Command::Run => run::run(&config).await,
            Command::Feed(options) => feed::run(&config, options).await,
            Command::Pause(options) => pause::pause(&config, options).await,
            Command::Resume(options) => pause::resume(&config, options).await,
            Command::Retry(options) => retry::run(&config, options).await,
            Command::Accept(options) => accept::run(&config, options).await,
            Command::Rebuild(options) => rebuild::run(&config, options).await,
            Command::Backup(options) => backup::run(&config, options).await,
            Command::Trust(options) => trust::run(&config, options).await,
            Command::Verify(options) => verify::run(&config, options).await,
            Command::Export(options) => export::run(&config, options).await,
            Command::Ledger(options) => ledger::run(&config, options).await,
            Command::Config { command } => config_check::run(&config, command),
            Command::Simulate(options) => simulate::run(*options).await,
        }
    })
}

/// Passwords and tokens in use are in memory. So the kernel writes no core of it, neither to a file nor to a program that
/// collects cores, whatever the limits are; and no other process of the same user may look into it.
fn keep_memory_private() {
    // Where the kernel will not, the unit's `LimitCORE=0` is left, and the work is more important.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
}

/// The modes that files and folders get are callvault's own decision and not the shell's from which it was started: folders
/// of the archive and of exports are open to the group, whatever is private asks for less by itself, and nothing is open to
/// others.
fn keep_out_others() {
    rustix::process::umask(0o027.into());
}

/// Prints the help that was asked for, or what is wrong with the command line.
fn refuse(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    if !wants_json || !error.use_stderr() {
        error.exit();
    }
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or(&text).trim_start_matches("error: ");
    let sentence = first.split_whitespace().collect::<Vec<_>>().join(" ");
    exit::fail(&UsageError(sentence).into(), true)
}

/// Our own messages from `warn` on, those of the service from `info` on, others' never below: libraries may print
/// addresses with their queries. That a disk is slow is no warning to anybody (`sqlx` counts commits of a second).
fn log_to_stderr(service: bool) {
    const OTHERS: &str = "warn,rustls_platform_verifier=off,sqlx=error";
    let filter = match std::env::var("CALLVAULT_LOG") {
        Ok(level) if !level.contains([',', '=']) => {
            format!("{OTHERS},callvault={level}")
        }
        _ if service => format!("{OTHERS},callvault=info"),
        _ => OTHERS.to_owned(),
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // Messages that nobody can read must not end the work, as a panic about them would.
        .log_internal_errors(false)
        .with_target(false)
        .init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
