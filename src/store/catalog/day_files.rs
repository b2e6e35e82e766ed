//! Call lists and the files of certificates, as the catalog has them.

use std::collections::BTreeMap;

use anyhow::Context as _;
use sqlx::SqliteConnection;

use super::{folder_of, touch_folder};
use crate::base::digest::Digest;
use crate::store::sql::{BindAll as _, Fetch as _};

/// Records a call list or a certificate that is durable on disk, and marks the folder's sums as behind.
pub async fn record_day_file(tx: &mut SqliteConnection, path: &str, sha256: &Digest) -> anyhow::Result<()> {
    let folder = folder_of(path);
    sqlx::query("insert into day_files (path, folder, sha256) values (?, ?, ?) on conflict do nothing")
        .bind_all((path, folder, sha256))
        .execute(&mut *tx)
        .await
        .with_context(|| format!("recording {path} in the catalog"))?;
    touch_folder(tx, folder).await
}

/// Records what a document of a day is by the ledger, whatever was found in its place. `false` if it was that.
pub async fn correct_day_file(
    tx: &mut SqliteConnection,
    path: &str,
    sha256: &Digest,
) -> anyhow::Result<bool> {
    let folder = folder_of(path);
    let corrected = sqlx::query(
        "insert into day_files (path, folder, sha256) values (?, ?, ?)
         on conflict do update set sha256 = excluded.sha256 where sha256 <> excluded.sha256",
    )
    .bind_all((path, folder, sha256))
    .execute(&mut *tx)
    .await
    .with_context(|| format!("recording {path} in the catalog"))?;
    let is_corrected = corrected.rows_affected() > 0;
    if is_corrected {
        touch_folder(tx, folder).await?;
    }
    Ok(is_corrected)
}

/// The hashes of those of `paths` that are call lists or files of certificates.
pub async fn day_files(
    db: &mut SqliteConnection,
    paths: &[&str],
) -> anyhow::Result<BTreeMap<String, Digest>> {
    let rows: Vec<(String, Digest)> =
        sqlx::query_as("select path, sha256 from day_files where path in (select value from json_each(?))")
            .bind(serde_json::to_string(paths)?)
            .all(db, "looking up the documents of days")
            .await?;
    Ok(rows.into_iter().collect())
}
