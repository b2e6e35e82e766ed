//! How recordings come into the queue, and how an operator's rules keep them out.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use jiff::Timestamp;
use jiff::civil::Date;
use sqlx::{QueryBuilder, Sqlite};

use super::{DayRange, RecordingState};
use crate::base::digest::hex;
use crate::base::recording::{RecordingKind, RecordingName};
use crate::base::salt::Salt;
use crate::store::sql::{BindAll as _, Conn, Day, Fetch as _, Ms, Run as _};

/// The reason of a pending recording that is held: a rule may keep it out, and its row cannot be read.
pub const DOUBTFUL_ROW: &str = "doubtful_row";

/// A recording that a CDR row names, or a message in a voicemail box.
#[derive(Debug, Clone)]
pub struct NewRecording<'a> {
    pub pbx: &'a str,
    pub kind: RecordingKind,
    /// The device's serial number; empty while nobody knows it.
    pub sn: &'a str,
    pub name: &'a RecordingName,
    pub day: Date,
    pub started_at: Timestamp,
    /// Paths to choose from, the best first: the first that nobody holds is taken, for ever.
    pub paths: &'a [String],
}

/// What became of a recording that was offered to the queue.
#[derive(Debug, Clone, Copy)]
pub struct Enqueued {
    pub id: i64,
    /// Whether it was unknown until now.
    pub new: bool,
    pub state: RecordingState,
    /// Start of the first call that named it.
    pub started_at: Timestamp,
}

/// Puts a recording into the queue, ready at once, unless it is there already.
pub async fn enqueue(tx: &mut Conn, recording: &NewRecording<'_>) -> Result<Enqueued> {
    if let Some(known) = find_all(tx, std::slice::from_ref(recording)).await?.remove(&0) {
        return Ok(known);
    }
    let path = free_path(tx, recording.paths).await?;
    let id = sqlx::query_scalar(
        "insert into recordings (pbx, kind, sn, name, day, started_at_ms, path, salt, ready)
         values (?, ?, ?, ?, ?, ?, ?, ?, 1) returning id",
    )
    .bind_all((recording.pbx, recording.kind, recording.sn, recording.name.as_bytes()))
    .bind_all((recording.day, recording.started_at, path, &Salt::random().as_bytes()[..]))
    .one(tx, format!("putting {} into the queue", recording.name))
    .await?;
    Ok(Enqueued { id, new: true, state: RecordingState::Pending, started_at: recording.started_at })
}

