//! Evidence of how long a PBX keeps its recordings. All SQL on `retention_evidence`.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use crate::store::db;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Run as _};
use crate::store::together::{Statement, statement};

/// For how long evidence counts, in days. A PBX that is followed closely gives little of it: only what was late is old.
const COUNTS_DAYS: i64 = 180;
/// Older than any recording; keeps a wrong clock from filling the table.
const AGE_DAYS_MAX: i64 = 3650;

/// What became of the recordings of one age.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Evidence {
    /// Their age when they were asked for, in whole days.
    pub age_days: i64,
    pub delivered: i64,
    pub missing: i64,
}

/// Notes that a PBX delivered recordings that began at these times, or says for the first time that it does not have them.
pub fn noting(
    pbx: &str,
    started: impl IntoIterator<Item = Timestamp>,
    is_delivered: bool,
    now: Timestamp,
) -> Result<Statement> {
    let mut by_age: BTreeMap<i64, u64> = BTreeMap::new();
    for started_at in started {
        let age_days = (now.duration_since(started_at).as_hours() / 24).clamp(0, AGE_DAYS_MAX);
        *by_age.entry(age_days).or_default() += 1;
    }
    let by_age: Vec<(i64, u64)> = by_age.into_iter().collect();
    let note = statement(
        "insert into retention_evidence (pbx, seen_on, age_days, delivered, missing)
         select ?, ?, value ->> 0, (value ->> 1) * ?, (value ->> 1) * ? from json_each(?) where true
         on conflict (pbx, seen_on, age_days) do update
         set delivered = delivered + excluded.delivered, missing = missing + excluded.missing",
    );
    let by_age = serde_json::to_string(&by_age)?;
    Ok(note.bind_all((pbx, day(now), is_delivered, !is_delivered, by_age)))
}

/// The evidence of `pbx` that still counts, the youngest recordings first.
pub async fn evidence(db: &mut Conn, pbx: &str, now: Timestamp) -> Result<Vec<Evidence>> {
    if !db::has_table(db, "retention_evidence").await? {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "select age_days, sum(delivered) as delivered, sum(missing) as missing from retention_evidence
         where pbx = ? and seen_on > ? group by age_days order by age_days",
    )
    .bind_all((pbx, oldest_day(now)))
    .all(db, "reading how long recordings are kept")
    .await
}

/// Gathers again what can be told from the recordings and calls of every PBX: each file was delivered when it was
/// archived, and what is missing was most likely asked for when a call first named it.
pub async fn restore(tx: &mut Conn, now: Timestamp) -> Result<()> {
    sqlx::query(
        "insert into retention_evidence (pbx, seen_on, age_days, delivered, missing)
         select pbx, date(seen_at_ms / 1000, 'unixepoch') as seen_on,
             max(0, min(?2, (seen_at_ms - started_at_ms) / 3600000 / 24)) as age_days, sum(delivered), sum(missing)
         from (select pbx, archived_at_ms as seen_at_ms, started_at_ms, 1 as delivered, 0 as missing
                   from archived_files join recordings on recordings.id = recording_id where kind = 'call'
               union all
               select recordings.pbx, min(first_seen_at_ms), recordings.started_at_ms, 0, 1
                   from recordings join calls on recording_id = recordings.id
                   where state = 'missing' and kind = 'call' group by recordings.id)
         group by pbx, seen_on, age_days having seen_on > ?1",
    )
    .bind_all((oldest_day(now), AGE_DAYS_MAX))
    .run(tx, "gathering how long recordings are kept")
    .await
}

pub async fn forget_old(tx: &mut Conn, pbx: &str, now: Timestamp) -> Result<()> {
    sqlx::query("delete from retention_evidence where pbx = ? and seen_on <= ?")
        .bind_all((pbx, oldest_day(now)))
        .run(tx, "forgetting how long recordings were kept")
        .await
}

fn day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).date().to_string()
}

fn oldest_day(now: Timestamp) -> String {
    now.checked_sub((COUNTS_DAYS * 24).hours()).map_or_else(|_| String::new(), day)
}
