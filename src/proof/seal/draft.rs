//! Call lists on their way into the archive. All SQL on `list_drafts`, and what is marked when one is there.

use anyhow::Context as _;
use sqlx::SqliteConnection;

use super::untold::{UntoldCall, UntoldRecording};
use crate::base::digest::hex;

/// A call list that is on its way into the archive.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct ListDraft {
    pub(super) pbx: String,
    pub(super) day: String,
    /// The whole file.
    pub(super) text: String,
    /// The calls in it and their versions, as the database takes them.
    calls: String,
    /// The recordings in it, their states and attempts.
    recordings: String,
}

impl ListDraft {
    /// One of these lines, which tell of these calls and recordings.
    pub(super) fn new(
        pbx: &str,
        day: &str,
        lines: &[String],
        calls: &[UntoldCall],
        recordings: &[UntoldRecording],
    ) -> anyhow::Result<Self> {
        let calls: Vec<_> = calls.iter().map(|call| (call.id, hex(&call.version))).collect();
        let recordings: Vec<_> =
            recordings.iter().map(|recording| (recording.id, &recording.state, recording.attempts)).collect();
        Ok(Self {
            pbx: pbx.to_owned(),
            day: day.to_owned(),
            text: lines.iter().fold(String::new(), |text, line| text + line + "\n"),
            calls: serde_json::to_string(&calls)?,
            recordings: serde_json::to_string(&recordings)?,
        })
    }
}

/// The draft of a day, if there is one.
pub(super) async fn find(
    db: &mut SqliteConnection,
    pbx: &str,
    day: &str,
) -> anyhow::Result<Option<ListDraft>> {
    sqlx::query_as("select pbx, day, text, calls, recordings from list_drafts where pbx = ? and day = ?")
        .bind(pbx)
        .bind(day)
        .fetch_optional(db)
        .await
        .context("reading a drafted call list")
}

/// Keeps a draft until its file is there. If the day has one already, that one stays.
pub(super) async fn keep(tx: &mut SqliteConnection, draft: &ListDraft) -> anyhow::Result<()> {
    sqlx::query(
        "insert into list_drafts (pbx, day, text, calls, recordings) values (?, ?, ?, ?, ?) on conflict do nothing",
    )
    .bind(&draft.pbx)
    .bind(&draft.day)
    .bind(&draft.text)
    .bind(&draft.calls)
    .bind(&draft.recordings)
    .execute(tx)
    .await
    .context("drafting a call list")?;
    Ok(())
}

/// Lets go of a draft whose file is there; `false` if somebody else did so before.
pub(super) async fn forget(tx: &mut SqliteConnection, draft: &ListDraft) -> anyhow::Result<bool> {
    let done = sqlx::query("delete from list_drafts where pbx = ? and day = ? and text = ?")
        .bind(&draft.pbx)
        .bind(&draft.day)
        .bind(&draft.text)
        .execute(tx)
        .await
        .context("letting go of a drafted call list")?;
    Ok(done.rows_affected() > 0)
}

/// Marks calls and recordings of a draft as told, unless they changed meanwhile.
pub(super) async fn mark(tx: &mut SqliteConnection, draft: &ListDraft) -> anyhow::Result<()> {
    sqlx::query(
        "update calls set told_version = version from json_each(?) as told
         where calls.id = told.value ->> 0 and lower(hex(calls.version)) = told.value ->> 1",
    )
    .bind(&draft.calls)
    .execute(&mut *tx)
    .await
    .context("marking calls as told")?;
    sqlx::query(
        "update recordings set told = 1 from json_each(?) as told where recordings.id = told.value ->> 0
             and state = told.value ->> 1 and attempts = told.value ->> 2",
    )
    .bind(&draft.recordings)
    .execute(tx)
    .await
    .context("marking recordings as told")?;
    Ok(())
}
