//! `callvault status`: what is owed, what is wrong, what to do. Reads only; works beside whoever holds the lock.

use std::collections::HashSet;
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sqlx::SqlitePool;
use tokio::signal::unix::{SignalKind, signal};

use super::{exit, output, status_page};
use crate::base::clock;
use crate::config::Config;
use crate::service::backfill;
use crate::service::requests::UsageError;
use crate::store::db;
use crate::watch::status::{PbxStatus, Reader, Status};

const REDRAW_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Only this PBX, in full; may be given more than once
    #[arg(long, value_name = "ID")]
    pbx: Vec<String>,
    /// Redraw it every 2 s, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Tells the state of everything. Exits 2 if the archive is in trouble, 4 if a PBX is or its lists may lack calls, 3 if
/// something is owed, else 0.
pub(super) async fn run(config: &Path, options: Options) -> ExitCode {
    let json = options.json;
    exit::of(status(config, options).await, json)
}

async fn status(config: &Path, options: Options) -> anyhow::Result<u8> {
    let is_terminal = std::io::stdout().is_terminal() && !options.json;
    let message = "--watch redraws a terminal: leave it out where another program reads the output";
    ensure!(is_terminal || !options.watch, UsageError(message.to_owned()));
    let config = Config::load(config)?;
    backfill::chosen(&options.pbx, &config.pbx)?;
    let mut source = Source { reader: Reader::new(&config), pool: None, config };
    match options.watch {
        true => watch(&mut source, &options.pbx).await,
        false => {
            let status = chosen(source.read().await?, &options.pbx);
            match options.json {
                true => exit::print_json(&status),
                false => output::text(&status_page::of(&status, !options.pbx.is_empty())),
            }
            Ok(code_of(&status))
        }
    }
}

/// Redraws until Ctrl-C, which is how one leaves: no failure.
async fn watch(source: &mut Source, pbx: &[String]) -> anyhow::Result<u8> {
    /// Cursor home, and all below it cleared.
    const FROM_THE_TOP: &str = "\x1b[H\x1b[2J";
    // One listener from the start: it remembers a Ctrl-C that comes while the page is being read and drawn.
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    loop {
        let status = chosen(source.read().await?, pbx);
        output::text(&format!("{FROM_THE_TOP}{}", status_page::of(&status, !pbx.is_empty())));
        tokio::select! {
            _ = interrupt.recv() => return Ok(exit::COMPLETE),
            () = tokio::time::sleep(REDRAW_EVERY) => {}
        }
    }
}

/// Where the state is read. The database may come into being while we watch.
struct Source {
    config: Config,
    reader: Reader,
    pool: Option<SqlitePool>,
}

impl Source {
    async fn read(&mut self) -> anyhow::Result<Status> {
        let now = clock::now();
        if self.pool.is_none() {
            self.pool = db::open_read_only(&self.config.state.path).await?;
        }
        let Some(pool) = &self.pool else {
            return Ok(Status::before_the_first_run(&self.config, now).await);
        };
        let mut connection = pool.acquire().await.context("opening the database")?;
        self.reader.read(&mut connection, now).await
    }
}

/// Keeps the PBXs asked for; all if none was.
fn chosen(mut status: Status, pbx: &[String]) -> Status {
    if !pbx.is_empty() {
        let wanted: HashSet<&String> = pbx.iter().collect();
        status.pbx.retain(|id, _| wanted.contains(id));
        status.needs_attention.retain(|id| wanted.contains(id));
    }
    status
}

fn code_of(status: &Status) -> u8 {
    if status.archive.error.is_some() {
        exit::USAGE
    } else if status.pbx.values().any(|pbx| pbx.error.is_some() || pbx.may_lack_calls()) {
        exit::UNREACHABLE
    } else if status.pbx.is_empty() || status.pbx.values().any(PbxStatus::owes) {
        exit::OWED
    } else {
        exit::COMPLETE
    }
}
