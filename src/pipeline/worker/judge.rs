//! What a failure means for its recording: pure decisions, tested as a table.

use std::time::Duration;

use jiff::Timestamp;

use super::fetch::Failure;
use super::receive::Doubt;
use crate::archive::{ArchiveError, Reaction};
use crate::base::digest::Digest;
use crate::base::recording::RecordingKind;
use crate::config::{PbxLimits, QueueConfig};
use crate::pbx::Reason;
use crate::store::fleet::{MISSING_STREAK_MAX, Remembered};
use crate::store::queue::{self, Absence, Job, PutBack, RecordingState};
use crate::store::sql::Ms;
use crate::store::voicemail;

/// When a PBX that lacks a recording is asked again, after each answer; the last wait repeats.
const ASK_AGAIN_AFTER: [Duration; 4] = [
    Duration::from_secs(10 * 60),
    Duration::from_secs(3600),
    Duration::from_secs(6 * 3600),
    Duration::from_secs(24 * 3600),
];
/// Answers that must count before an absence is final.
const ANSWERS_MIN: u32 = 6;
/// Two equal downloads at least this far apart are all that the PBX has, whatever their header declares.
const MISFIT_APART: Duration = Duration::from_secs(3600);

/// How far apart downloads are that differed again and again.
const MISFIT_RARELY: Duration = Duration::from_secs(24 * 3600);
/// How many times as long as one recording was waited for in vain the others come first.
const OTHERS_FIRST: u32 = 4;

/// What a judgement rests on besides the failure itself.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) job: &'a Job,
    pub(super) queue: &'a QueueConfig,
    pub(super) limits: &'a PbxLimits,
    /// What is remembered of the PBX, this answer included.
    pub(super) pbx: &'a Remembered,
    pub(super) boxes: &'a voicemail::Remembered,
    pub(super) now: Timestamp,
    /// A random number from 0 to 1.
    pub(super) jitter: f64,
}

/// Whether an error concerns the whole archive: nothing else can be archived either until it is mended.
pub(super) fn concerns_archive(error: &ArchiveError) -> bool {
    error.reaction() != Reaction::Retry
}

/// Decides what becomes of a recording whose attempt failed.
pub(super) fn judge(failure: &Failure, facts: &Facts<'_>) -> PutBack {
    match failure {
        Failure::Stopped => PutBack::Unclaimed,
        // It cost nothing, and is asked for again after others: whatever it is about, it is not first twice in a row.
        Failure::Pbx(error) if error.policy().concerns_pbx() => {
            PutBack::Postponed { due_at: later(facts.now, facts.queue.retry_base) }
        }
        Failure::Archive(error) if concerns_archive(error) => PutBack::Unclaimed,
        // It may come back on the PBX, or a person may say what the file is: until then it is asked for.
        Failure::Found { .. } => PutBack::Retry {
            reason: failure.reason(),
            due_at: later(facts.now, queue::STUCK_AGAIN_AFTER),
            misfit: None,
        },
        failure if failure.is_not_there() => absent(facts, Lack::Missing),
        Failure::Deleted { beside_others } => absent(facts, Lack::Deleted { beside_others: *beside_others }),
        Failure::NotReady => absent(facts, Lack::NotReady),
        Failure::Misfit { sha256, doubt } => misfit(facts, &failure.reason(), *sha256, *doubt),
        other => retry(facts, &other.reason(), facts.job.misfit, least_wait(other, facts.limits)),
    }
}

/// The least wait after a failure: what the PBX itself asked for. One that took long must not take a connection from the
/// others again at once: it is asked for again when those have had several times as long.
fn least_wait(failure: &Failure, limits: &PbxLimits) -> Duration {
    let Failure::Pbx(error) = failure else { return Duration::ZERO };
    let asked = error.retry_after().unwrap_or_default();
    asked.max(match error.reason() {
        Reason::Timeout => limits.reply_timeout * OTHERS_FIRST,
        Reason::Stall | Reason::Slow => limits.idle_timeout * OTHERS_FIRST,
        _ => Duration::ZERO,
    })
}

/// Whether a download that does not prove itself whole equals one of at least an hour ago.
pub(super) fn is_all_there_is(job: &Job, sha256: Digest, now: Timestamp) -> bool {
    job.misfit.is_some_and(|(earlier, at)| earlier == sha256 && elapsed(at, now) >= MISFIT_APART)
}

/// Whether the PBX has given an empty file for so long that it is all it has.
pub(super) fn empty_is_final(job: &Job, queue: &QueueConfig, now: Timestamp) -> bool {
    job.state != RecordingState::Missing && job.absent.is_some_and(|absence| is_final(&absence, queue, now))
}

/// What is certainly audio is never given up: it waits for a download that equals it. Only a transfer that breaks off
/// elsewhere each time is a failure like others.
fn misfit(facts: &Facts<'_>, reason: &str, sha256: Digest, doubt: Doubt) -> PutBack {
    let (job, now) = (facts.job, facts.now);
    let is_over = in_a_row(job, reason) + 1 >= facts.queue.attempts_max;
    let (first_at, wait) = match (job.misfit, doubt) {
        // The same bytes again: asking earlier than an hour after the first time would prove nothing.
        (Some((earlier, at)), _) if earlier == sha256 => (at, MISFIT_APART.saturating_sub(elapsed(at, now))),
        (_, Doubt::Cut) => return retry(facts, reason, Some((sha256, now)), Duration::ZERO),
        (_, Doubt::Header | Doubt::Untold) if is_over => (now, MISFIT_RARELY),
        // It came to its end: the next download will not differ, and only an hour makes two of them a proof.
        (_, Doubt::Header | Doubt::Untold) => (now, MISFIT_APART),
    };
    if is_over && job.state == RecordingState::Archived {
        return PutBack::RefetchOver;
    }
    let misfit = Some((sha256, first_at));
    PutBack::Retry { reason: reason.to_owned(), due_at: later(now, wait), misfit }
}

