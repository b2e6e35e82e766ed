//! Answered calls and days, as coverage looks at them.

use anyhow::Context as _;
use jiff::civil::Date;
use sqlx::SqliteConnection;

use crate::store::sql::{BindAll as _, Day, Fetch as _};

/// A row of an answered call, or one that names a recording.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Leg {
    /// Start of the call, if its row tells.
    pub started_at_ms: Option<i64>,
    /// Talk time, if its row tells.
    pub talk_s: Option<i64>,
    pub answered: bool,
    pub names_recording: bool,
    /// The row as JSON.
    pub row: String,
}

/// The days from `from` on that have answered calls which name no recording. Costs no more than there are such calls.
pub async fn days_with_unrecorded(
    db: &mut SqliteConnection,
    pbx: &str,
    from: Date,
) -> anyhow::Result<Vec<Date>> {
    let days: Vec<Day> = sqlx::query_scalar(
        "select distinct day from calls
         where pbx = ? and answered = 1 and recording_id is null and day >= ? order by day",
    )
    .bind_all((pbx, from))
    .all(db, "listing days with answered calls without a recording")
    .await?;
    Ok(days.into_iter().map(Date::from).collect())
}

/// The answered rows of a day that name no recording.
pub async fn unrecorded_of_day(db: &mut SqliteConnection, pbx: &str, day: Date) -> anyhow::Result<Vec<Leg>> {
    sqlx::query_as(
        "select started_at_ms, talk_s, answered, false as names_recording, row from calls
         where pbx = ? and answered = 1 and recording_id is null and day = ?
             and coalesce(json_extract(row, '$.recording'), '') = '' order by started_at_ms, id",
    )
    .bind_all((pbx, day))
    .all(db, "reading answered calls without a recording")
    .await
}

/// The rows of a day that were answered or name a recording.
pub async fn legs_of_day(db: &mut SqliteConnection, pbx: &str, day: Date) -> anyhow::Result<Vec<Leg>> {
    sqlx::query_as(
        "select started_at_ms, talk_s, answered, row,
             recording_id is not null or coalesce(json_extract(row, '$.recording'), '') <> '' as names_recording
         from calls where pbx = ? and day = ? and (answered = 1 or recording_id is not null)
         order by started_at_ms, id",
    )
    .bind_all((pbx, day))
    .all(db, "reading the answered calls of a day")
    .await
}

/// How many rows each day from `from` on has; days without any are left out.
pub async fn rows_by_day(
    db: &mut SqliteConnection,
    pbx: &str,
    from: Date,
) -> anyhow::Result<Vec<(Date, i64)>> {
    let days: Vec<(Day, i64)> =
        sqlx::query_as("select day, count(*) from calls where pbx = ? and day >= ? group by day")
            .bind_all((pbx, from))
            .all(db, "counting the rows of days")
            .await?;
    Ok(days.into_iter().map(|(Day(day), count)| (day, count)).collect())
}

/// The settled days from `from` on: they were over, and read whole.
pub async fn settled_days(db: &mut SqliteConnection, pbx: &str, from: Date) -> anyhow::Result<Vec<Date>> {
    let days: Vec<Day> =
        sqlx::query_scalar("select day from days where pbx = ? and day >= ? and state = 'settled'")
            .bind_all((pbx, from))
            .all(db, "listing settled days")
            .await?;
    Ok(days.into_iter().map(Date::from).collect())
}

/// Those of `callids` that a row of the days from `from` to `to` has. One look at these days, however many are asked for.
pub async fn listed_among(
    db: &mut SqliteConnection,
    pbx: &str,
    (from, to): (Date, Date),
    callids: &[&str],
) -> anyhow::Result<Vec<String>> {
    sqlx::query_scalar(
        "select distinct trim(json_extract(row, '$.callid')) as callid from calls
         where pbx = ? and day between ? and ?
             and trim(json_extract(row, '$.callid')) in (select value from json_each(?))",
    )
    .bind_all((pbx, from, to, serde_json::to_string(callids).context("listing call ids")?))
    .all(db, "looking for calls")
    .await
}

#[cfg(test)]
mod tests {
    use crate::store::db::Db;

    /// None of these looks reads more of a million calls than it tells of.
    #[tokio::test]
    async fn each_look_is_answered_by_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path()).await.unwrap();
        let looks = [
            (
                "explain query plan select distinct day from calls
                 where pbx = 'hq' and answered = 1 and recording_id is null and day >= '2026-03-02' order by day",
                "USING COVERING INDEX calls_unrecorded_of_day (pbx=? AND day>?)",
            ),
            (
                "explain query plan select row from calls where pbx = 'hq' and answered = 1 and recording_id is null and day = '2026-03-02'",
                "USING INDEX calls_unrecorded_of_day (pbx=? AND day=?",
            ),
            (
                "explain query plan select row from calls where pbx = 'hq' and day = '2026-03-02' and (answered = 1 or recording_id is not null)",
                "USING INDEX calls_of_day (pbx=? AND day=?)",
            ),
            (
                "explain query plan select day, count(*) from calls where pbx = 'hq' and day >= '2026-03-02' group by day",
                "USING COVERING INDEX calls_of_day (pbx=? AND day>?)",
            ),
            (
                "explain query plan select pbx, count(*) from calls where answered = 1 and recording_id is null group by pbx",
                "USING COVERING INDEX calls_unrecorded_of_day",
            ),
        ];
        for (query, index) in looks {
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(query).fetch_all(&mut *db.read().await.unwrap()).await.unwrap();
            let steps: Vec<&str> = plan.iter().map(|(.., step)| step.as_str()).collect();
            assert!(steps[0].contains(index) && steps.len() == 1, "{query}\n{steps:?}");
        }
    }
}
