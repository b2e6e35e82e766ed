//! Lines of lists that cannot be believed, and what clears them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use jiff::{Timestamp, civil::Date};

use crate::base::digest::Digest;
use crate::store::sql::{BindAll as _, Conn, Day, Fetch as _, Ms, Run as _};

/// A line that cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoubtfulLine {
    /// SHA-256 of the line as it was received.
    pub line_sha256: Digest,
    pub cause: String,
    /// The call's id, where the line tells it for certain.
    pub callid: Option<String>,
    /// The days that it can concern: the first and the last.
    pub days: (Date, Date),
}

/// A list that was read to its end, as far as its doubts are concerned.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "a closure has nothing to show")]
pub struct InputList<'a> {
    pub pbx: &'a str,
    /// Whether the list holds the call of this identity.
    pub is_listed: &'a (dyn Fn(&Digest) -> bool + Sync),
    /// Names the list: that of a day, or a file.
    pub input: &'a str,
    pub lines: u64,
    pub whole: bool,
    /// Whether that was late enough for all of its calls to be listed.
    pub late: bool,
    pub doubtful: &'a [DoubtfulLine],
    /// Lines that were in doubt before, and could be read in it.
    pub read: &'a BTreeSet<Digest>,
}

/// The open doubts of a PBX, to be compared with the lines that come.
#[derive(Debug, Clone, Default)]
pub struct OpenDoubts {
    lines: BTreeSet<Digest>,
    accepted: BTreeSet<Digest>,
}

impl OpenDoubts {
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub fn contains(&self, line_sha256: &Digest) -> bool {
        self.lines.contains(line_sha256)
    }

    /// Whether the operator has accepted a day with this line in it: he knows of it.
    pub fn is_accepted(&self, line_sha256: &Digest) -> bool {
        self.accepted.contains(line_sha256)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// The days whose doubts are others than before.
    pub days: BTreeSet<Date>,
}

pub async fn open_doubts(db: &mut Conn, pbx: &str) -> Result<OpenDoubts> {
    let rows: Vec<(Digest, bool)> = sqlx::query_as(
        "select line_sha256, exists (select 1 from accepted_doubts where doubt = doubts.id) from doubts
         where pbx = ? and cleared_at_ms is null",
    )
    .bind(pbx)
    .all(db, "reading open doubts")
    .await?;
    let mut open = OpenDoubts::default();
    for (line, is_accepted) in rows {
        open.lines.insert(line);
        if is_accepted {
            open.accepted.insert(line);
        }
    }
    Ok(open)
}

#[derive(sqlx::FromRow)]
struct OpenRow {
    id: i64,
    input: String,
    day_from: Day,
    day_to: Day,
    line_sha256: Digest,
    callid: Option<String>,
    callid_lines: Option<i64>,
    list_lines: i64,
    list_late: bool,
}

/// Keeps the doubts that a list raises, and clears those that it settles.
///
/// A line that tells its call raises none if as many rows of that call are known as the list has lines of it: then it is
/// one of them, and what was listed once stays listed. A doubt is settled when its very line can be read; when so many
/// rows of its call are known; or, where it tells no call, when the list does not hold it any more, has no doubtful line
/// left, and no fewer lines than it had.
pub async fn settle_doubts(tx: &mut Conn, list: &InputList<'_>, now: Timestamp) -> Result<Settled> {
    let mut settled = Settled::default();
    let mut lines: BTreeMap<&str, CallLines> = BTreeMap::new();
    for line in list.doubtful {
        let of_call = match &line.callid {
            None => None,
            Some(callid) => {
                if !lines.contains_key(&**callid) {
                    lines.insert(callid, CallLines::of(tx, list, line, callid).await?);
                }
                lines.get(&**callid)
            }
        };
        if of_call.is_some_and(CallLines::are_known) {
            continue;
        }
        if raise(tx, list, line, of_call.map(|of_call| of_call.listed), now).await? {
            settled.days.extend(days_of(line.days));
        }
    }
    for row in cleared_by(tx, list).await? {
        sqlx::query("update doubts set cleared_at_ms = ? where id = ?")
            .bind_all((now, row.id))
            .run(tx, "clearing a doubt")
            .await?;
        settled.days.extend(days_of((row.day_from.0, row.day_to.0)));
    }
    Ok(settled)
}

/// The open doubts of a day that nobody has accepted: how many, and since when there is one.
pub async fn doubts_since(db: &mut Conn, pbx: &str, day: Date) -> Result<Option<(i64, Timestamp)>> {
    let (count, since): (i64, Option<Ms>) = sqlx::query_as(
        "select count(*), min(first_seen_at_ms) from doubts
         where pbx = ?1 and cleared_at_ms is null and day_from <= ?2 and day_to >= ?2
             and not exists (select 1 from accepted_doubts where doubt = doubts.id and day = ?2)",
    )
    .bind_all((pbx, day))
    .one(db, "reading since when a day is in doubt")
    .await?;
    Ok(since.map(|Ms(since)| (count, since)))
}

/// The lines of one call in a list, and what is known of the call.
#[derive(Debug, Clone, Copy)]
struct CallLines {
    /// Those that could be read, and those that could not.
    listed: i64,
    /// Its rows that are known, from whatever list.
    known: i64,
}

impl CallLines {
    async fn of(tx: &mut Conn, list: &InputList<'_>, line: &DoubtfulLine, callid: &str) -> Result<Self> {
        let (from, to) = beside(line.days);
        let known: Vec<Digest> = sqlx::query_scalar(
            "select identity from calls where pbx = ? and day between ? and ?
                 and trim(json_extract(row, '$.callid')) = ?",
        )
        .bind_all((list.pbx, from, to, callid))
        .all(tx, "reading the rows of a call")
        .await?;
        let read = known.iter().filter(|identity| (list.is_listed)(identity)).count();
        let doubtful = list.doubtful.iter().filter(|line| line.callid.as_deref() == Some(callid)).count();
        Ok(Self { listed: i64::try_from(read + doubtful)?, known: i64::try_from(known.len())? })
    }

