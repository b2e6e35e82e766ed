//! The agenda: what the service does by itself, when each thing last ran and when it is next due. All SQL on `jobs`.
//!
//! The plan lives in memory; the database keeps what ran and what is due next, so that a run which was missed while the
//! machine slept, or was off, is made up for once.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};

use crate::base::bell::{Bell, Listener};
use crate::base::schedule::CronLine;
use crate::base::words::words;
use crate::config::ScheduleConfig;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Ms, Run as _};

/// The part of a job's period over which the PBXs are spread.
const JITTER: f64 = 0.2;
/// The most that a PBX is put off by that.
const JITTER_MAX: SignedDuration = SignedDuration::from_hours(1);
/// A clock that went back by more than this was set.
const STEP_BACK: SignedDuration = SignedDuration::from_secs(2);

/// A job of a PBX (empty if it concerns all), and when it is due.
pub type Due = ((Job, String), Timestamp);

/// When a job last ran that never did.
const NEVER_MS: i64 = 0;

words! {
    /// What there is to do. In the order in which it is done where several things wait.
    pub enum Job as "job" {
        /// A PBX's event: look at its latest calls.
        Nudge = "nudge",
        /// Read the days that may still change.
        Sweep = "sweep",
        /// Look into the voicemail boxes. After a sweep, which tells the offset from UTC by which messages are dated.
        Voicemail = "voicemail",
        DeepSweep = "deep_sweep",
        Seal = "seal",
        /// Look whether the archive holds what it should.
        Verify = "verify",
        /// Read a part of the archive again.
        Scrub = "scrub",
        History = "history",
        Snapshot = "snapshot",
    }
}

impl Job {
    /// When it runs; `None` for what only an event brings about.
    fn line(self, schedule: &ScheduleConfig) -> Option<&CronLine> {
        match self {
            Self::Nudge => None,
            Self::Voicemail => Some(&schedule.voicemail),
            Self::Sweep => Some(&schedule.sweep),
            Self::DeepSweep => Some(&schedule.deep_sweep),
            Self::Seal => Some(&schedule.seal),
            Self::Verify => Some(&schedule.verify),
            Self::Scrub => Some(&schedule.scrub),
            Self::History => Some(&schedule.history),
            Self::Snapshot => Some(&schedule.snapshot),
        }
    }

    /// Whether one that never ran is due at once. The others have nothing to make up for.
    fn begins_at_once(self) -> bool {
        matches!(self, Self::Sweep | Self::Voicemail | Self::Seal)
    }
}

/// What waits for one of the service's loops. What waits already does not wait twice.
#[derive(Debug, Clone, Default)]
pub struct Todo {
    waiting: Arc<Mutex<Waiting>>,
    bell: Bell,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: BTreeSet<Job>,
    last: Option<Job>,
}

impl Todo {
    /// Adds a job and wakes the loop.
    pub fn add(&self, job: Job) {
        self.put_back(job);
        self.bell.ring();
    }

    /// Adds a job that could not be done, without waking anybody.
    pub fn put_back(&self, job: Job) {
        self.lock().jobs.insert(job);
    }

    /// Takes the next job. They take turns: one that comes again and again keeps none of the others waiting.
    pub fn next(&self) -> Option<Job> {
        let mut waiting = self.lock();
        let after_last =
            waiting.last.and_then(|last| waiting.jobs.range((Excluded(last), Unbounded)).next().copied());
        let job = after_last.or_else(|| waiting.jobs.first().copied())?;
        waiting.jobs.remove(&job);
        waiting.last = Some(job);
        Some(job)
    }

    pub fn is_empty(&self) -> bool {
        self.lock().jobs.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the loop: something beside the jobs has changed.
    pub fn wake(&self) {
        self.bell.ring();
    }

    pub fn listen(&self) -> Listener {
        self.bell.listen()
    }
}

#[derive(Debug, Clone)]
pub struct Agenda {
    entries: Vec<Entry>,
    looked_at: Timestamp,
}

#[derive(Debug, Clone)]
struct Entry {
    job: Job,
    /// Empty for a job that concerns all.
    pbx: String,
    line: CronLine,
    next_due: Timestamp,
    todo: Todo,
}

impl Agenda {
    pub fn new(now: Timestamp) -> Self {
        Self { entries: Vec::new(), looked_at: now }
    }

    /// Puts a job on the agenda. What was due while nobody looked is due now.
    pub async fn plan(
        &mut self,
        db: &mut Conn,
        job: Job,
        pbx: &str,
        schedule: &ScheduleConfig,
        todo: &Todo,
    ) -> Result<()> {
        let Some(line) = job.line(schedule) else { return Ok(()) };
        let mut entry = Entry {
            job,
            pbx: pbx.to_owned(),
            line: line.clone(),
            next_due: self.looked_at,
            todo: todo.clone(),
        };
        let planned = entry.after(self.looked_at);
        let due: Option<Ms> = sqlx::query_scalar("select next_due_at_ms from jobs where job = ? and pbx = ?")
            .bind_all((job, pbx))
            .maybe(db, "reading the agenda")
            .await?;
        entry.next_due = match due {
            // A wait longer than the line asks for was set by another line, or another clock.
            Some(Ms(due)) => due.min(planned),
            None if job.begins_at_once() => self.looked_at,
            None => planned,
        };
        self.entries.push(entry);
        Ok(())
    }

