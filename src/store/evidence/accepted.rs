//! Days whose list the operator takes as it is: a human's word, which the ledger keeps.

use jiff::{Timestamp, civil::Date};
use sqlx::SqliteConnection;

use super::{Evidence, Verdict, evidence_of};
use crate::store::ledger::{self, Entry, EntryType};
use crate::store::sql::{BindAll as _, Run as _};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// The list of the day is accepted as it was, under this entry of the ledger.
    Accepted { verdict: Verdict, doubts: i64, ledger_number: i64 },
    /// There is nothing to accept: the list is whole.
    Whole,
    /// Nothing is known of this day.
    Unknown,
}

/// Accepts the list of a day as it is. Its doubts say nothing against it any more; its certificate stays not complete,
/// with `reason` in it. The caller opens the day again, so that it is certified anew.
pub async fn accept(
    tx: &mut SqliteConnection,
    pbx: &str,
    day: Date,
    reason: &str,
    now: Timestamp,
) -> anyhow::Result<Acceptance> {
    let Some(evidence) = evidence_of(tx, pbx, day).await? else { return Ok(Acceptance::Unknown) };
    if evidence.verdict == Verdict::Whole || evidence.is_accepted() {
        return Ok(Acceptance::Whole);
    }
    let Evidence { verdict, doubts, .. } = evidence;
    let causes: Vec<String> = doubts.by.keys().cloned().collect();
    let entry = Entry::new(EntryType::Accepted, now)
        .with("pbx", pbx)
        .with("day", day.to_string())
        .with("verdict", verdict.as_str())
        .with("doubts", doubts.count)
        .with("causes", causes)
        .with("reason", reason);
    let ledger_number = ledger::append(tx, &entry).await?;
    sqlx::query(
        "insert into accepted_days (pbx, day, reason, verdict, doubts, accepted_at_ms, ledger_number)
         values (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind_all((pbx, day, reason, verdict, doubts.count, now, ledger_number))
    .run(tx, "keeping what was accepted")
    .await?;
    // One that can concern other days too stays in doubt for them.
    sqlx::query(
        "insert into accepted_doubts (doubt, day)
         select id, ?2 from doubts where pbx = ?1 and cleared_at_ms is null and day_from <= ?2 and day_to >= ?2
         on conflict do nothing",
    )
    .bind_all((pbx, day))
    .run(tx, "keeping which doubts were accepted")
    .await?;
    Ok(Acceptance::Accepted { verdict, doubts: doubts.count, ledger_number })
}

impl Evidence {
    /// Whether the operator took the list as it is now: not worse, and with no doubt that is new since.
    pub fn is_accepted(&self) -> bool {
        self.doubts.count == 0 && self.accepted.iter().any(|accepted| self.verdict >= accepted.verdict)
    }
}
