//! One point: a work, a call of it, and what happens there.

use std::fmt;
use std::fs;
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::export;
use super::fault::{Fault, watch};
use super::house::House;
use super::work::Work;
use crate::support::program::{Said, eventually};
use crate::support::shim::Shim;

/// How long the service may go on after a call has failed, to show what comes of it.
const AFTERMATH: Duration = Duration::from_millis(400);

/// A point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) work: Work,
    pub(crate) fault: Fault,
    /// Which call, from 1.
    pub(crate) at: usize,
}

/// What came of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The run had fewer calls.
    NotReached,
    /// It happened, and the run went on to its end nevertheless.
    Survived,
    /// It happened, and the run ended with an error, or at once.
    Ended,
}

impl Point {
    /// Lets it happen, and checks what is left and what comes next.
    pub(crate) async fn run(self, house: &mut House, shim: &Shim) -> Outcome {
        let before = house.lay(self.work.base()).await;
        let notes = house.path("notes");
        let mut command = house.command(self.work);
        self.fault.tell(&mut command, shim, self.at, &notes);
        let said = run_to_end(house, self.work, command);
        let fired = fs::read_to_string(notes.join("fired"));
        let Ok(call) = fired else {
            said.exits(0);
            return Outcome::NotReached;
        };
        let outcome = self.judge(house, said, call.trim());
        self.judge_retried(house);
        let (acknowledged, losses) = house.examine(&before).await;
        assert!(losses.are_none(), "at once: {losses:?}");
        self.resume(house);
        house.finish(&acknowledged).await;
        outcome
    }

    /// Whether it ended as it must.
    fn judge(self, house: &House, said: Said, call: &str) -> Outcome {
        if self.fault == Fault::Kill {
            // At its very end it may be quicker than the signal.
            assert!([0, 128 + 9].contains(&said.code), "{call}: {said:?}");
            return if said.code == 0 { Outcome::Survived } else { Outcome::Ended };
        }
        if said.code != 0 {
            assert!(!self.fault.is_harmless() || self.is_final_for_sqlite(call), "{call}: {said:?}");
            assert!((1..=5).contains(&said.code), "{said:?}");
            assert!(!said.stderr.trim().is_empty(), "it says nothing: {said:?}");
            return Outcome::Ended;
        }
        if self.work.archives_all() && self.work != Work::Service {
            assert_eq!(house.archived(), house.names(), "{call}: it says that all is done: {said:?}");
        }
        if self.work.hands_out() {
            assert!(export::is_whole(&house.path("out/export")), "{call}: {said:?}");
        }
        Outcome::Survived
    }

    /// SQLite goes on with a write that was interrupted, and with nothing else. Local disks do not interrupt the rest.
    fn is_final_for_sqlite(self, call: &str) -> bool {
        self.fault == Fault::Interrupted && !call.contains("write")
    }

    /// A failed sync is final for its file: the kernel may have forgotten what it could not write, and the next sync says
    /// "done" all the same. Of the database's files that is SQLite's to know: frames whose sync has failed are not in its index,
    /// and the sync on closing is that of the earlier ones.
    fn judge_retried(self, house: &House) {
        let retried = fs::read_to_string(house.path("notes/retried")).unwrap_or_default();
        let ours = retried.lines().find(|path| !path.contains("callvault.db"));
        assert_eq!(ours, None, "was synced again after a sync of it had failed");
    }

    /// What the operator does next, before all else.
    fn resume(self, house: &mut House) {
        match self.work {
            Work::Rebuild if !house.path("state/callvault.db").exists() => {
                house.run(Work::Rebuild).exits(0);
            }
            work if work.hands_out() => {
                let out = house.path("out/export");
                if export::is_whole(&out) {
                    // Was handed out just before: under this name another one is refused.
                    fs::remove_dir_all(house.path("out")).unwrap();
                    fs::create_dir(house.path("out")).unwrap();
                }
                house.run(self.work).exits(0);
                assert!(export::is_whole(&out));
            }
            Work::Retry | Work::Verify => drop(house.run(self.work).exits(0)),
            _ => {}
        }
    }
}

/// Starts the program, and waits for its end. The service is asked to end when it has archived all, or a little after a call
/// has failed.
fn run_to_end(house: &mut House, work: Work, command: std::process::Command) -> Said {
    let mut running = house.start(command);
    if work == Work::Service {
        let fired = house.path("notes/fired");
        let mut since: Option<Instant> = None;
        eventually("the service has archived all", || {
            if since.is_none() && fired.exists() {
                since = Some(Instant::now());
            }
            let is_over = since.is_some_and(|since| since.elapsed() > AFTERMATH);
            running.has_ended() || is_over || house.archived() == house.names()
        });
        if !running.has_ended() {
            running.signal(Signal::TERM);
        }
    }
    running.wait()
}

/// How many calls a work makes, undisturbed.
pub(crate) async fn count(house: &mut House, shim: &Shim, work: Work) -> usize {
    house.lay(work.base()).await;
    let notes = house.path("notes");
    let mut command = house.command(work);
    watch(&mut command, shim, &notes);
    command.env("FAULT_LOG", notes.join("log"));
    run_to_end(house, work, command).exits(0);
    fs::read_to_string(notes.join("log")).unwrap().lines().count()
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.work, self.fault, self.at)
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("no point is written {text:?}; one is later:kill:17");
        let [work, fault, at] =
            text.split(':').collect::<Vec<_>>().try_into().map_err(|_: Vec<&str>| unknown())?;
        let work = Work::ALL.into_iter().find(|known| known.to_string() == work).ok_or_else(unknown)?;
        let mut faults = Fault::ERRORS.into_iter().chain([Fault::Kill]);
        let fault = faults.find(|known| known.to_string() == fault).ok_or_else(unknown)?;
        Ok(Self { work, fault, at: at.parse().map_err(|_| unknown())? })
    }
}