/// How often a recording has failed for this reason without another one between.
fn in_a_row(job: &Job, reason: &str) -> u32 {
    if job.reason.as_deref() == Some(reason) { job.reason_attempts } else { 0 }
}

/// Waits with exponential backoff and full jitter, at least `wait_min`; stuck after too many failures for one reason, which
/// means that it is asked for once a day.
fn retry(
    facts: &Facts<'_>,
    reason: &str,
    misfit: Option<(Digest, Timestamp)>,
    wait_min: Duration,
) -> PutBack {
    let job = facts.job;
    let in_a_row = in_a_row(job, reason);
    if in_a_row + 1 >= facts.queue.attempts_max {
        return match job.state {
            RecordingState::Archived => PutBack::RefetchOver,
            _ => PutBack::Stuck {
                reason: reason.to_owned(),
                due_at: later(facts.now, queue::STUCK_AGAIN_AFTER),
                misfit,
            },
        };
    }
    let wait = backoff(facts.queue, in_a_row, facts.jitter).max(wait_min);
    PutBack::Retry { reason: reason.to_owned(), due_at: later(facts.now, wait), misfit }
}

/// The wait after the `failures`-th repeated failure: anything up to an exponentially growing bound.
fn backoff(queue: &QueueConfig, failures: u32, jitter: f64) -> Duration {
    let bound = queue.retry_base.saturating_mul(2u32.saturating_pow(failures.min(20))).min(queue.retry_max);
    bound.mul_f64(jitter.clamp(0.0, 1.0))
}

/// In which way a PBX has no audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    /// It lists it and says that it has no such file.
    Missing,
    /// A voicemail box does not show the message any more.
    Deleted {
        beside_others: bool,
    },
    NotReady,
}

/// The PBX has no audio: asked again on a schedule, final only after several days of it.
fn absent(facts: &Facts<'_>, lack: Lack) -> PutBack {
    if facts.job.state == RecordingState::Archived {
        return PutBack::RefetchOver;
    }
    let (absence, believed) = count_answer(facts, lack);
    let wait = ASK_AGAIN_AFTER[(absence.answers as usize).clamp(1, ASK_AGAIN_AFTER.len()) - 1];
    // An empty file is never given up: when its time is over, the next one is archived as all there is.
    let over = lack != Lack::NotReady && believed && is_final(&absence, facts.queue, facts.now);
    let (state, reason) = match lack {
        Lack::Missing => (RecordingState::Missing, "missing"),
        Lack::Deleted { .. } => (RecordingState::Missing, "deleted"),
        Lack::NotReady => (RecordingState::Pending, "not_ready"),
    };
    let due_at = (!over).then(|| later(facts.now, wait));
    PutBack::Absent { state, reason, absence, due_at, gap_number: None }
}

/// Counts an answer, and tells whether it is believed. Answers of the other kind do not count.
fn count_answer(facts: &Facts<'_>, lack: Lack) -> (Absence, bool) {
    let now = facts.now;
    let same_kind = (facts.job.state == RecordingState::Missing) == (lack != Lack::NotReady);
    let Some(before) = facts.job.absent.filter(|_| same_kind) else {
        return (Absence { since: now, asked_at: now, answers: 1 }, true);
    };
    let believed = is_believed(facts, lack, before.asked_at);
    (Absence { since: before.since, asked_at: now, answers: before.answers + u32::from(believed) }, believed)
}

/// A PBX whose store is offline says "missing" of everything, and shows empty boxes. So it is believed only if it has
/// delivered another recording of that store since the last answer; or, of a message, if the boxes showed any other.
fn is_believed(facts: &Facts<'_>, lack: Lack, since: Timestamp) -> bool {
    let (pbx, boxes) = (facts.pbx, facts.boxes);
    let after = |at: Option<Ms>| at.is_some_and(|Ms(at)| at.as_millisecond() >= since.as_millisecond());
    match (lack, facts.job.kind) {
        (Lack::NotReady, _) => true,
        (Lack::Missing, RecordingKind::Call) => {
            after(pbx.last_delivery_at_ms) && pbx.missing_streak < MISSING_STREAK_MAX
        }
        (Lack::Missing, RecordingKind::Voicemail) => after(boxes.delivered_at_ms),
        (Lack::Deleted { beside_others }, _) => {
            beside_others || after(boxes.listed_at_ms) || after(boxes.delivered_at_ms)
        }
    }
}

/// Both the calendar and the count must agree, for a clock that jumps ahead proves nothing.
fn is_final(absence: &Absence, queue: &QueueConfig, now: Timestamp) -> bool {
    absence.answers >= ANSWERS_MIN && elapsed(absence.since, now) >= queue.missing_final_after
}

pub(super) fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO)
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
