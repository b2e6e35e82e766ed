//! What systemd does for a unit of `Type=notify`: a socket to report to, a watchdog, signals, an end to wait for.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::program::folder::Running;
use crate::support::program::{Folder, LIMIT, Said, eventually};

/// How often the listener looks whether it is still wanted.
const PATIENCE: Duration = Duration::from_millis(20);

/// No report is longer.
const REPORT_BYTES_MAX: usize = 4096;

/// What the unit sets.
fn environment_of_the_unit() -> impl Iterator<Item = (&'static str, &'static str)> {
    let unit = include_str!("../../systemd/callvault.service");
    unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
}

/// One datagram of the service.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    /// When it came.
    pub(crate) at: Instant,
    text: String,
}

impl Report {
    /// The value of a variable in it.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

/// What the listener and the test share.
#[derive(Default)]
struct Shared {
    reports: Mutex<Vec<Report>>,
    /// Set while the service is to be stopped, as by a debugger, the moment it says that it is ready.
    freezes: AtomicBool,
    pid: OnceLock<Pid>,
    ends: AtomicBool,
}

/// How the service is started.
#[derive(Default)]
pub(crate) struct Supervision {
    /// As `WatchdogSec=`.
    pub(crate) watchdog: Option<Duration>,
    /// Whether the service is stopped when it says that it is ready, so that a test sees what holds at that moment.
    pub(crate) freezes_when_ready: bool,
    /// What else is in its environment.
    pub(crate) environment: &'static [(&'static str, &'static str)],
}

/// A supervised service. Dropped, it is killed.
pub(crate) struct Service {
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
    running: Option<Running>,
}

impl Service {
    /// Starts the service and waits until it is ready.
    pub(crate) fn ready(folder: &Folder) -> Self {
        Self::start(folder, &Supervision::default()).until_ready()
    }

    /// Starts the service again and again until it is ready, as systemd does: a command may have the state for a while.
    pub(crate) fn ready_at_last(folder: &Folder) -> Self {
        let began = Instant::now();
        loop {
            let mut service = Self::start(folder, &Supervision::default());
            eventually("it is ready or has ended", || service.is_ready() || service.has_ended());
            if service.is_ready() {
                return service;
            }
            let said = service.wait().0.exits(1);
            assert!(said.stderr.contains("in use by another callvault"), "{said:?}");
            assert!(began.elapsed() < LIMIT, "the state is never free");
        }
    }

    fn is_ready(&self) -> bool {
        self.reports().iter().any(|report| report.get("READY") == Some("1"))
    }

    /// Starts the service.
    pub(crate) fn start(folder: &Folder, supervision: &Supervision) -> Self {
        // A socket of its own for each start, as two services may run in one folder.
        let socket = tempfile::Builder::new().prefix("notify-").tempdir_in(folder.path("")).unwrap().keep();
        let socket = socket.join("socket");
        let shared = Arc::new(Shared::default());
        shared.freezes.store(supervision.freezes_when_ready, Ordering::SeqCst);
        let receiver = UnixDatagram::bind(&socket).unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        let listener = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || listen(&receiver, &shared)
        });
        let mut command: Command = folder.command(["run"]);
        command.env("NOTIFY_SOCKET", &socket);
        command.envs(environment_of_the_unit());
        command.envs(supervision.environment.iter().copied());
        if let Some(watchdog) = supervision.watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        let running = folder.start(command);
        shared.pid.set(running.pid()).unwrap();
        Self { shared, listener: Some(listener), running: Some(running) }
    }

    /// Waits until it has said that it is ready.
    pub(crate) fn until_ready(mut self) -> Self {
        self.until("READY", |value| value == "1");
        self
    }

    /// Waits for a report of `name` whose value satisfies.
    pub(crate) fn until(&mut self, name: &str, satisfies: impl Fn(&str) -> bool) {
        self.until_after(0, name, satisfies);
    }

    /// Waits for such a report after the first `skip` ones; how many reports there were, it included. Panics at once
    /// if the service ends without it.
    pub(crate) fn until_after(&mut self, skip: usize, name: &str, satisfies: impl Fn(&str) -> bool) -> usize {
        let mut found = None;
        eventually(&format!("a report of {name}"), || {
            let ended = self.has_ended();
            if ended {
                self.hush();
            }
            let reports = self.reports();
            let is_it = |report: &Report| report.get(name).is_some_and(&satisfies);
            found = reports.iter().skip(skip).position(is_it).map(|at| skip + at + 1);
            assert!(found.is_some() || !ended, "it ended without {name}: {}", self.so_far());
            found.is_some()
        });
        found.expect("it was waited for")
    }

    /// All that it has reported so far.
    pub(crate) fn reports(&self) -> Vec<Report> {
        self.shared.reports.lock().unwrap().clone()
    }

    /// When it last said that it is alive.
    pub(crate) fn last_fed(&self) -> Option<Instant> {
        let reports = self.reports();
        reports.iter().rev().find(|report| report.get("WATCHDOG") == Some("1")).map(|report| report.at)
    }

    /// What it has written so far.
    pub(crate) fn so_far(&self) -> String {
        self.running().so_far()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        self.running().pid()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.running.as_mut().expect("it is taken in the end only").has_ended()
    }

    /// Waits for its end; then what it reported is complete.
    pub(crate) fn wait(mut self) -> (Said, Vec<Report>) {
        let said = self.running.take().expect("it is taken here only").wait();
        self.hush();
        for report in self.reports() {
            let secret = Said::secrets().into_iter().find(|secret| report.text.contains(secret));
            assert_eq!(secret, None, "a secret in {report:?}");
        }
        (said, self.reports())
    }

    /// Asks it to stop, as `systemctl stop` does, and waits.
    pub(crate) fn stop(self) -> (Said, Vec<Report>) {
        self.signal(Signal::TERM);
        self.wait()
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it is taken in the end only")
    }

    fn hush(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        if let Some(listener) = self.listener.take() {
            listener.join().unwrap();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.hush();
    }
}

/// Hears reports until nobody wants them any more, and none is left.
fn listen(receiver: &UnixDatagram, shared: &Shared) {
    let mut bytes = [0; REPORT_BYTES_MAX];
    loop {
        match receiver.recv(&mut bytes) {
            Ok(count) => hear(String::from_utf8(bytes[..count].to_vec()).unwrap(), shared),
            Err(_) if shared.ends.load(Ordering::SeqCst) => return,
            Err(_) => {}
        }
    }
}

fn hear(text: String, shared: &Shared) {
    let report = Report { at: Instant::now(), text };
    if report.get("READY").is_some() && shared.freezes.swap(false, Ordering::SeqCst) {
        eventually("the process is known", || shared.pid.get().is_some());
        kill_process(*shared.pid.get().expect("it was waited for"), Signal::STOP).unwrap();
    }
    shared.reports.lock().unwrap().push(report);
}
