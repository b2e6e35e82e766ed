//! A reader that has gone away is no reason to panic, and changes no exit code.

use crate::support::program::{Folder, Pbx, Said};

/// Runs the program with nobody at the other end of stdout, or of stderr, or of both.
fn unheard(folder: &Folder, args: &[&str], streams: (bool, bool)) -> Said {
    let mut command = folder.command(args);
    // Each pipe's reader is dropped at once.
    if streams.0 {
        command.stdout(std::io::pipe().unwrap().1);
    }
    if streams.1 {
        command.stderr(std::io::pipe().unwrap().1);
    }
    folder.start(command).wait()
}

#[test]
fn no_command_minds_that_nobody_listens() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    for streams in [(true, false), (false, true), (true, true)] {
        for (args, code) in [
            (&["backfill"][..], 0),
            (&["backfill", "--json"], 0),
            (&["backfill", "--dry-run"], 0),
            (&["retry"], 0),
            (&["status"], 0),
            (&["status", "--json"], 0),
            (&["config", "check"], 0),
            (&["config", "check", "--json"], 0),
            (&["backfill", "--pbx", "nosuch"], 2),
            (&["backfill", "--josn"], 2),
            (&["simulate", "--version", "v9"], 2),
        ] {
            assert_eq!(unheard(&folder, args, streams).code, code, "{args:?} {streams:?}");
        }
    }
}

#[test]
fn messages_of_the_log_may_go_unheard() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    let mut command = folder.command(["backfill", "--json"]);
    command.env("CALLVAULT_LOG", "trace").stderr(std::io::pipe().unwrap().1);
    folder.start(command).wait().exits(0).json();
}
