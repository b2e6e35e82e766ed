//! When a PBX was last asked for calls outside of all days that are kept.

use jiff::{SignedDuration, Timestamp};
use sqlx::SqliteConnection;

use crate::store::sql::{BindAll as _, Fetch as _, Ms, Run as _};

/// How often that is done: once a day, whenever the day's sweeps are.
const EVERY: SignedDuration = SignedDuration::from_hours(20);

/// Whether it is time to look again. A look of the future was taken by a clock that was set back since.
pub async fn is_outlook_due(db: &mut SqliteConnection, pbx: &str, now: Timestamp) -> anyhow::Result<bool> {
    let last: Option<Ms> = sqlx::query_scalar("select looked_at_ms from outlooks where pbx = ?")
        .bind(pbx)
        .maybe(db, "reading when days outside of all that is kept were asked for")
        .await?;
    Ok(last.is_none_or(|Ms(last)| now.duration_since(last).abs() >= EVERY))
}

pub async fn note_outlook(tx: &mut SqliteConnection, pbx: &str, now: Timestamp) -> anyhow::Result<()> {
    sqlx::query(
        "insert into outlooks (pbx, looked_at_ms) values (?, ?)
         on conflict (pbx) do update set looked_at_ms = excluded.looked_at_ms",
    )
    .bind_all((pbx, now))
    .run(tx, "noting that days outside of all that is kept were asked for")
    .await
}