    /// Hands out what is due. `true` if the clock was set back since the last look.
    pub fn look(&mut self, now: Timestamp) -> bool {
        let set_back = now < self.looked_at.saturating_sub(STEP_BACK).unwrap_or(Timestamp::MIN);
        self.looked_at = now;
        for entry in &mut self.entries {
            if set_back {
                // Waits from a clock that was ahead would last until it is there again. How long ago a job really ran
                // nobody knows now: what does no harm is done at once.
                let planned = if entry.job.begins_at_once() { now } else { entry.after(now) };
                entry.next_due = entry.next_due.min(planned);
            }
            if entry.next_due <= now {
                entry.next_due = entry.after(now);
                entry.todo.add(entry.job);
            }
        }
        set_back
    }

    /// Remembers when jobs that never ran are due: one that is missed because nothing runs then is made up for, too.
    pub async fn remember(&self, tx: &mut Conn) -> Result<()> {
        for entry in self.entries.iter().filter(|entry| !entry.job.begins_at_once()) {
            sqlx::query(
                "insert into jobs (job, pbx, last_run_at_ms, next_due_at_ms) values (?, ?, ?, ?)
                 on conflict do nothing",
            )
            .bind_all((entry.job, &entry.pbx, NEVER_MS, entry.next_due))
            .run(tx, format!("planning `{}`", entry.job.as_str()))
            .await?;
        }
        Ok(())
    }

    /// When each job is next due, by job and PBX; a PBX that is empty stands for all.
    pub fn dues(&self) -> Vec<Due> {
        self.entries.iter().map(|entry| ((entry.job, entry.pbx.clone()), entry.next_due)).collect()
    }

    pub fn due(&self, job: Job, pbx: &str) -> Option<Timestamp> {
        let entry = self.entries.iter().find(|entry| entry.job == job && entry.pbx == pbx)?;
        Some(entry.next_due)
    }
}

impl Entry {
    /// The first time after `now`, put off by the PBX's own part of the jitter.
    fn after(&self, now: Timestamp) -> Timestamp {
        let next = self.line.next_after(now);
        if self.pbx.is_empty() {
            return next;
        }
        let period = self.line.next_after(next).duration_since(next);
        let jitter = period.min(JITTER_MAX * 5).mul_f64(JITTER * share(&self.pbx)).min(JITTER_MAX);
        next.saturating_add(jitter).unwrap_or(next)
    }
}

/// A number from 0 to 1 that is always the same for one PBX.
fn share(pbx: &str) -> f64 {
    let mut hasher = DefaultHasher::new();
    pbx.hash(&mut hasher);
    f64::from(u32::try_from(hasher.finish() >> 32).expect("32 bits are left")) / f64::from(u32::MAX)
}

pub async fn note_run(tx: &mut Conn, job: Job, pbx: &str, now: Timestamp, next_due: Timestamp) -> Result<()> {
    sqlx::query(
        "insert into jobs (job, pbx, last_run_at_ms, next_due_at_ms) values (?, ?, ?, ?)
         on conflict (job, pbx) do update set last_run_at_ms = excluded.last_run_at_ms,
             next_due_at_ms = excluded.next_due_at_ms",
    )
    .bind_all((job, pbx, now, next_due))
    .run(tx, format!("noting that `{}` ran", job.as_str()))
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn entry(job: Job, pbx: &str, next_due: &str) -> Entry {
        let schedule = ScheduleConfig::default();
        let line = job.line(&schedule).unwrap().clone();
        Entry { job, pbx: pbx.to_owned(), line, next_due: at(next_due), todo: Todo::default() }
    }

    #[test]
    fn what_was_missed_is_made_up_for_once() {
        let mut agenda = Agenda::new(at("2026-03-01T00:00:00Z"));
        agenda.entries.push(entry(Job::Sweep, "", "2026-03-01T00:05:00Z"));
        let todo = agenda.entries[0].todo.clone();
        agenda.look(at("2026-03-09T17:01:00Z"));
        agenda.look(at("2026-03-09T17:01:01Z"));
        assert_eq!((todo.next(), todo.next()), (Some(Job::Sweep), None));
        assert_eq!(agenda.due(Job::Sweep, ""), Some(at("2026-03-09T17:05:00Z")));
    }

    #[test]
    fn what_comes_again_and_again_keeps_nothing_else_waiting() {
        let todo = Todo::default();
        todo.add(Job::Nudge);
        todo.add(Job::Sweep);
        let mut done = Vec::new();
        for _ in 0..4 {
            done.push(todo.next().unwrap());
            todo.add(Job::Nudge);
            todo.add(Job::Voicemail);
        }
        assert_eq!(done, [Job::Nudge, Job::Sweep, Job::Voicemail, Job::Nudge]);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_put_anything_off() {
        let mut agenda = Agenda::new(at("2027-03-01T00:00:00Z"));
        agenda.entries.push(entry(Job::Sweep, "", "2027-03-01T00:05:00Z"));
        let todo = agenda.entries[0].todo.clone();
        agenda.look(at("2026-03-01T00:01:00Z"));
        assert_eq!(todo.next(), Some(Job::Sweep));
        assert_eq!(agenda.due(Job::Sweep, ""), Some(at("2026-03-01T00:05:00Z")));
    }

    #[test]
    fn pbxs_do_not_all_begin_in_the_same_second() {
        let due =
            |pbx: &str| entry(Job::Sweep, pbx, "2026-03-01T00:00:00Z").after(at("2026-03-01T00:00:00Z"));
        let dues: BTreeSet<Timestamp> = (0..50).map(|n| due(&format!("site-{n}"))).collect();
        assert!(dues.len() > 40);
        assert!(dues.iter().all(|due| *due < at("2026-03-01T00:06:01Z")));
        assert_eq!(due("hq"), due("hq"));
    }
}
