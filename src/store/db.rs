//! The database: opened here, written by one task, read beside it.
//!
//! SQLite in WAL mode with `synchronous = FULL`: with NORMAL, a power cut lost a quarter of the work already
//! acknowledged. One task owns the one writing connection. It runs each unit of work in a savepoint of its own and
//! commits as soon as nobody else is waiting, so that units that arrive together share one fsync. A unit is answered
//! after COMMIT, never before.

mod building;

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::future::BoxFuture;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

pub use crate::config::database_file;
pub use building::Building;

/// Units of work that may share one commit, and for how long one is held open for them.
const UNITS_PER_COMMIT_MAX: usize = 64;
const COMMIT_DELAY_MAX: Duration = Duration::from_millis(5);
/// Waiting units beyond which writers are held back.
const QUEUE_LENGTH: usize = 256;
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// `SQLITE_FULL`.
const FULL: u32 = 13;
/// `SQLITE_CONSTRAINT`.
const CONSTRAINT: u32 = 19;
/// Older versions of SQLite can corrupt a WAL database that is checkpointed while it is written.
const SQLITE_VERSION_MIN: (u32, u32, u32) = (3, 51, 3);

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The database cannot go on: a commit or an I/O operation failed. The process must start again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("database: {problem}; no acknowledged data is lost: free space or repair the disk, then start again")]
pub struct DatabaseFailed {
    problem: String,
    disk_full: bool,
}

impl DatabaseFailed {
    /// Whether it is the disk that has no room, which an operator can mend.
    pub fn is_disk_full(&self) -> bool {
        self.disk_full
    }

    fn new(problem: String, error: &sqlx::Error) -> Self {
        Self { problem, disk_full: primary_code(error) == Some(FULL) }
    }
}

#[derive(Debug, Clone)]
pub struct Db {
    writer: mpsc::Sender<Unit>,
    /// Why the writer has stopped, if it has.
    failed: Arc<OnceLock<DatabaseFailed>>,
    readers: SqlitePool,
}

type Unit = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Done> + Send>;

/// A unit that was begun.
#[derive(Debug)]
pub struct Begun<T>(oneshot::Receiver<anyhow::Result<T>>);

impl<T> Begun<T> {
    /// Waits until all of it is durable, or none of it will be.
    pub async fn ended(self, db: &Db) -> anyhow::Result<T> {
        self.0.await.unwrap_or_else(|_| Err(db.stopped().into()))
    }
}

/// What a unit left behind: whether its savepoint is kept, and the answer to give once the commit's fate is known.
struct Done {
    failure: Option<DatabaseFailed>,
    keep: bool,
    answer: Box<dyn FnOnce(Result<(), DatabaseFailed>) + Send>,
}

/// An async closure whose future is `Send`, which a bound of `AsyncFnOnce` cannot say.
pub trait Work<'c, T>: FnOnce(&'c mut SqliteConnection) -> Self::Running {
    type Running: Future<Output = anyhow::Result<T>> + Send + 'c;
}

