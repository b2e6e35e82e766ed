//! The command line: every command is a line here and a file in `commands`.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use callvault::cli;
use callvault::pipeline::backfill::Request;
use callvault::proof::export::Choice;
use callvault::proof::verify::Scope;
use clap::{Parser, Subcommand};
use jiff::civil::Date;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tracing_subscriber::EnvFilter;

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

const EXIT_CODES: &str = "Exit codes: 0 complete; 1 internal error; 2 usage or configuration, also disk full, archive \
unusable and lock held; 3 ran, but something listed is not archived; 4 a PBX was unreachable or refused us; \
5 what is archived or signed was damaged; 130 interrupted.\n\nSet CALLVAULT_LOG=debug to see each request on stderr.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Archive from a simulated PBX: nothing to configure
    Demo {
        /// Where to put the demo's archive and state
        #[arg(long, default_value = "callvault-demo")]
        dir: PathBuf,
        /// Go on with what an earlier demo left there, instead of starting anew
        #[arg(long)]
        keep: bool,
    },
    /// Archive a range of days, once
    Backfill {
        /// Only this PBX; may be given more than once
        #[arg(long, value_name = "ID")]
        pbx: Vec<String>,
        /// The first day, by the PBX's calendar; 180 days ago if not given
        #[arg(long, value_name = "DATE")]
        from: Option<Date>,
        /// The last day, included
        #[arg(long, value_name = "DATE")]
        to: Option<Date>,
        /// Read the calls from this CSV file instead of the PBX's API; may be given more than once
        #[arg(long, value_name = "FILE")]
        cdr: Vec<PathBuf>,
        /// Archive voicemail too: all that the boxes hold, of whatever day
        #[arg(long)]
        voicemail: bool,
        /// Read the calls and say what would be fetched; fetch nothing
        #[arg(long)]
        dry_run: bool,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// Tell what is owed, what is wrong, and what to do
    Status {
        /// Only this PBX, in full; may be given more than once
        #[arg(long, value_name = "ID")]
        pbx: Vec<String>,
        /// Redraw it every 2 s, until Ctrl-C
        #[arg(long)]
        watch: bool,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// Compare what each PBX listed, day by day, with what became of it
    Reconcile {
        /// Only this PBX; may be given more than once
        #[arg(long, value_name = "ID")]
        pbx: Vec<String>,
        /// The first day, by the PBX's calendar; without it, the last 180 days that are known
        #[arg(long, value_name = "DATE")]
        from: Option<Date>,
        /// The last day, included
        #[arg(long, value_name = "DATE")]
        to: Option<Date>,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// Follow every PBX until stopped: the service
    Run,
    /// Print the ledger as lines of JSON, in order
    Feed {
        /// Only what comes after the entry of this number
        #[arg(long, value_name = "NUMBER")]
        after: Option<u64>,
        /// Go on with what is new, until Ctrl-C
        #[arg(long)]
        follow: bool,
    },
    /// Leave a PBX alone, until it is resumed
    Pause {
        /// The PBX
        pbx: String,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// Follow a PBX again that was paused
    Resume {
        /// The PBX
        pbx: String,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// Ask again for what was given up, and lift a PBX's pause
    Retry {
        /// Only this PBX; also lifts its pause after a refused password or a lock-out, and notes that you have seen its
        /// findings
        #[arg(long, value_name = "ID")]
        pbx: Option<String>,
        /// Only recordings that are stuck
        #[arg(long)]
        stuck: bool,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
        /// Only recordings of these names
        names: Vec<OsString>,
    },
    /// Take the call list of a day as it is, or a file found in the place of a recording; the ledger keeps that and why
    Accept {
        /// The PBX, and a day by its calendar or the name of a recording; a name alone is looked for on every PBX
        #[arg(value_names = ["PBX", "DAY|NAME"], num_args = 1..=2, required = true)]
        what: Vec<OsString>,
        /// Why, in a sentence that names nobody: it is published with the ledger
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// Make the database anew from the archive and the ledger; the former one is kept
    Rebuild {
        /// Whose database it is to be, where the folders of the archive name several states
        #[arg(long, value_name = "ID")]
        state_id: Option<String>,
        /// A key that is known to have signed the ledger, from outside the archive; may be given several times
        #[arg(long, value_name = "KEY")]
        vkey: Vec<String>,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// Copy all that the archive does not hold, beside the service too: database, keys and configuration, for their owner
    /// alone
    Backup(cli::backup::Options),
    /// Show the certificate of a PBX, and pin its key
    Trust {
        /// The PBX
        #[arg(value_name = "PBX")]
        pbx: String,
        /// Pin without asking, if the certificate or its key has this SHA-256
        #[arg(long, value_name = "SHA256")]
        fingerprint: Option<String>,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// Look whether the archive is still what it was, and name what is not
    Verify {
        /// Read every byte: not only whether everything is there, with its size
        #[arg(long)]
        full: bool,
        /// Whether everything is there, with its size, and nothing else; this is the default
        #[arg(long, conflicts_with = "full")]
        quick: bool,
        /// Only this PBX; may be given more than once
        #[arg(long, value_name = "ID")]
        pbx: Vec<String>,
        /// Begin nothing more after this time, such as 8h; the next full verification goes on with the longest unread
        #[arg(long, value_name = "TIME", value_parser = cli::verify::parse_time_limit)]
        time_limit: Option<Duration>,
        /// Move what is altered or unlisted to quarantine; nothing is deleted
        #[arg(long)]
        quarantine: bool,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// Give recordings away, with all that proves them: a folder or ZIP that others check without callvault
    Export {
        /// Where to put it: a folder that is not there yet or empty; with --zip, the name of the file
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The first day, by the PBX's calendar; from the beginning if not given
        #[arg(long, value_name = "DATE")]
        from: Option<Date>,
        /// The last day, included
        #[arg(long, value_name = "DATE")]
        to: Option<Date>,
        /// Only of this PBX; may be given more than once
        #[arg(long, value_name = "ID")]
        pbx: Vec<String>,
        /// Only calls with this extension on either side; may be given more than once
        #[arg(long, value_name = "EXTENSION")]
        extension: Vec<String>,
        /// Only calls with this number on either side, or dialled from outside; may be given more than once
        #[arg(long, value_name = "NUMBER")]
        number: Vec<String>,
        /// Exactly the recordings that this file names, one name or path a line; `-` reads stdin
        #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to", "extension", "number"])]
        list: Option<PathBuf>,
        /// Voicemail messages too
        #[arg(long)]
        voicemail: bool,
        /// One ZIP file instead of a folder
        #[arg(long)]
        zip: bool,
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
    /// Show, prove and check the ledger of all that happened to the archive
    Ledger {
        #[command(subcommand)]
        command: Option<LedgerCommand>,
        /// Print one JSON object on stdout
        #[arg(long, global = true)]
        json: bool,
    },
    /// Look at the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Play a PBX, to rehearse and to test
    Simulate(Box<cli::simulate::Options>),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Tell everything that is wrong with the configuration, at once
    Check {
        /// Print one JSON object on stdout
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Tell what it is called, what of it is signed, and by which keys
    Show,
    /// Print the proof that something is in it, for any verifier of C2SP tlog-proofs
    Prove {
        /// A recording's name, the path of its audio in the archive, or the number of an entry
        what: OsString,
    },
    /// Check every published file of it against its entries and its signature
    Check,
    /// Let a new key sign it; the former one signs beside it for 30 days
    RotateKey,
}

#[tokio::main]
async fn main() -> ExitCode {
    keep_memory_private();
    keep_out_others();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    log_to_stderr(matches!(cli.command, Command::Run));
    match cli.command {
        Command::Demo { dir, keep } => cli::demo::run(&dir, keep).await,
        Command::Backfill { pbx, from, to, cdr, voicemail, dry_run, json } => {
            let request = Request { pbx, from, to, cdr, voicemail, dry_run, queue_only: None };
            cli::backfill::run(&cli.config, request, json).await
        }
        Command::Run => cli::run::run(&cli.config).await,
        Command::Feed { after, follow } => {
            cli::feed::run(&cli.config, cli::feed::Options { after, follow }).await
        }
        Command::Pause { pbx, json } => cli::pause::pause(&cli.config, pbx, json).await,
        Command::Resume { pbx, json } => cli::pause::resume(&cli.config, pbx, json).await,
        Command::Status { pbx, watch, json } => {
            cli::status::run(&cli.config, cli::status::Options { pbx, watch, json }).await
        }
        Command::Reconcile { pbx, from, to, json } => {
            let options = cli::reconcile::Options { pbx, from, to, json };
            cli::reconcile::run(&cli.config, options).await
        }
        Command::Retry { pbx, stuck, json, names } => {
            let names = names.into_iter().map(OsString::into_vec).collect();
            let choice = callvault::service::requests::Retry { pbx, stuck, names };
            cli::retry::run(&cli.config, choice, json).await
        }
        Command::Accept { what, reason, json } => {
            let what = cli::accept::parse(&what);
            cli::accept::run(&cli.config, callvault::service::requests::Accept { what, reason }, json).await
        }
        Command::Rebuild { state_id, vkey: vkeys, json } => {
            let request = callvault::proof::rebuild::Request { state_id, vkeys };
            cli::rebuild::run(&cli.config, request, json).await
        }
        Command::Backup(options) => cli::backup::run(&cli.config, options).await,
        Command::Trust { pbx, fingerprint, json } => {
            cli::trust::run(&cli.config, cli::trust::Choice { pbx, fingerprint }, json).await
        }
        Command::Verify { full, quick: _, pbx, time_limit, quarantine, json } => {
            let scope = if full { Scope::Full } else { Scope::Quick };
            let request = callvault::proof::verify::Request { scope, pbx, time_limit, quarantine };
            cli::verify::run(&cli.config, request, json).await
        }
        Command::Export { out, from, to, pbx, extension, number, list, voicemail, zip, json } => {
            let choice = Choice { pbx, from, to, extension, number, list: None, voicemail };
            let request = callvault::proof::export::Request { choice, out, zip };
            cli::export::run(&cli.config, cli::export::Options { request, list, json }).await
        }
        Command::Ledger { command, json } => match command.unwrap_or(LedgerCommand::Show) {
            LedgerCommand::Show => cli::ledger::show(&cli.config, json).await,
            LedgerCommand::Prove { what } => cli::ledger::prove(&cli.config, &what.into_vec(), json).await,
            LedgerCommand::Check => cli::ledger::check(&cli.config, json).await,
            LedgerCommand::RotateKey => cli::ledger::rotate(&cli.config, json).await,
        },
        Command::Config { command: ConfigCommand::Check { json } } => {
            cli::config_check::run(&cli.config, json)
        }
        Command::Simulate(options) => cli::simulate::run(*options).await,
    }
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
    let told = text.split("\n\n").next().unwrap_or(&text).trim_start_matches("error: ");
    let sentence = told.split_whitespace().collect::<Vec<_>>().join(" ");
    cli::exit::fail(&callvault::service::requests::UsageError(sentence).into(), true)
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
