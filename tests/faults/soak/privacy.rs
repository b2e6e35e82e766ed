//! The memory of the process is its own: no core is written of it, and no other process of its user looks into it.

use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use callvault::simulator::SimulatorOptions;
use rustix::process::{Pid, Resource, Rlimit, Signal, getuid, kill_process, prlimit};

use crate::support::program::{Folder, Pbx, eventually};

/// Somebody who is not root.
const NOBODY: u32 = 65534;
/// What the kernel shows of a process to those who may look into it.
const INNER: [&str; 3] = ["environ", "maps", "mem"];

fn has_limits_for_cores(pid: Pid) -> bool {
    let unlimited = Rlimit { current: None, maximum: None };
    prlimit(Some(pid), Resource::Core, unlimited).is_ok()
}

/// Ends a process by a signal that makes a core, with no limit to it; whether there was one, if that can be tried here.
fn leaves_a_core(mut child: Child, signal: Signal) -> Option<bool> {
    let pid = Pid::from_child(&child);
    let has_limits = has_limits_for_cores(pid);
    let mut status = None;
    eventually("the signal ends it", || {
        // The first SIGSEGV goes to a handler, which tells an overflow of the stack from others.
        kill_process(pid, signal).ok();
        status = child.try_wait().unwrap();
        status.is_some()
    });
    has_limits.then(|| status.expect("it was waited for").core_dumped())
}

fn sleeper() -> Command {
    let mut sleeper = Command::new("sleep");
    sleeper.arg("600").stdin(Stdio::null());
    sleeper
}

#[test]
fn a_crash_leaves_no_core_however_large_one_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let control = sleeper().current_dir(dir.path()).spawn().unwrap();
    if leaves_a_core(control, Signal::ABORT) != Some(true) {
        return println!("SKIPPED: no process leaves a core here");
    }
    for signal in [Signal::ABORT, Signal::QUIT, Signal::SEGV] {
        let pbx = Pbx::start(SimulatorOptions { ..Pbx::options(3) });
        let folder = Folder::for_pbx(&pbx.url());
        let child = service(&folder, Path::new(env!("CARGO_BIN_EXE_callvault"))).spawn().unwrap();
        eventually("it has a token", || pbx.counters().downloads_ok > 0);
        assert_eq!(leaves_a_core(child, signal), Some(false), "{signal:?}");
        let top = fs::read_dir(folder.path("")).unwrap().map(|entry| entry.unwrap().file_name());
        let cores: Vec<_> = top.filter(|name| name.to_string_lossy().starts_with("core")).collect();
        assert!(cores.is_empty(), "{cores:?}");
    }
}

fn service(folder: &Folder, program: &Path) -> Command {
    // A shell that starts tests in the background has them, and all that they start, ignore SIGQUIT.
    let mut service = Command::new("env");
    service
        .arg("--default-signal=QUIT")
        .arg(program)
        .env_clear()
        .env("CALLVAULT_CONFIG", folder.config())
        .current_dir(folder.path(""))
        .arg("run")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    service
}

/// Whether a process of this user can open something of another one.
fn can_open(file: &str, user: u32) -> bool {
    let mut reader = Command::new("sh");
    reader.args(["-c", "exec < \"$1\"", "sh", file]).stderr(Stdio::null());
    as_user(&mut reader, user).status().unwrap().success()
}

/// Only root can become somebody else.
fn as_user(command: &mut Command, user: u32) -> &mut Command {
    if getuid().is_root() { command.uid(user).gid(user) } else { command }
}

#[test]
fn no_other_process_of_the_same_user_looks_into_it_and_it_works_all_the_same() {
    let user = if getuid().is_root() { NOBODY } else { getuid().as_raw() };
    let pbx = Pbx::with(3);
    let folder = Folder::for_pbx(&pbx.url());
    let program = hand_over(&folder, user);
    let mut control = as_user(&mut sleeper(), user).spawn().unwrap();
    let mut child = as_user(&mut service(&folder, &program), user).spawn().unwrap();
    eventually("all are archived", || {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        pbx.counters().downloads_ok == 3 && folder.path("state").exists()
    });
    let of = |pid: u32, name: &str| format!("/proc/{pid}/{name}");
    assert!(can_open(&of(control.id(), "environ"), user), "it sees other processes of its user");
    for name in INNER {
        assert!(!can_open(&of(child.id(), name), user), "{name}");
    }
    eventually("they are in the archive", || folder.recordings().len() == 3);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    control.kill().unwrap();
    control.wait().unwrap();
}

/// Gives the installation to a user, with a copy of the program that he can reach.
fn hand_over(folder: &Folder, user: u32) -> PathBuf {
    let program = folder.path("callvault");
    // Not by this process: another thread may fork while the file is open here, and then nobody may execute it yet.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_callvault")).arg(&program).status().unwrap();
    assert!(copied.success());
    if getuid().is_root() {
        let owner = format!("{user}:{user}");
        let given = Command::new("chown").args(["-R", &owner]).arg(folder.path("")).status().unwrap();
        assert!(given.success());
    }
    program
}
