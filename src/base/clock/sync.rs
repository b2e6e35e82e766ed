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

use tokio::sync::Mutex;

use crate::base::blocking::on_thread;
use crate::base::words::words;

/// Made by systemd-timesyncd when it has synchronised the clock; gone with the next boot.
const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";
/// Asks systemd-timedated, which may ask the kernel.
const TIMEDATECTL: &str = "/usr/bin/timedatectl";
/// It answers within milliseconds, or something is wrong with it.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long an answer holds: a clock does not come off its time server from one minute to the next.
const HOLDS: Duration = Duration::from_secs(300);

words! {
    /// Whether others keep a clock right.
    pub enum Sync as "state of the clock" {
        Synchronised = "synchronised",
        Unsynchronised = "unsynchronised",
        /// The system does not tell. That says nothing against the clock.
        Unknown = "unknown",
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
}