/// Puts a page of recordings into the queue: those that are known or get their best path by a few statements, the others each
/// by its own.
pub async fn enqueue_all(tx: &mut Conn, recordings: &[NewRecording<'_>]) -> Result<Vec<Enqueued>> {
    if recordings.is_empty() {
        return Ok(Vec::new());
    }
    let known = find_all(tx, recordings).await?;
    let inserted = insert_at_best_path(tx, recordings, &known).await?;
    let mut enqueued = Vec::with_capacity(recordings.len());
    for (at, recording) in recordings.iter().enumerate() {
        enqueued.push(match (known.get(&at), inserted.get(&at)) {
            (Some(known), _) => *known,
            (None, Some(id)) => Enqueued {
                id: *id,
                new: true,
                state: RecordingState::Pending,
                started_at: recording.started_at,
            },
            // Something else has its path, or another row of the page names it too.
            (None, None) => enqueue(tx, recording).await?,
        });
    }
    Ok(enqueued)
}

/// Those of `recordings` that are in the queue, by their place.
async fn find_all(tx: &mut Conn, recordings: &[NewRecording<'_>]) -> Result<HashMap<usize, Enqueued>> {
    let wanted: Vec<_> = recordings
        .iter()
        .map(|wanted| (wanted.pbx, wanted.kind.as_str(), wanted.sn, hex(wanted.name.as_bytes())))
        .collect();
    // One that was archived before the serial number was known is the same one. If there are both, the one with a serial
    // number counts: it comes last.
    let rows: Vec<(u32, i64, RecordingState, Ms)> = sqlx::query_as(
        "select element.key, recordings.id, state, started_at_ms from json_each(?) element cross join recordings
             on pbx = element.value ->> 0 and kind = element.value ->> 1 and sn in (element.value ->> 2, '')
             and name = unhex(element.value ->> 3)
         order by sn",
    )
    .bind(serde_json::to_string(&wanted)?)
    .all(tx, "looking up a page of recordings")
    .await?;
    let enqueued = |(at, id, state, Ms(started_at)): (u32, i64, RecordingState, Ms)| {
        (at as usize, Enqueued { id, new: false, state, started_at })
    };
    Ok(rows.into_iter().map(enqueued).collect())
}

/// Inserts those of `recordings` that are not `known` and whose best path nobody has, each once, and returns their ids by
/// their place.
async fn insert_at_best_path(
    tx: &mut Conn,
    recordings: &[NewRecording<'_>],
    known: &HashMap<usize, Enqueued>,
) -> Result<HashMap<usize, i64>> {
    let unknown = || recordings.iter().enumerate().filter(|(at, _)| !known.contains_key(at));
    let paths: Vec<&String> = unknown().filter_map(|(_, recording)| recording.paths.first()).collect();
    let taken: Vec<String> = sqlx::query_scalar(
        "select lower(value) from json_each(?) where exists (select 1 from recordings where path = value)
             or exists (select 1 from archived_files where path = value)",
    )
    .bind(serde_json::to_string(&paths)?)
    .all(tx, "looking for free paths")
    .await?;
    let mut taken: HashSet<String> = taken.into_iter().collect();
    let mut names = HashSet::new();
    let mut new = Vec::new();
    for (at, recording) in unknown() {
        let is_first = names.insert((recording.kind.as_str(), recording.name));
        let path = recording.paths.first().map(|path| path.to_ascii_lowercase());
        if is_first && path.is_some_and(|path| taken.insert(path)) {
            new.push((at, recording));
        }
    }
    let next_id: i64 = sqlx::query_scalar("select coalesce(max(id), 0) + 1 from recordings")
        .one(tx, "looking for the next recording")
        .await?;
    let rows: Vec<_> = new
        .iter()
        .map(|(_, new)| {
            let (name, started_at_ms) = (hex(new.name.as_bytes()), new.started_at.as_millisecond());
            (new.pbx, new.kind.as_str(), new.sn, name, new.day, started_at_ms, &new.paths[0])
        })
        .collect();
    let salts: Vec<u8> = new.iter().flat_map(|_| *Salt::random().as_bytes()).collect();
    sqlx::query(
        "insert into recordings (id, salt, pbx, kind, sn, name, day, started_at_ms, path, ready)
         select ?1 + key, substr(?2, key * 32 + 1, 32), value ->> 0, value ->> 1, value ->> 2, unhex(value ->> 3),
             value ->> 4, value ->> 5, value ->> 6, 1
         from json_each(?3)",
    )
    .bind_all((next_id, salts, serde_json::to_string(&rows)?))
    .run(tx, "putting a page of recordings into the queue")
    .await?;
    Ok(new.iter().zip(next_id..).map(|((at, _), id)| (*at, id)).collect())
}

async fn free_path<'a>(tx: &mut Conn, paths: &'a [String]) -> Result<&'a str> {
    for path in paths {
        let taken: bool = sqlx::query_scalar(
            "select exists (select 1 from recordings where path = ?1)
                 or exists (select 1 from archived_files where path = ?1)",
        )
        .bind(path)
        .one(tx, "looking for a free path")
        .await?;
        if !taken {
            return Ok(path);
        }
    }
    anyhow::bail!("every path for this recording is taken: {}", paths.join(", "))
}

/// Gives the learnt serial number to recordings that were heard of before it was known. What the ledger tells of, or is
/// about to, keeps the name by which it was told.
pub async fn assign_serial_number(tx: &mut Conn, pbx: &str, sn: &str) -> Result<()> {
    sqlx::query(
        "update or ignore recordings set sn = ? where pbx = ? and sn = '' and run_id is null and gap_number is null
             and not exists (select 1 from archived_files where recording_id = recordings.id)",
    )
    .bind_all((sn, pbx))
    .run(tx, "assigning the serial number")
    .await
}

/// Keeps a recording out because of `rule`, and tells whether that changed anything. An archived one stays archived; one
/// that is claimed is excluded once its claim has ended in anything else.
pub async fn exclude(tx: &mut Conn, id: i64, rule: &str) -> Result<bool> {
    sqlx::query(
        "update recordings set state = 'excluded', reason = ?1, ready = 0, due_at_ms = null, told = 0
         where id = ?2 and (state in ('pending', 'missing', 'stuck') or state = 'excluded' and reason <> ?1)",
    )
    .bind_all((rule, id))
    .changed(tx, "excluding a recording")
    .await
}

/// Lets a recording back in that no rule keeps out or holds any more, and tells whether that changed anything.
pub async fn include(tx: &mut Conn, id: i64) -> Result<bool> {
    sqlx::query(
        "update recordings set state = 'pending', reason = null, ready = (run_id is null), told = 0
         where id = ?1 and (state = 'excluded' or state = 'pending' and reason = ?2)",
    )
    .bind_all((id, DOUBTFUL_ROW))
    .changed(tx, "letting a recording back in")
    .await
}

/// Holds a recording of which the rules cannot tell whether they keep it out, and tells whether that changed anything.
///
/// It is owed and not asked for, until its row can be read. One that is claimed is held once its claim has ended in anything
/// else than the archive.
pub async fn hold(tx: &mut Conn, id: i64) -> Result<bool> {
    sqlx::query(
        "update recordings set state = 'pending', reason = ?1, ready = 0, due_at_ms = null, told = 0
         where id = ?2 and (state in ('stuck', 'excluded') or state = 'pending' and reason is not ?1)",
    )
    .bind_all((DOUBTFUL_ROW, id))
    .changed(tx, "holding a recording")
    .await
}

/// Asks once more for an archived recording: a later call names it too, and may mean other audio.
pub async fn schedule_refetch(tx: &mut Conn, id: i64) -> Result<()> {
    sqlx::query(
        "update recordings set refetch = 1, ready = 1, reason_attempts = 0
         where id = ? and state = 'archived' and refetch = 0 and run_id is null",
    )
    .bind(id)
    .run(tx, "asking for a recording once more")
    .await
}

/// Makes a missing recording pending and ready: the PBX shows it again. Also where its absence was final.
pub async fn revive(tx: &mut Conn, id: i64) -> Result<()> {
    sqlx::query(
        "update recordings set state = 'pending', reason = null, final = 0, told = 0, due_at_ms = null,
             ready = (run_id is null), absent_since_ms = null, absent_asked_at_ms = null, absent_answers = 0
         where id = ? and state = 'missing'",
    )
    .bind(id)
    .run(tx, "queueing a recording that is there again")
    .await
}

/// The next `limit` recordings of `pbx` after row `after` that a change of rules can concern: all that are not archived,
/// or, where there are no rules any more, those that one excluded or held.
pub async fn concerned_by_rules(
    db: &mut Conn,
    pbx: &str,
    after: i64,
    limit: i64,
    any_rules: bool,
) -> Result<Vec<i64>> {
    sqlx::query_scalar(
        "select id from recordings
         where pbx = ?1 and id > ?2 and (state = 'excluded' or state = 'pending' and reason = ?5
             or ?3 and state <> 'archived') order by id limit ?4",
    )
    .bind_all((pbx, after, any_rules, limit, DOUBTFUL_ROW))
    .all(db, "listing recordings")
    .await
}

/// Where a recording is, or would be.
pub async fn path_of(db: &mut Conn, id: i64) -> Result<Option<String>> {
    sqlx::query_scalar("select path from recordings where id = ?")
        .bind(id)
        .maybe(db, "reading the path of a recording")
        .await
}

/// Which recordings an operator wants asked for again.
#[derive(Debug, Clone, Default)]
pub struct Redrive {
    pub pbx: Option<String>,
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
pub async fn redrive(tx: &mut Conn, what: &Redrive) -> Result<Redriven> {
    let mut count = QueryBuilder::new("select pbx, count(*), min(day), max(day) from recordings where ");
    what.push_condition(&mut count);
    count.push(" group by pbx order by pbx");
    let groups: Vec<(String, u64, Day, Day)> =
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
    Ok(Redriven { changed, ..summed_up(&groups) })
}

/// Has what is stuck and waits for nothing asked for again at `due_at`: for a database that was made anew, which does not
/// know when each was asked for.
pub async fn schedule_stuck(tx: &mut Conn, pbx: &str, due_at: Timestamp) -> Result<()> {
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

fn summed_up(groups: &[(String, u64, Day, Day)]) -> Redriven {
    let mut redriven = Redriven::default();
    for &(ref pbx, count, Day(from), Day(to)) in groups {
        redriven.count += count;
        redriven.pbx.push(pbx.clone());
        let days = redriven.days.get_or_insert(DayRange { from, to });
        (days.from, days.to) = (days.from.min(from), days.to.max(to));
    }
    redriven
}
