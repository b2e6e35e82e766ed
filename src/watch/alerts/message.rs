//! Messages to the operator: one form for all channels, stored as JSON until they are delivered.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::store::outbox::Firing;

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
    pub(super) alerts: Vec<Told>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
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

impl Told {
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
    pub(super) fn of_alerts(told: Vec<Told>, now: Timestamp, zone: &TimeZone) -> Self {
        let mut text = String::new();
        for (event, heading) in
            [(Event::Firing, "Began:"), (Event::Reminder, "Still wrong:"), (Event::Recovered, "Over:")]
        {
            let mut of_event = told.iter().filter(|told| told.event == event).peekable();
            if of_event.peek().is_some() {
                section(&mut text, heading, of_event, zone).expect("writing to a String cannot fail");
            }
        }
        let data = Data { title: title(&told), text: text.trim_end().to_owned(), alerts: told };
        Self { kind: "callvault.alerts".to_owned(), timestamp: whole_seconds(now), data }
    }
}

pub(super) fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn section<'a>(
    text: &mut String,
    heading: &str,
    told: impl Iterator<Item = &'a Told>,
    zone: &TimeZone,
) -> std::fmt::Result {
    writeln!(text, "{heading}")?;
    for told in told {
        let since = told.since.to_zoned(zone.clone());
        writeln!(text, "- {} (since {})\n  {}", told.brief(), since.strftime("%F %R %Z"), told.message)?;
    }
    writeln!(text)
}

/// What and where for one alert, otherwise the numbers.
fn title(told: &[Told]) -> String {
    let prefix = |event| match event {
        Event::Firing => "",
        Event::Reminder => "still: ",
        Event::Recovered => "over: ",
    };
    if let [one] = told {
        return format!("callvault: {}{}", prefix(one.event), one.brief());
    }
    let count = |event, words| {
        let count = told.iter().filter(|told| told.event == event).count();
        (count > 0).then(|| format!("{count} {words}"))
    };
    let counts = [
        count(Event::Firing, "began"),
        count(Event::Reminder, "still wrong"),
        count(Event::Recovered, "over"),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let first = told.first().map(|first| format!(" ({}, …)", first.brief())).unwrap_or_default();
    format!("callvault: {}{first}", counts.join(", "))
}
