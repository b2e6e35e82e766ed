//! What was reported and not yet acted on, and the calls that reports named, until the CDR should list them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// The least time between two wakes of one PBX and kind: a burst of reports is one sweep, and one more for its end.
const APART: Duration = Duration::from_millis(500);

/// How long after a call's wake there is another one: a report may come before the row that it is about, which no source
/// rules out (`docs/pbx-api.md` §13).
const ECHO_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PushEvent {
    pub pbx: String,
    pub kind: PushKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PushKind {
    NewCdr,
    /// The PBX has started: its sessions are gone, and with them where reports go.
    BootUp,
}

/// Events on their way to whoever acts on them. Clones share them.
///
/// A call is taken a second time somewhat later, for its row may come after its report.
/// To wake never waits, needs no room for more than one event per PBX and kind, and loses none: an event that comes
/// after another one was taken is taken again.
#[derive(Debug, Clone, Default)]
pub struct Wakes(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    /// What is to be taken, and from when on.
    due: BTreeMap<PushEvent, Due>,
    taken: BTreeMap<PushEvent, Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    at: Instant,
    /// Whether it repeats an event that was taken, and nothing new was reported since.
    is_echo: bool,
}

impl Wakes {
    pub fn wake(&self, event: PushEvent) {
        self.pending().note(event, Instant::now());
        self.0.changed.notify_one();
    }

    /// Waits for an event and takes it. For one taker at a time; may be given up and called again.
    pub async fn next(&self) -> PushEvent {
        loop {
            let changed = self.0.changed.notified();
            let taken = self.pending().take(Instant::now());
            match taken {
                Ok(event) => return event,
                Err(Some(due)) => drop(timeout_at(due, changed).await),
                Err(None) => changed.await,
            }
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn note(&mut self, event: PushEvent, now: Instant) {
        let soonest = self.taken.get(&event).map_or(now, |taken| now.max(*taken + APART));
        let due = self.due.entry(event).or_insert(Due { at: soonest, is_echo: false });
        *due = Due { at: due.at.min(soonest), is_echo: false };
    }

    /// Takes the event that is due first, or says when the next one will be.
    fn take(&mut self, now: Instant) -> Result<PushEvent, Option<Instant>> {
        let first = self.due.iter().min_by_key(|(_, due)| due.at).map(|(event, due)| (event.clone(), *due));
        let Some((event, due)) = first else { return Err(None) };
        if due.at > now {
            return Err(Some(due.at));
        }
        self.due.remove(&event);
        if event.kind == PushKind::NewCdr && !due.is_echo {
            self.due.insert(event.clone(), Due { at: now + ECHO_AFTER, is_echo: true });
        }
        self.taken.insert(event.clone(), now);
        Ok(event)
    }
}

/// How long the CDR has to list a call after its report: no source says how soon it does.
const LISTED_WITHIN: Duration = Duration::from_secs(3600);
/// Calls of one PBX that are kept at one time; the rest have no witness.
const CALLS_MAX: usize = 10_000;

/// The ids of those calls by PBX. Clones share them. A restart forgets them, and so does whoever takes them.
#[derive(Debug, Clone, Default)]
pub struct HeardCalls(Arc<Mutex<BTreeMap<String, BTreeMap<String, Instant>>>>);

impl HeardCalls {
    /// Notes a call that a report named.
    pub fn note(&self, pbx: &str, callid: &str, now: Instant) {
        let mut heard = self.heard();
        let calls = heard.entry(pbx.to_owned()).or_default();
        if calls.len() < CALLS_MAX {
            calls.entry(callid.to_owned()).or_insert(now);
        }
    }

    /// Takes those calls of a PBX that the CDR should list by now.
    pub fn take_due(&self, pbx: &str, now: Instant) -> Vec<String> {
        let mut heard = self.heard();
        let Some(calls) = heard.get_mut(pbx) else { return Vec::new() };
        let is_due = |at: Instant| now.duration_since(at) >= LISTED_WITHIN;
        let due = calls.iter().filter(|(_, at)| is_due(**at)).map(|(callid, _)| callid.clone()).collect();
        calls.retain(|_, at| !is_due(*at));
        due
    }

    fn heard(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<String, Instant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(pbx: &str, kind: PushKind) -> PushEvent {
        PushEvent { pbx: pbx.to_owned(), kind }
    }

    #[test]
    fn a_burst_is_one_event_and_one_more_for_what_came_after() {
        let (mut pending, start) = (Pending::default(), Instant::now());
        let call = || event("hq", PushKind::NewCdr);
        for _ in 0..1000 {
            pending.note(call(), start);
        }
        assert_eq!(pending.take(start), Ok(call()));
        assert_eq!(pending.take(start), Err(Some(start + ECHO_AFTER)));
        for _ in 0..1000 {
            pending.note(call(), start);
        }
        assert_eq!(pending.take(start), Err(Some(start + APART)));
        assert_eq!(pending.take(start + APART), Ok(call()));
        assert_eq!(pending.take(start + APART), Err(Some(start + APART + ECHO_AFTER)));
    }

    #[test]
    fn a_call_is_looked_for_once_more_and_a_restart_is_not() {
        let (mut pending, start) = (Pending::default(), Instant::now());
        pending.note(event("hq", PushKind::BootUp), start);
        assert_eq!(pending.take(start), Ok(event("hq", PushKind::BootUp)));
        assert_eq!(pending.take(start), Err(None));
        pending.note(event("hq", PushKind::NewCdr), start);
        let once_more = start + ECHO_AFTER;
        assert_eq!(pending.take(start), Ok(event("hq", PushKind::NewCdr)));
        assert_eq!(pending.take(once_more), Ok(event("hq", PushKind::NewCdr)));
        assert_eq!(pending.take(once_more), Err(None));
    }

    #[test]
    fn one_pbx_does_not_hold_up_another() {
        let (mut pending, start) = (Pending::default(), Instant::now());
        pending.note(event("hq", PushKind::NewCdr), start);
        pending.take(start).unwrap();
        pending.note(event("hq", PushKind::NewCdr), start);
        pending.note(event("hq", PushKind::BootUp), start);
        pending.note(event("branch", PushKind::NewCdr), start);
        assert_eq!(pending.take(start), Ok(event("branch", PushKind::NewCdr)));
        assert_eq!(pending.take(start), Ok(event("hq", PushKind::BootUp)));
        assert_eq!(pending.take(start), Err(Some(start + APART)));
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let wakes = Wakes::default();
        for kind in [PushKind::NewCdr, PushKind::BootUp] {
            let waiter = tokio::spawn({
                let wakes = wakes.clone();
                async move { wakes.next().await }
            });
            tokio::task::yield_now().await;
            assert!(!waiter.is_finished());
            wakes.wake(event("hq", kind));
            assert_eq!(waiter.await.unwrap(), event("hq", kind));
        }
    }
}

#[cfg(test)]
mod heard_tests {
    use super::*;

    #[test]
    fn a_call_is_due_once_an_hour_after_its_first_report() {
        let (heard, begin) = (HeardCalls::default(), Instant::now());
        heard.note("hq", "1709287502.118", begin);
        heard.note("hq", "1709287502.118", begin + Duration::from_secs(60));
        heard.note("lyon", "1709287503.1", begin);
        let later = begin + LISTED_WITHIN;
        assert!(heard.take_due("hq", later - Duration::from_secs(1)).is_empty());
        assert_eq!(heard.take_due("hq", later), ["1709287502.118"]);
        assert!(heard.take_due("hq", later).is_empty());
    }

    #[test]
    fn a_flood_of_reports_takes_no_more_than_its_room() {
        let (heard, begin) = (HeardCalls::default(), Instant::now());
        (0..CALLS_MAX + 5).for_each(|number| heard.note("hq", &format!("1709287502.{number}"), begin));
        assert_eq!(heard.take_due("hq", begin + LISTED_WITHIN).len(), CALLS_MAX);
    }
}
