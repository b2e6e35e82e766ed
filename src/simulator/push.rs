//! Where the device was told to send its reports, and what it has to report (`docs/pbx-api.md` §7).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, broadcast};

use super::call::SimCall;
use super::json::Members;
use super::lock;

/// The most reports that a stream which does not read can be behind before it misses some.
const STREAM_BACKLOG: usize = 256;

/// How the device reports its events.
#[derive(Debug, Clone)]
pub struct PushOptions {
    /// The port for event streams, which only v2.0.0 has; 0 takes a free one, `None` has none.
    pub stream_port: Option<u16>,
    /// How often a report that is not answered 200 is sent again; a real device does not stop.
    pub resends_max: u32,
    /// How long after.
    pub resend_after: Duration,
    /// The share of reports that are never sent, from 0 to 1.
    pub dropped: f64,
    /// How long after its report a call is listed in the CDR.
    pub row_after: Duration,
    /// How long after its report a recording can be fetched.
    pub file_after: Duration,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self {
            stream_port: None,
            resends_max: 5,
            resend_after: Duration::from_millis(100),
            dropped: 0.0,
            row_after: Duration::ZERO,
            file_after: Duration::ZERO,
        }
    }
}

/// A login or heartbeat that said where reports are to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Registration {
    /// `login` or `heartbeat`.
    pub by: &'static str,
    /// Who sent it.
    pub from: IpAddr,
    /// `ipaddr`, `port`, `url`, `urltag` and `version`, as far as they were given.
    pub ipaddr: Option<String>,
    /// The port.
    pub port: Option<String>,
    /// The path, or the whole address.
    pub url: Option<String>,
    /// `1` if `url` is a whole address.
    pub urltag: Option<String>,
    /// The form of the reports.
    pub version: Option<String>,
}

/// What became of reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PushCounters {
    /// Reports answered 200.
    pub accepted: u64,
    /// Posts that were not.
    pub refused: u64,
    /// Reports that were given up after too many of these.
    pub given_up: u64,
    /// Reports that were left out by chance.
    pub dropped: u64,
    /// Reports that nobody waited for: no destination and no stream, or no token that lives.
    pub unwanted: u64,
    /// Event streams that were opened.
    pub streams: u64,
    /// Logins on an event stream that were refused.
    pub streams_refused: u64,
}

/// What the device has to do.
#[derive(Debug)]
pub(super) enum Job {
    /// A call has ended.
    Call(Box<SimCall>),
    /// The device has started.
    BootUp,
}

/// What goes over the event streams.
#[derive(Debug, Clone)]
pub(super) enum Streamed {
    /// A report.
    Report(Vec<u8>),
    /// The device restarts: all streams end.
    Restart,
}

/// The device's reports.
#[derive(Debug)]
pub(super) struct Push {
    state: Mutex<State>,
    changed: Notify,
    pub(super) streams: broadcast::Sender<Streamed>,
}

#[derive(Debug, Default)]
struct State {
    registrations: Vec<Registration>,
    counters: PushCounters,
    jobs: VecDeque<Job>,
}

impl Registration {
    /// Reads the members of a login or a heartbeat. A port of 0 or none, without a path, asks for nothing.
    pub(super) fn read(by: &'static str, members: &Members, from: IpAddr) -> Option<Self> {
        let registration = Self {
            by,
            from,
            ipaddr: members.text("ipaddr"),
            port: members.text("port").filter(|port| port != "0"),
            url: members.text("url"),
            urltag: members.text("urltag"),
            version: members.text("version"),
        };
        (registration.port.is_some() || registration.url.is_some()).then_some(registration)
    }

    /// Host, port and path of the destination.
    pub(super) fn destination(&self) -> String {
        let url = self.url.as_deref().unwrap_or_default();
        if self.urltag.as_deref() == Some("1") {
            return url.strip_prefix("http://").unwrap_or(url).to_owned();
        }
        let host = self.ipaddr.clone().unwrap_or_else(|| self.from.to_string());
        let port = self.port.as_deref().unwrap_or("80");
        format!("{host}:{port}/{}", url.trim_start_matches('/'))
    }
}

impl Push {
    /// No destination, nothing to report.
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            streams: broadcast::Sender::new(STREAM_BACKLOG),
        }
    }

    /// Notes where reports are to go from now on.
    pub(super) fn register(&self, registration: Registration) {
        lock(&self.state).registrations.push(registration);
    }

    /// Everything that was ever registered.
    pub(super) fn registrations(&self) -> Vec<Registration> {
        lock(&self.state).registrations.clone()
    }

    /// Where reports go now.
    pub(super) fn registration(&self) -> Option<Registration> {
        lock(&self.state).registrations.last().cloned()
    }

    /// What became of reports.
    pub(super) fn counters(&self) -> PushCounters {
        lock(&self.state).counters
    }

    /// Counts something.
    pub(super) fn count(&self, change: impl FnOnce(&mut PushCounters)) {
        change(&mut lock(&self.state).counters);
    }

    /// Gives the device something to report.
    pub(super) fn give(&self, job: Job) {
        lock(&self.state).jobs.push_back(job);
        self.changed.notify_one();
    }

    /// Waits for something to report.
    pub(super) async fn next(&self) -> Job {
        loop {
            let job = lock(&self.state).jobs.pop_front();
            match job {
                Some(job) => return job,
                None => self.changed.notified().await,
            }
        }
    }
}
