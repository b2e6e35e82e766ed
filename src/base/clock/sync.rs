//! Whether others keep this machine's clock right, as far as the system tells.
//!
//! The kernel knows (`adjtimex(2)`), but the units forbid that call (`ProtectClock=yes` blocks all that could set the
//! clock), and no safe wrapper of it is well kept. So whoever may ask the kernel is asked: systemd-timesyncd leaves a file
//! when it has set the clock (systemd-timesyncd.service(8)), and `timedatectl` tells for every other program, by the
//! kernel's own estimate of the error (`NTPSynchronized`, org.freedesktop.timedate1(5)). Where neither is there, as in
//! most containers, nothing is known, and that is no evidence against the clock.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Mutex;

use crate::base::blocking::on_thread;

/// Made by systemd-timesyncd when it has synchronised the clock; gone with the next boot.
const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";
/// Asks systemd-timedated, which may ask the kernel.
const TIMEDATECTL: &str = "/usr/bin/timedatectl";
/// It answers within milliseconds, or something is wrong with it.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long an answer holds: a clock does not come off its time server from one minute to the next.
const HOLDS: Duration = Duration::from_secs(300);

/// Whether others keep a clock right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sync {
    /// A time server does.
    Synchronised,
    /// Nobody does.
    Unsynchronised,
    /// The system does not tell. That says nothing against the clock.
    Unknown,
}

impl Sync {
    /// The word in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synchronised => "synchronised",
            Self::Unsynchronised => "unsynchronised",
            Self::Unknown => "unknown",
        }
    }

    /// Reads the word; another one is unknown.
    pub fn parse(word: &str) -> Self {
        let known = [Self::Synchronised, Self::Unsynchronised];
        known.into_iter().find(|sync| sync.as_str() == word).unwrap_or(Self::Unknown)
    }
}

/// What the system says of this machine's clock; an answer holds for some minutes.
pub(super) async fn of_this_machine() -> Sync {
    static LAST: Mutex<Option<(Instant, Sync)>> = Mutex::const_new(None);
    let mut last = LAST.lock().await;
    if let Some((at, sync)) = *last
        && at.elapsed() < HOLDS
    {
        return sync;
    }
    let sync = on_thread(ask).await.unwrap_or(Sync::Unknown);
    *last = Some((Instant::now(), sync));
    sync
}

fn ask() -> Sync {
    if Path::new(TIMESYNCD).exists() {
        return Sync::Synchronised;
    }
    answer(TIMEDATECTL, &["show", "--property=NTPSynchronized", "--value"])
        .map_or(Sync::Unknown, |said| read(&said))
}

fn read(said: &str) -> Sync {
    match said.trim() {
        "yes" => Sync::Synchronised,
        "no" => Sync::Unsynchronised,
        _ => Sync::Unknown,
    }
}

/// What a program prints, if it ends well and in time.
fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let began = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if began.elapsed() < ANSWERS_WITHIN => std::thread::sleep(LOOK_EVERY),
            // It hangs, or nobody can tell: it is ended, and nothing is known.
            _ => {
                let _ = child.kill().and_then(|()| child.wait());
                return None;
            }
        }
    };
    let mut said = String::new();
    child.stdout.take()?.read_to_string(&mut said).ok()?;
    status.success().then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_timedatectl_is_read_and_another_one_is_unknown() {
        assert_eq!(read("yes\n"), Sync::Synchronised);
        assert_eq!(read("no\n"), Sync::Unsynchronised);
        assert_eq!(read(""), Sync::Unknown);
    }

    #[test]
    fn who_cannot_be_asked_tells_nothing() {
        assert_eq!(answer("/nowhere/timedatectl", &[]), None);
        assert_eq!(answer("/bin/false", &[]), None);
        assert_eq!(answer("/bin/echo", &["no"]).as_deref(), Some("no\n"));
    }

    #[test]
    fn each_word_is_read_as_it_is_written() {
        for sync in [Sync::Synchronised, Sync::Unsynchronised, Sync::Unknown] {
            assert_eq!(Sync::parse(sync.as_str()), sync);
        }
    }
}
