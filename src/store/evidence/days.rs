//! The verdict on the list of a day, and what its rows came by.

use jiff::{Timestamp, civil::Date};
use sqlx::SqliteConnection;

use super::Verdict;
use crate::store::sql::{BindAll as _, Fetch as _, Run as _};

/// What one reading says of the list of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayVerdict {
    /// How far it can be believed, its doubtful lines left out.
    pub verdict: Verdict,
    /// Why it is not whole, as the end of a sentence.
    pub cause: Option<String>,
    /// Whether it was late enough after the day's end for all of its calls to be listed.
    pub late: bool,
    pub facts: ListFacts,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListFacts {
    /// Its rows, those of neighbouring hours included.
    pub rows: u64,
    /// The requests that they came in.
    pub parts: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    Api {
        /// How the PBX was known: `pinned`, `roots` or `plain`.
        transport: &'a str,
        /// The SHA-256 of the pinned key, in hex.
        key_sha256: Option<&'a str>,
    },
    /// A file with this SHA-256, in hex; none if it was not read to its end.
    File {
        /// Of all of its bytes.
        sha256: Option<&'a str>,
    },
}

/// Keeps a verdict; whether it is another than the one before, so that what was certified does not hold any more.
///
/// An early reading tells nothing after a late one did. One that was not answered takes nothing back: what was listed
/// once stays listed.
pub async fn note_verdict(
    tx: &mut SqliteConnection,
    pbx: &str,
    day: Date,
    of_day: &DayVerdict,
    now: Timestamp,
) -> anyhow::Result<bool> {
    let before: Option<(Option<Verdict>, bool)> =
        sqlx::query_as("select verdict, verdict_late from days where pbx = ? and day = ?")
            .bind_all((pbx, day))
            .maybe(tx, "reading the verdict on a day")
            .await?;
    let (before, was_late) = before.unwrap_or_default();
    let stays = match before {
        None => false,
        Some(_) if was_late && !of_day.late => true,
        Some(Verdict::Unread) => false,
        Some(_) => of_day.verdict == Verdict::Unread && (was_late || !of_day.late),
    };
    if stays {
        return Ok(false);
    }
    sqlx::query(
        "insert into days (pbx, day, verdict, verdict_cause, verdict_late, last_read_at_ms, verdict_at_ms, verdict_rows,
             verdict_parts)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8)
         on conflict (pbx, day) do update set
             verdict = excluded.verdict, verdict_cause = excluded.verdict_cause, verdict_late = excluded.verdict_late,
             verdict_at_ms = excluded.verdict_at_ms, verdict_rows = excluded.verdict_rows,
             verdict_parts = excluded.verdict_parts",
    )
    .bind_all((pbx, day, of_day.verdict, &of_day.cause, of_day.late, now))
    .bind_all((i64::try_from(of_day.facts.rows)?, i64::try_from(of_day.facts.parts)?))
    .run(tx, "keeping the verdict on a day")
    .await?;
    Ok(before.is_some_and(|before| before != of_day.verdict))
}

/// Notes what rows of a day came by.
pub async fn note_source(
    tx: &mut SqliteConnection,
    pbx: &str,
    day: Date,
    source: Source<'_>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let (word, transport, sha256) = match source {
        Source::Api { transport, key_sha256 } => ("api", transport, key_sha256),
        Source::File { sha256 } => ("file", "", sha256),
    };
    sqlx::query(
        "insert into provenance (pbx, day, source, transport, sha256, first_at_ms) values (?, ?, ?, ?, ?, ?)
         on conflict do nothing",
    )
    .bind_all((pbx, day, word, transport, sha256.unwrap_or_default(), now))
    .run(tx, "noting what rows came by")
    .await
}