impl<'c, T, F, R> Work<'c, T> for F
where
    F: FnOnce(&'c mut SqliteConnection) -> R,
    R: Future<Output = anyhow::Result<T>> + Send + 'c,
{
    type Running = R;
}

impl Db {
    /// Opens and migrates the database in `state`, and starts the writer.
    ///
    /// The caller holds the lock on `state`: a process without it must not migrate.
    pub async fn open(state: &Path) -> anyhow::Result<Self> {
        let file = database_file(state);
        Building::clear(state);
        // Switching to WAL needs the file to itself; readers come after.
        let mut writer = options(&file)
            .create_if_missing(true)
            .connect()
            .await
            .with_context(|| format!("opening the database {}", file.display()))?;
        check_settings(&mut writer).await?;
        MIGRATIONS.run(&mut writer).await.map_err(|error| not_migrated(&file, error))?;
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        let failed = Arc::default();
        tokio::spawn(write_units(writer, receiver, Arc::clone(&failed)));
        Ok(Self { writer: sender, failed, readers: readers(&file).await? })
    }

    /// Runs `work` as one unit: all of it is durable when this returns `Ok`, none of it after an error.
    pub async fn write<T, F>(&self, work: F) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: AsyncFnOnce(&mut SqliteConnection) -> anyhow::Result<T> + for<'c> Work<'c, T> + Send + 'static,
    {
        self.begin_write(work).await.ended(self).await
    }

    /// Runs `work` as one unit, after all that were begun before, while the caller goes on. Nobody knows what became of it
    /// until that is [awaited](Begun::ended).
    pub async fn begin_write<T, F>(&self, work: F) -> Begun<T>
    where
        T: Send + 'static,
        F: AsyncFnOnce(&mut SqliteConnection) -> anyhow::Result<T> + for<'c> Work<'c, T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let unit: Unit = Box::new(move |connection| Box::pin(run_unit(Box::pin(work(connection)), answer)));
        // If the writer has stopped, the answer's sender is dropped with the unit.
        let _ = self.writer.send(unit).await;
        Begun(answered)
    }

    /// Everybody is told the first failure, not what followed from it.
    fn stopped(&self) -> DatabaseFailed {
        let unknown = || DatabaseFailed { problem: "the writer has stopped".into(), disk_full: false };
        self.failed.get().cloned().unwrap_or_else(unknown)
    }

    /// A connection to read with. What it reads may be older than the last write by a moment.
    pub async fn read(&self) -> anyhow::Result<sqlx::pool::PoolConnection<sqlx::Sqlite>> {
        self.readers.acquire().await.context("waiting for a database connection")
    }
}

/// Opens the database for reading only, beside whoever holds the lock. `None` if there is no database yet.
pub async fn open_read_only(state: &Path) -> anyhow::Result<Option<SqlitePool>> {
    let file = database_file(state);
    if !file.exists() {
        return Ok(None);
    }
    readers(&file).await.map(Some)
}

/// Whether the database lacks what this version adds: an older one wrote it, and who only reads must not migrate it.
pub async fn is_outdated(db: &mut SqliteConnection) -> anyhow::Result<bool> {
    let applied: Vec<i64> = sqlx::query_scalar("select version from _sqlx_migrations where success")
        .fetch_all(db)
        .await
        .context("reading the version of the database")?;
    Ok(MIGRATIONS.iter().any(|migration| !applied.contains(&migration.version)))
}

/// Whether there is a table of this name: in an outdated database there may be none.
pub async fn has_table(db: &mut SqliteConnection, name: &str) -> anyhow::Result<bool> {
    sqlx::query_scalar("select exists (select 1 from sqlite_master where type = 'table' and name = ?)")
        .bind(name)
        .fetch_one(db)
        .await
        .with_context(|| format!("looking for the table `{name}`"))
}

/// Has a database that counts nothing counted at each look, for this connection alone: an older version wrote it.
pub async fn count_if_outdated(db: &mut SqliteConnection) -> anyhow::Result<()> {
    if has_table(db, "recording_counts").await? {
        return Ok(());
    }
    // A view of the connection's own is no change of the database, and is refused all the same to who may only read.
    sqlx::raw_sql(
        "pragma query_only = off;
         create temp view if not exists recording_counts as
             select pbx, day, kind, state, coalesce(reason, '') as reason, final, count(*) as recordings from recordings
             group by pbx, day, kind, state, coalesce(reason, ''), final;
         create temp view if not exists call_counts as
             select pbx, day, count(*) as calls, sum(answered = 1 and recording_id is null) as unrecorded from calls
             group by pbx, day;
         pragma query_only = on;",
    )
    .execute(db)
    .await
    .context("counting what an older version stored")
    .map(drop)
}

/// Opens the database to make a request, beside whoever holds the lock: nothing is migrated, and nothing else written.
pub async fn open_for_requests(state: &Path) -> anyhow::Result<SqliteConnection> {
    let file = database_file(state);
    options(&file).connect().await.with_context(|| format!("opening the database {}", file.display()))
}

