//! How an operator puts recordings back into the queue.

use jiff::Timestamp;
use jiff::civil::Date;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::DayRange;
use crate::base::recording::RecordingName;
use crate::store::sql::{BindAll as _, Day, Fetch as _, Run as _};

/// Which recordings an operator wants asked for again.
#[derive(Debug, Clone, Default)]
pub struct Redrive {
    /// Only this PBX.
    pub pbx: Option<String>,
    /// Only stuck ones.
    pub stuck_only: bool,
    /// Only these names; all if empty.
    pub names: Vec<RecordingName>,
}

#[derive(Debug, Clone, Default)]
pub struct Redriven {
    pub count: u64,
    pub pbx: Vec<String>,
    /// The days that they are filed under.
    pub days: Option<DayRange>,
    /// The days of calls on which a state is another one than before: they are to be opened again.
    pub changed: Vec<(String, Date)>,
}

/// Puts stuck recordings, missing ones and those that wait back to be asked for at once. What a rule may keep out whose row
/// cannot be read stays held.
///
/// Attempts go on counting, and an entry of their absence stays in the ledger. The clock of an absence starts anew only
/// where it had come to its end.
pub async fn redrive(tx: &mut SqliteConnection, what: &Redrive) -> anyhow::Result<Redriven> {
    let mut count = QueryBuilder::new("select pbx, count(*), min(day), max(day) from recordings where ");
    what.push_condition(&mut count);
    count.push(" group by pbx order by pbx");
    let groups: Vec<(String, i64, Day, Day)> =
        count.build_query_as().all(tx, "looking for recordings to retry").await?;
    let mut given_up = QueryBuilder::new(
        "select distinct pbx, day from recordings where kind = 'call' and (state = 'stuck' or final = 1) and ",
    );
    what.push_condition(&mut given_up);
    let changed: Vec<(String, Day)> =
        given_up.build_query_as().all(tx, "looking for days to open again").await?;
    let mut update = QueryBuilder::new(
        "update recordings set ready = 1, due_at_ms = null, reason_attempts = 0, told = 0,
             absent_answers = case final when 1 then 0 else absent_answers end,
             absent_since_ms = case final when 1 then null else absent_since_ms end,
             absent_asked_at_ms = case final when 1 then null else absent_asked_at_ms end,
             final = 0, state = case state when 'stuck' then 'pending' else state end
         where ",
    );
    what.push_condition(&mut update);
    update.build().run(tx, "putting recordings back into the queue").await?;
    let changed = changed.into_iter().map(|(pbx, Day(day))| (pbx, day)).collect();
    Ok(Redriven { changed, ..summed_up(&groups)? })
}

/// Has what is stuck and waits for nothing asked for again at `due_at`: for a database that was made anew, which does not
/// know when each was asked for.
pub async fn schedule_stuck(tx: &mut SqliteConnection, pbx: &str, due_at: Timestamp) -> anyhow::Result<()> {
    sqlx::query(
        "update recordings set due_at_ms = ? where pbx = ? and state = 'stuck' and due_at_ms is null and ready = 0",
    )
    .bind_all((due_at, pbx))
    .run(tx, "scheduling what is stuck")
    .await
}

impl Redrive {
    fn push_condition(&self, query: &mut QueryBuilder<Sqlite>) {
        query.push("run_id is null and (state = 'stuck'");
        if !self.stuck_only {
            query.push(" or state = 'missing' or state = 'pending' and reason is not 'doubtful_row'");
        }
        query.push(")");
        if let Some(pbx) = &self.pbx {
            query.push(" and pbx = ").push_bind(pbx.clone());
        }
        if !self.names.is_empty() {
            query.push(" and name in (");
            let mut names = query.separated(", ");
            for name in &self.names {
                names.push_bind(name.as_bytes().to_vec());
            }
            query.push(")");
        }
    }
}

fn summed_up(groups: &[(String, i64, Day, Day)]) -> anyhow::Result<Redriven> {
    let mut redriven = Redriven::default();
    for &(ref pbx, count, Day(from), Day(to)) in groups {
        redriven.count += u64::try_from(count)?;
        redriven.pbx.push(pbx.clone());
        let days = redriven.days.get_or_insert(DayRange { from, to });
        (days.from, days.to) = (days.from.min(from), days.to.max(to));
    }
    Ok(redriven)
}
