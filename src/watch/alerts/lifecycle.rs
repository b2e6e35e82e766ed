//! Compares what is wrong now with what was reported: what has to be reported.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::condition::Alert;
use super::message::{Event, Report};
use crate::config::AlertsConfig;
use crate::store::alert_queue::Firing;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) keep: Vec<Firing>,
    /// Keys of alerts that are over.
    pub(super) over: Vec<String>,
    pub(super) reports: Vec<Report>,
}

/// What is new is reported at once; what lasts, again after `remind_every`; what is gone, after `hold_down`.
pub(super) fn compare(
    held: Vec<Firing>,
    present: &[Alert],
    config: &AlertsConfig,
    now: Timestamp,
) -> Changes {
    let mut changes = Changes::default();
    let keys: BTreeSet<String> = present.iter().map(Alert::key).collect();
    for alert in present {
        let key = alert.key();
        match held.iter().find(|firing| firing.key == key) {
            None => changes.begin(alert, now),
            Some(firing) => changes.go_on(firing.clone(), alert, config, now),
        }
    }
    for firing in held.into_iter().filter(|firing| !keys.contains(&firing.key)) {
        changes.end(firing, config, now);
    }
    changes
}

impl Changes {
    fn begin(&mut self, alert: &Alert, now: Timestamp) {
        let now_ms = now.as_millisecond();
        let firing = Firing {
            key: alert.key(),
            condition: alert.condition.as_str().to_owned(),
            pbx: alert.pbx.clone(),
            severity: alert.condition.severity().as_str().to_owned(),
            message: alert.message.clone(),
            first_seen_at_ms: alert.since.as_millisecond(),
            last_seen_at_ms: now_ms,
            told_at_ms: now_ms,
        };
        self.reports.push(Report::of(&firing, Event::Firing));
        self.keep.push(firing);
    }

    fn go_on(&mut self, mut firing: Firing, alert: &Alert, config: &AlertsConfig, now: Timestamp) {
        firing.message.clone_from(&alert.message);
        firing.last_seen_at_ms = now.as_millisecond();
        // A clock that was put back must not silence reminders until it has caught up.
        firing.told_at_ms = firing.told_at_ms.min(now.as_millisecond());
        if alert.condition.has_reminders() && has_passed(firing.told_at_ms, config.remind_every, now) {
            firing.told_at_ms = now.as_millisecond();
            self.reports.push(Report::of(&firing, Event::Reminder));
        }
        self.keep.push(firing);
    }

    fn end(&mut self, mut firing: Firing, config: &AlertsConfig, now: Timestamp) {
        if has_passed(firing.last_seen_at_ms, config.hold_down, now) {
            self.reports.push(Report::of(&firing, Event::Recovered));
            self.over.push(firing.key);
        } else if firing.last_seen_at_ms > now.as_millisecond() {
            firing.last_seen_at_ms = now.as_millisecond();
            self.keep.push(firing);
        }
    }
}

fn has_passed(since_ms: i64, wait: Duration, now: Timestamp) -> bool {
    let passed_ms = now.as_millisecond().saturating_sub(since_ms);
    u128::try_from(passed_ms).is_ok_and(|passed_ms| passed_ms >= wait.as_millis())
}