/// Folds the write-ahead log of the database in `state` into it, so that it is one file. `false` if there is none, or if
/// it cannot be opened.
///
/// The caller holds the lock on `state`.
pub async fn fold_log(state: &Path) -> bool {
    let Ok(mut connection) = options(&database_file(state)).connect().await else { return false };
    let folded = sqlx::query("pragma wal_checkpoint(truncate)").execute(&mut connection).await;
    folded.is_ok() && connection.close().await.is_ok()
}

/// The error of a unit; [`DatabaseFailed`] if it means that the database itself is broken.
pub fn as_failure(error: anyhow::Error) -> anyhow::Error {
    broken(&error).map_or(error, Into::into)
}

/// The outcome; none if the tables do not take the row: nothing of it was written.
pub fn unless_refused<T>(outcome: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    let is_refused = |cause: &sqlx::Error| primary_code(cause) == Some(CONSTRAINT);
    match outcome {
        Err(error) if error.downcast_ref().is_some_and(is_refused) => Ok(None),
        outcome => outcome.map(Some),
    }
}

fn options(file: &Path) -> SqliteConnectOptions {
    settings(file).journal_mode(SqliteJournalMode::Wal)
}

/// Those of a connection that leaves the journal mode as it is.
fn settings(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .pragma("journal_size_limit", "67108864")
        .pragma("temp_store", "memory")
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
}

async fn readers(file: &Path) -> anyhow::Result<SqlitePool> {
    SqlitePoolOptions::new()
        .max_connections(3)
        // They are ours, of a file: none goes away, and a ping costs as much as a statement.
        .test_before_acquire(false)
        .connect_with(options(file).pragma("query_only", "ON"))
        .await
        .with_context(|| format!("opening the database {} for reading", file.display()))
}

/// Asserts what the promises rest on, rather than trusting that a setting was applied.
async fn check_settings(connection: &mut SqliteConnection) -> anyhow::Result<()> {
    let version: String = sqlx::query_scalar("select sqlite_version()").fetch_one(&mut *connection).await?;
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    if (next(), next(), next()) < SQLITE_VERSION_MIN {
        bail!("SQLite {version} can corrupt its write-ahead log; callvault needs 3.51.3 or newer");
    }
    let journal: String = sqlx::query_scalar("pragma journal_mode").fetch_one(&mut *connection).await?;
    let synchronous: i64 = sqlx::query_scalar("pragma synchronous").fetch_one(&mut *connection).await?;
    if journal != "wal" || synchronous != 2 {
        bail!(
            "SQLite runs with journal_mode {journal} and synchronous {synchronous} instead of wal and 2 (FULL)"
        );
    }
    Ok(())
}

async fn run_unit<T: Send + 'static>(
    work: BoxFuture<'_, anyhow::Result<T>>,
    answer: oneshot::Sender<anyhow::Result<T>>,
) -> Done {
    match work.await {
        Ok(value) => Done {
            failure: None,
            keep: true,
            // The asker may be gone; the work stands all the same.
            answer: Box::new(|commit| drop(answer.send(commit.map(|()| value).map_err(Into::into)))),
        },
        Err(error) => {
            let failure = broken(&error);
            let error = failure.clone().map_or(error, Into::into);
            Done { failure, keep: false, answer: Box::new(|_| drop(answer.send(Err(error)))) }
        }
    }
}

/// Why the tables could not be brought up to date.
fn not_migrated(file: &Path, error: MigrateError) -> anyhow::Error {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) if is_broken(&error) => {
            DatabaseFailed::new(error.to_string(), &error).into()
        }
        error => anyhow::Error::new(error).context(format!(
            "{} was written by another version of callvault; use that or a newer one",
            file.display()
        )),
    }
}

/// Whether an error means that the database itself is broken, not just this unit.
fn broken(error: &anyhow::Error) -> Option<DatabaseFailed> {
    let cause = error.downcast_ref::<sqlx::Error>().filter(|cause| is_broken(cause))?;
    Some(DatabaseFailed::new(format!("{error:#}"), cause))
}

