//! A database that is being made anew, in a file of its own beside the one in use.
//!
//! Nobody reads it before it is done, and one that a crash cut off is thrown away whole. So nothing in it is synced
//! before its end, and the secondary indexes are made last, when SQLite can sort what they hold.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};

use super::{MIGRATIONS, database_file};

/// Memory for pages of the database, and as much again for those of the scratch file, in KiB.
const CACHE_KIB: &str = "-65536";
/// Rows that are written in one transaction: its journal is kept in memory.
const ROWS_PER_TRANSACTION: u32 = 20_000;

/// A database in the making. It has a second, empty database beside it, attached as `scratch`, for what is needed only
/// meanwhile.
#[derive(Debug)]
pub struct Building {
    connection: SqliteConnection,
    files: Files,
    /// The statements that make the secondary indexes, as the migrations have them.
    indexes: Vec<String>,
    rows: u32,
}

/// The files of a database in the making. Dropped, they are gone.
#[derive(Debug)]
struct Files {
    database: PathBuf,
    scratch: PathBuf,
    scratch_journal: PathBuf,
    is_done: bool,
}

impl Building {
    /// Begins a database in `state`, with all tables and no rows. What an earlier try left is removed.
    ///
    /// The caller holds the lock on `state`.
    pub async fn begin(state: &Path) -> anyhow::Result<Self> {
        let files = Files::beside(&database_file(state));
        files.remove();
        files.make().with_context(|| format!("making the database {}", files.database.display()))?;
        let mut connection = options(&files.database)
            .connect()
            .await
            .with_context(|| format!("making the database {}", files.database.display()))?;
        MIGRATIONS.run(&mut connection).await.context("making the tables")?;
        let indexes = drop_indexes(&mut connection).await?;
        let scratch = files.scratch.display().to_string();
        sqlx::query("attach database ? as scratch")
            .bind(scratch)
            .execute(&mut connection)
            .await
            .context("making the scratch file")?;
        // What the connection was told is true of the first database alone.
        execute(&mut connection, "pragma scratch.journal_mode = memory").await?;
        execute(&mut connection, "pragma scratch.synchronous = off").await?;
        execute(&mut connection, "begin").await?;
        Ok(Self { connection, files, indexes, rows: 0 })
    }

    /// Removes what a try has left in `state` that ended without a chance to do so, or could not.
    ///
    /// The caller holds the lock on `state`: no other try is under way.
    pub(super) fn clear(state: &Path) {
        Files::beside(&database_file(state)).remove();
    }

