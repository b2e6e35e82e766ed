//! Messages to the operator: one form for all channels, stored as JSON until they are delivered.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::store::alert_queue::Firing;

/// A message as webhooks receive it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    /// `callvault.alerts` or `callvault.digest`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) timestamp: Timestamp,
    pub(super) data: Data,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Data {
    /// One line; the subject of a mail.
    pub(super) title: String,
    pub(super) text: String,
    /// What began, lasts or is over; in a digest, all that is wrong.
    pub(super) alerts: Vec<Report>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) event: Event,
    pub(super) condition: String,
    pub(super) pbx: Option<String>,
    pub(super) severity: String,
    pub(super) message: String,
    pub(super) since: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    Firing,
    Reminder,
    Recovered,
}

impl Report {
    pub(super) fn of(firing: &Firing, event: Event) -> Self {
        Self {
            event,
            condition: firing.condition.clone(),
            pbx: firing.pbx.clone(),
            severity: firing.severity.clone(),
            message: firing.message.clone(),
            since: Timestamp::from_second(firing.first_seen_at_ms / 1000).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }

    fn entry(&self, zone: &TimeZone) -> String {
        let since = self.since.to_zoned(zone.clone());
        format!("- {} (since {})\n  {}\n", self.brief(), since.strftime("%F %R %Z"), self.message)
    }

    /// What and where, in a few words.
    fn brief(&self) -> String {
        let what = self.condition.replace('_', " ");
        match &self.pbx {
            Some(pbx) => format!("{pbx}: {what}"),
            None => what,
        }
    }
}

impl Message {
    pub(super) fn of_alerts(reports: Vec<Report>, now: Timestamp, zone: &TimeZone) -> Self {
        let mut text = String::new();
        for (event, heading) in
            [(Event::Firing, "Began:"), (Event::Reminder, "Still wrong:"), (Event::Recovered, "Over:")]
        {
            let of_event = reports.iter().filter(|report| report.event == event);
            let entries: String = of_event.map(|report| report.entry(zone)).collect();
            if !entries.is_empty() {
                text += &format!("{heading}\n{entries}\n");
            }
        }
        let data = Data { title: title(&reports), text: text.trim_end().to_owned(), alerts: reports };
        Self { kind: "callvault.alerts".to_owned(), timestamp: whole_seconds(now), data }
    }
}

pub(super) fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// What and where for one alert, otherwise the numbers.
fn title(reports: &[Report]) -> String {
    let prefix = |event| match event {
        Event::Firing => "",
        Event::Reminder => "still: ",
        Event::Recovered => "over: ",
    };
    if let [one] = reports {
        return format!("callvault: {}{}", prefix(one.event), one.brief());
    }
    let count = |event, words| {
        let count = reports.iter().filter(|report| report.event == event).count();
        (count > 0).then(|| format!("{count} {words}"))
    };
    let counts = [
        count(Event::Firing, "began"),
        count(Event::Reminder, "still wrong"),
        count(Event::Recovered, "over"),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let first = reports.first().map(|first| format!(" ({}, …)", first.brief())).unwrap_or_default();
    format!("callvault: {}{first}", counts.join(", "))
}
