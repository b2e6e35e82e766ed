//! `callvault feed`: the ledger as lines of JSON. Reads only; works beside whoever holds the lock.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use sqlx::SqlitePool;
use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;
use tokio::signal::unix::{SignalKind, signal};

use super::exit;
use crate::base::blocking::on_thread;
use crate::config::Config;
use crate::http::feed::{self, Page};
use crate::service::requests::UsageError;
use crate::store::db;

/// How often it is looked for something new.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Entries that are in memory at one time: a megabyte at most.
const ENTRIES_AT_ONCE: u64 = 256;

#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Options {
    /// Only entries after the one of this number
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
    /// Continue with new entries, until Ctrl-C
    #[arg(long)]
    follow: bool,
}

/// Prints the ledger. Exits 0 at its end; where it follows, after Ctrl-C and when nobody reads any more.
pub(super) async fn run(config: &Path, options: Options) -> ExitCode {
    exit::of(feed(config, options).await.map(|()| exit::COMPLETE), false)
}

async fn feed(config: &Path, options: Options) -> anyhow::Result<()> {
    let config = Config::load(config)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    tokio::select! {
        copied = copy(&config.state.path, options) => copied,
        () = reader_is_gone() => Ok(()),
        _ = interrupt.recv() => {
            let code = if options.follow { exit::COMPLETE } else { exit::INTERRUPTED };
            // Not by returning: the runtime would wait for a write that a reader holds up who stopped reading.
            std::process::exit(code.into())
        }
    }
}

/// Copies the ledger to stdout: to its end, or for ever.
async fn copy(state: &Path, options: Options) -> anyhow::Result<()> {
    let mut source = Source::open(state).await?;
    let mut next = feed::next_after(options.after);
    loop {
        let page = source.page(next).await?;
        if !print(page.lines).await? {
            return Ok(());
        }
        if page.next == next {
            if !options.follow {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
            source.renew().await?;
        }
        next = page.next;
    }
}

/// Writes to stdout; whether somebody still reads there. On a thread of its own: a slow reader may hold it up.
async fn print(lines: String) -> anyhow::Result<bool> {
    let write = move || {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(lines.as_bytes())?;
        stdout.flush()
    };
    match on_thread(write).await.context("writing the feed to stdout")? {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("writing the feed to stdout"),
    }
}

/// Ends when the other end of stdout is closed: who waits for the next entry does not find out by writing.
async fn reader_is_gone() {
    let stdout = std::io::stdout().as_fd().try_clone_to_owned();
    // Unchecked: it is not written to, so it may be anything and may block. A file cannot be waited for.
    match stdout.and_then(Sender::from_owned_fd_unchecked) {
        Ok(stdout) if stdout.ready(Interest::ERROR).await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

/// The database that the ledger is read from.
struct Source {
    state: PathBuf,
    pool: SqlitePool,
    /// Device and inode of its file: a restored or rebuilt one takes its name.
    identity: Option<(u64, u64)>,
}

impl Source {
    async fn open(state: &Path) -> anyhow::Result<Self> {
        let identity = identity(state);
        let folder = state.display();
        let Some(pool) = db::open_read_only(state).await? else {
            bail!(UsageError(format!(
                "there is no database in {folder}: nothing was archived yet; start the service or run `callvault backfill`"
            )));
        };
        let outdated = format!(
            "the database in {folder} is of an older version: the next start of the service, or `callvault backfill`, \
             brings it up to date"
        );
        ensure!(!db::is_outdated(&mut *pool.acquire().await?).await?, UsageError(outdated));
        Ok(Self { state: state.to_owned(), pool, identity })
    }

    /// The entries from `from` on. No transaction is open afterwards: the service can checkpoint its database.
    async fn page(&self, from: u64) -> anyhow::Result<Page> {
        let mut connection = self.pool.acquire().await.context("opening the database")?;
        feed::page(&mut connection, from, ENTRIES_AT_ONCE).await
    }

    /// Opens the database anew if another file has taken its name.
    async fn renew(&mut self) -> anyhow::Result<()> {
        let now = identity(&self.state);
        // While it is being replaced there may be none for a moment.
        if now.is_some() && now != self.identity {
            *self = Self::open(&self.state).await?;
        }
        Ok(())
    }
}

fn identity(state: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(db::database_file(state)).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