    pub fn tx(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Counts a row that was written, and bounds what one transaction holds.
    pub async fn wrote(&mut self) -> anyhow::Result<()> {
        self.rows += 1;
        if self.rows >= ROWS_PER_TRANSACTION {
            self.rows = 0;
            execute(&mut self.connection, "commit").await?;
            execute(&mut self.connection, "begin").await?;
        }
        Ok(())
    }

    /// Makes the secondary indexes: from now on rows can be looked up by them.
    pub async fn make_indexes(&mut self) -> anyhow::Result<()> {
        for index in std::mem::take(&mut self.indexes) {
            sqlx::query(AssertSqlSafe(index))
                .execute(&mut self.connection)
                .await
                .context("making an index")?;
        }
        Ok(())
    }

    /// Makes the file durable. What is returned is a whole database, and nothing else reads it yet.
    pub async fn finish(mut self) -> anyhow::Result<PathBuf> {
        self.make_indexes().await?;
        let Self { mut connection, mut files, .. } = self;
        execute(&mut connection, "commit").await?;
        execute(&mut connection, "detach database scratch").await?;
        connection.close().await.context("closing the new database")?;
        let synced = File::open(&files.database).and_then(|file| file.sync_all());
        synced.with_context(|| format!("syncing {}", files.database.display()))?;
        files.is_done = true;
        Ok(files.database.clone())
    }
}

impl Files {
    fn beside(database: &Path) -> Self {
        let with = |suffix: &str| {
            let mut name = database.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        Self {
            database: with(".rebuilding"),
            scratch: with(".rebuilding-scratch"),
            scratch_journal: with(".rebuilding-scratch-journal"),
            is_done: false,
        }
    }

    /// Makes the database's file, empty and for the owner alone: it will be the one in use.
    fn make(&self) -> std::io::Result<()> {
        File::create_new(&self.database)?.set_permissions(fs::Permissions::from_mode(0o600))
    }

    /// Removes what there is. If something stays, the next try removes it, or says why it cannot be written.
    fn remove(&self) {
        if !self.is_done {
            drop(fs::remove_file(&self.database));
        }
        drop(fs::remove_file(&self.scratch));
        // Version 0.1 kept one here, and if it could not be removed, it stayed.
        drop(fs::remove_file(&self.scratch_journal));
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.remove();
    }
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Memory)
        .synchronous(SqliteSynchronous::Off)
        .locking_mode(SqliteLockingMode::Exclusive)
        .foreign_keys(true)
        .pragma("cache_size", CACHE_KIB)
        .pragma("trusted_schema", "OFF")
}

/// Drops the secondary indexes, and returns the statements that make them.
async fn drop_indexes(connection: &mut SqliteConnection) -> anyhow::Result<Vec<String>> {
    // Those that belong to a table's own constraints have no statement.
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "select name, sql from sqlite_master where type = 'index' and sql is not null order by rowid",
    )
    .fetch_all(&mut *connection)
    .await
    .context("listing the indexes")?;
    for (name, _) in &indexes {
        let statement = format!("drop index \"{name}\"");
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await.context("dropping an index")?;
    }
    Ok(indexes.into_iter().map(|(_, sql)| sql).collect())
}

async fn execute(connection: &mut SqliteConnection, statement: &'static str) -> anyhow::Result<()> {
    sqlx::query(statement).execute(connection).await.context(statement)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::db::Db;

    async fn schema(file: &Path) -> Vec<(String, String, Option<String>)> {
        let mut connection = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
        sqlx::query_as("select type, name, sql from sqlite_master order by type, name")
            .fetch_all(&mut connection)
            .await
            .unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_built_database_has_exactly_the_tables_and_indexes_of_the_migrations() {
        let (built, migrated) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = Building::begin(built.path()).await.unwrap().finish().await.unwrap();
        drop(Db::open(migrated.path()).await.unwrap());
        assert_eq!(schema(&file).await, schema(&database_file(migrated.path())).await);
        let names: Vec<_> =
            fs::read_dir(built.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["callvault.db.rebuilding"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_journal_is_kept_on_the_disk() {
        let state = tempfile::tempdir().unwrap();
        let mut building = Building::begin(state.path()).await.unwrap();
        for statement in ["create table scratch.words (word text)", "insert into scratch.words values ('a')"]
        {
            execute(building.tx(), statement).await.unwrap();
        }
        let names = fs::read_dir(state.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let names: std::collections::BTreeSet<_> = names.collect();
        assert!(names.iter().eq(["callvault.db.rebuilding", "callvault.db.rebuilding-scratch"]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_that_is_given_up_leaves_nothing() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("callvault.db.rebuilding"), "half").unwrap();
        let mut building = Building::begin(state.path()).await.unwrap();
        building.wrote().await.unwrap();
        drop(building);
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_one_left_that_died_goes_when_the_database_is_opened() {
        let state = tempfile::tempdir().unwrap();
        for left in ["", "-scratch", "-scratch-journal"] {
            fs::write(state.path().join(format!("callvault.db.rebuilding{left}")), "half").unwrap();
        }
        drop(Db::open(state.path()).await.unwrap());
        let names = fs::read_dir(state.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!names.into_iter().any(|name| name.to_string_lossy().contains("rebuilding")));
    }
}
