//! Calls that reports told of, until it is looked whether the CDR lists them.
//!
//! Nothing else of a report is kept, and it is a witness only: what it says is never believed instead of the CDR.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long the CDR has to list a call after its report: no source says how soon it does.
const LISTED_WITHIN: Duration = Duration::from_secs(3600);
/// Calls of one PBX that are kept at one time; the rest have no witness.
const CALLS_MAX: usize = 10_000;

/// The ids of those calls by PBX. Clones share them. A restart forgets them, and so does whoever takes them.
#[derive(Debug, Clone, Default)]
pub struct HeardCalls(Arc<Mutex<BTreeMap<String, BTreeMap<String, Instant>>>>);

impl HeardCalls {
    /// Notes that a report told of a call.
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