fn is_broken(error: &sqlx::Error) -> bool {
    // SQLITE_READONLY, SQLITE_IOERR, SQLITE_CORRUPT, SQLITE_FULL, SQLITE_NOTADB: https://sqlite.org/rescode.html
    matches!(primary_code(error), Some(8 | 10 | 11 | FULL | 26))
}

/// Whether an operation failed for want of room on the disk.
pub fn is_disk_full(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref()).any(|cause| primary_code(cause) == Some(FULL))
}

fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(code & 0xff)
}

/// The writer: the only task that changes the database. Ends when all senders are gone, or with the first failure.
async fn write_units(
    mut connection: SqliteConnection,
    mut units: mpsc::Receiver<Unit>,
    failed: Arc<OnceLock<DatabaseFailed>>,
) {
    while let Some(first) = units.recv().await {
        let mut answers = Vec::new();
        let outcome = write_together(&mut connection, first, &mut units, &mut answers).await;
        if let Err(failure) = &outcome {
            // Before anybody hears of it and asks again. The cell is empty: only this task fills it, once.
            drop(failed.set(failure.clone()));
        }
        for answer in answers {
            answer(outcome.clone());
        }
        if outcome.is_err() {
            return;
        }
    }
    // Closing folds the write-ahead log into the database; a failure leaves the log, which is as good.
    drop(connection.close().await);
}

type Answer = Box<dyn FnOnce(Result<(), DatabaseFailed>) + Send>;

async fn write_together(
    connection: &mut SqliteConnection,
    first: Unit,
    units: &mut mpsc::Receiver<Unit>,
    answers: &mut Vec<Answer>,
) -> Result<(), DatabaseFailed> {
    let opened = Instant::now();
    // Statements in one string cost one hop to the thread of SQLite and back.
    execute(connection, "begin immediate; savepoint unit").await?;
    let mut unit = first;
    loop {
        let done = unit(connection).await;
        answers.push(done.answer);
        if let Some(failure) = done.failure {
            return Err(failure);
        }
        let is_full = answers.len() >= UNITS_PER_COMMIT_MAX || opened.elapsed() >= COMMIT_DELAY_MAX;
        let next = if is_full { None } else { units.try_recv().ok() };
        let statements = match (done.keep, &next) {
            (true, Some(_)) => "release unit; savepoint unit",
            (true, None) => "release unit; commit",
            (false, Some(_)) => "rollback to unit",
            (false, None) => "rollback to unit; release unit; commit",
        };
        execute(connection, statements).await?;
        match next {
            Some(next) => unit = next,
            None => return Ok(()),
        }
    }
}

async fn execute(connection: &mut SqliteConnection, statement: &'static str) -> Result<(), DatabaseFailed> {
    match sqlx::query(statement).execute(connection).await {
        Ok(_) => Ok(()),
        Err(error) => Err(DatabaseFailed::new(format!("{statement}: {error}"), &error)),
    }
}

/// The size of the database in `state` with its write-ahead log, in bytes: a copy takes no more.
pub fn size_bytes(state: &Path) -> std::io::Result<u64> {
    let database = database_file(state);
    let log = std::fs::metadata(state.join("callvault.db-wal")).map_or(0, |log| log.len());
    Ok(std::fs::metadata(database)?.len() + log)
}

/// Writes the database in `state`, as it is at one moment, to the new file `copy`. Whoever writes and reads goes on
/// meanwhile. Nothing of the copy is synced.
///
/// Over a connection of its own: those that only read (`query_only`) must not write a copy either, and one that is opened
/// for reading alone can. A database that was rebuilt or restored has no write-ahead log yet, and this must not begin one.
pub async fn copy(state: &Path, copy: &Path) -> anyhow::Result<()> {
    let mut connection = settings(&database_file(state))
        .read_only(true)
        .connect()
        .await
        .context("opening the database for a copy")?;
    let into = copy.to_str().context("the path of a copy of the database is not UTF-8")?;
    let copied = sqlx::query("vacuum into ?").bind(into).execute(&mut connection).await;
    copied.with_context(|| format!("copying the database to {into}"))?;
    connection.close().await.context("closing the database after a copy")
}
