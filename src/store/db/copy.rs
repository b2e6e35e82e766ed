//! A copy of the database while it is in use.

use std::path::Path;

use anyhow::Context as _;
use sqlx::{ConnectOptions as _, Connection as _};

use super::{database_file, options};

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
/// for reading alone can.
pub async fn copy(state: &Path, copy: &Path) -> anyhow::Result<()> {
    let mut connection = options(&database_file(state))
        .read_only(true)
        .connect()
        .await
        .context("opening the database for a copy")?;
    let into = copy.to_str().context("the path of a copy of the database is not UTF-8")?;
    let copied = sqlx::query("vacuum into ?").bind(into).execute(&mut connection).await;
    copied.with_context(|| format!("copying the database to {into}"))?;
    connection.close().await.context("closing the database after a copy")
}
