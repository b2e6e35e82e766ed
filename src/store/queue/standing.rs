//! What is not archived, of all PBXs at one look: grouped in one pass over an index that holds nothing else.

use sqlx::SqliteConnection;

use super::Reason;
use crate::base::counts::Counts;
use crate::base::recording::{RecordingKind, RecordingName, RecordingState, printable};
use crate::store::sql::Fetch as _;

/// Recordings of one PBX and kind that are not archived, in one state for one reason.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Unarchived {
    pub pbx: String,
    pub kind: RecordingKind,
    pub state: RecordingState,
    /// The class of the last error or the name of the rule; none if nothing was tried yet.
    pub reason: Option<String>,
    /// Whether they are not asked for any more by themselves.
    pub is_final: bool,
    pub count: i64,
    pub oldest_at_ms: i64,
    example_id: i64,
}

/// All that is not archived, grouped.
pub async fn unarchived(db: &mut SqliteConnection) -> anyhow::Result<Vec<Unarchived>> {
    sqlx::query_as(
        "select pbx, kind, state, reason, final as is_final, count(*) as count, min(started_at_ms) as oldest_at_ms,
             min(id) as example_id
         from recordings where state <> 'archived' group by pbx, kind, state, reason, final",
    )
    .all(db, "grouping what is not archived")
    .await
}

pub fn counted<'a>(groups: impl Iterator<Item = &'a Unarchived>) -> Counts {
    let mut counts = Counts::default();
    for group in groups {
        let finals = if group.is_final { group.count } else { 0 };
        counts.count(group.state, group.count, finals);
    }
    counts
}

/// The groups as reasons that people read, the largest first, each with the name of one recording.
pub async fn told<'a>(
    db: &mut SqliteConnection,
    groups: impl Iterator<Item = &'a Unarchived>,
) -> anyhow::Result<Vec<Reason>> {
    let mut reasons: Vec<Reason> = Vec::new();
    for group in groups {
        let reason = group.reason.as_deref().unwrap_or("waiting");
        let reason = printable(reason.as_bytes());
        // Final or not is no difference to who reads the reason.
        match reasons.iter_mut().find(|other| other.state == group.state && other.reason == reason) {
            Some(known) => known.count += group.count,
            None => reasons.push(Reason {
                state: group.state,
                reason,
                count: group.count,
                example: name_of(db, group.example_id).await?,
            }),
        }
    }
    reasons.sort_by(|one, other| {
        let order = |reason: &Reason| (-reason.count, reason.state.as_str(), reason.reason.clone());
        order(one).cmp(&order(other))
    });
    Ok(reasons)
}

async fn name_of(db: &mut SqliteConnection, id: i64) -> anyhow::Result<String> {
    let name: RecordingName = sqlx::query_scalar("select name from recordings where id = ?")
        .bind(id)
        .one(db, "reading a recording's name")
        .await?;
    Ok(name.to_string())
}