    fn are_known(&self) -> bool {
        self.known >= self.listed
    }
}

/// The rows of a call that are known, from whatever list. Its legs may lie beyond midnight.
async fn known_rows(tx: &mut Conn, pbx: &str, days: (Date, Date), callid: &str) -> Result<i64> {
    let (from, to) = beside(days);
    sqlx::query_scalar(
        "select count(*) from calls where pbx = ? and day between ? and ? and trim(json_extract(row, '$.callid')) = ?",
    )
    .bind_all((pbx, from, to, callid))
    .one(tx, "counting the rows of a call")
    .await
}

/// The days and those next to them, as SQL compares them.
fn beside((from, to): (Date, Date)) -> (String, String) {
    let (before, after) = (from.yesterday().unwrap_or(from), to.tomorrow().unwrap_or(to));
    (before.to_string(), after.to_string())
}

fn days_of((from, to): (Date, Date)) -> impl Iterator<Item = Date> {
    std::iter::successors(Some(from), |day| day.tomorrow().ok()).take_while(move |day| *day <= to)
}

/// Keeps a doubt; whether it is news.
async fn raise(
    tx: &mut Conn,
    list: &InputList<'_>,
    line: &DoubtfulLine,
    callid_lines: Option<i64>,
    now: Timestamp,
) -> Result<bool> {
    let known: Option<(i64, bool)> = sqlx::query_as(
        "select id, cleared_at_ms is not null from doubts where pbx = ? and input = ? and line_sha256 = ?",
    )
    .bind_all((list.pbx, list.input, &line.line_sha256))
    .maybe(tx, "looking up a doubt")
    .await?;
    let lines = i64::try_from(list.lines)?;
    if let Some((id, is_back)) = known {
        sqlx::query(
            "update doubts set last_seen_at_ms = ?, list_lines = ?, list_late = ?, cause = ?, callid_lines = ?,
                 cleared_at_ms = null where id = ?",
        )
        .bind_all((now, lines, list.late, &line.cause, callid_lines, id))
        .run(tx, "renewing a doubt")
        .await?;
        return Ok(is_back);
    }
    sqlx::query(
        "insert into doubts (pbx, day_from, day_to, input, line_sha256, cause, callid, first_seen_at_ms,
             last_seen_at_ms, list_lines, list_late, callid_lines)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?11)",
    )
    .bind_all((list.pbx, line.days.0, line.days.1, list.input))
    .bind_all((&line.line_sha256, &line.cause, &line.callid, now, lines, list.late))
    .bind_all((callid_lines,))
    .run(tx, "keeping a doubt")
    .await?;
    Ok(true)
}

async fn cleared_by(tx: &mut Conn, list: &InputList<'_>) -> Result<Vec<OpenRow>> {
    let mut cleared = Vec::new();
    let still: BTreeSet<&Digest> = list.doubtful.iter().map(|line| &line.line_sha256).collect();
    for row in open_rows(tx, list).await? {
        let is_settled = match row.callid.as_deref().zip(row.callid_lines) {
            _ if list.read.contains(&row.line_sha256) => true,
            Some((callid, lines)) => {
                let days = (row.day_from.0, row.day_to.0);
                known_rows(tx, list.pbx, days, callid).await? >= lines
            }
            None => {
                let is_gone = list.whole && list.doubtful.is_empty() && !still.contains(&row.line_sha256);
                is_gone && list.late && row.list_late && i64::try_from(list.lines)? >= row.list_lines
            }
        };
        if is_settled {
            cleared.push(row);
        }
    }
    Ok(cleared)
}

/// The open doubts that this list can clear: its own, and those of lines which it holds readably.
async fn open_rows(tx: &mut Conn, list: &InputList<'_>) -> Result<Vec<OpenRow>> {
    let mut rows: Vec<OpenRow> =
        sqlx::query_as("select * from doubts where pbx = ? and cleared_at_ms is null order by id")
            .bind(list.pbx)
            .all(tx, "reading open doubts")
            .await?;
    rows.retain(|row| row.input == list.input || list.read.contains(&row.line_sha256));
    Ok(rows)
}
