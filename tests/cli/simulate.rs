//! `simulate` prints a configuration that works as it stands.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;

use crate::support::program::{Folder, PASSWORD};

/// Starts the simulator, takes the configuration that it prints, and archives with it.
fn rehearse(kind: &[&str]) {
    let folder = Folder::for_pbx("https://192.0.2.1");
    let fixed = [
        "simulate",
        "--listen",
        "127.0.0.1:0",
        "--recordings",
        "5",
        "--size",
        "2000",
        "--password",
        PASSWORD,
    ];
    let mut command = folder.command([&fixed, kind].concat());
    command.stdout(fs::File::create(folder.path("printed")).unwrap());
    let simulator = folder.start(command);
    let printed = || fs::read_to_string(folder.path("printed")).unwrap();
    crate::support::program::eventually("the simulator is ready", || printed().contains("Ctrl-C ends it"));

    let printed = printed();
    let section: String =
        printed.lines().filter(|line| line.starts_with("  ")).collect::<Vec<_>>().join("\n");
    folder.edit(|text| text.split("[[pbx]]").next().unwrap().to_owned() + &section);
    let owner_only = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    fs::set_permissions(folder.config(), owner_only).unwrap();
    let said = folder.run(&["backfill", "--json"]);
    assert_eq!((said.code, said.count("archived") >= 5), (0, true), "{section}\n{said:?}");

    if !kind.contains(&"--tls") {
        let (_, counters) = printed.split_once("What it counts:  http://").unwrap();
        let (address, path) = counters.lines().next().unwrap().split_once('/').unwrap();
        assert!(get(address, &format!("/{path}")).contains("\"downloads_ok\":"));
    }
    simulator.signal(Signal::INT);
    simulator.wait().exits(0);
}

fn get(address: &str, path: &str) -> String {
    ask(address, "GET", path)
}

fn ask(address: &str, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn what_it_prints_is_a_configuration_that_works() {
    rehearse(&[]);
}

#[test]
fn so_does_that_of_a_newer_one() {
    rehearse(&["--version", "v2.0.0", "--event-port", "0"]);
}

#[test]
fn so_does_that_of_a_compatible_device() {
    rehearse(&["--version", "compatible", "--days", "1"]);
}

#[test]
fn so_does_that_of_one_with_https() {
    rehearse(&["--tls"]);
}

#[test]
fn one_that_lives_can_be_led_through_a_day_and_redirects_from_another_port() {
    let folder = Folder::for_pbx("https://192.0.2.1");
    let live = "simulate --listen 127.0.0.1:0 --redirect-from 127.0.0.1:0 --live --round-the-clock --days 1 \
        --recordings 20 --today 2024-10-27 --now 2024-10-26T22:00:00Z --keep-recording-days 1";
    let mut command = folder.command(live.split_ascii_whitespace());
    command.stdout(fs::File::create(folder.path("printed")).unwrap());
    let simulator = folder.start(command);
    let printed = || fs::read_to_string(folder.path("printed")).unwrap();
    crate::support::program::eventually("the simulator is ready", || printed().contains("Ctrl-C ends it"));

    let printed = printed();
    let after = |start: &str| {
        let (_, rest) = printed.split_once(start).unwrap();
        rest.split(['/', ' ']).next().unwrap().to_owned()
    };
    let (address, other) = (after("What it holds:   http://"), after("Requests to http://"));
    let held = || get(&address, "/simulator/truth").lines().filter(|line| line.starts_with('{')).count();
    assert_eq!(held(), 0, "the day has only begun");
    assert!(ask(&address, "POST", "/simulator/advance?s=90300").contains("2024-10-27T23:05"));
    assert_eq!(held(), 20);
    ask(&address, "POST", "/simulator/clock?at=2024-10-29T00:00:00Z");
    assert_eq!(held(), 0);
    let moved = ask(&other, "POST", "/api/v1.1.0/login");
    assert!(moved.contains(&format!("Location: http://{address}/api/v1.1.0/login")), "{moved}");
    simulator.signal(Signal::INT);
    simulator.wait().exits(0);
}

#[test]
fn so_does_that_of_one_with_https_and_an_event_stream_without() {
    rehearse(&["--tls", "--version", "v2.0.0", "--event-port", "0"]);
}

#[test]
fn options_that_make_no_sense_exit_2() {
    let folder = Folder::for_pbx("https://192.0.2.1");
    insta::assert_snapshot!(folder.run(&["simulate", "--version", "v9"]).exits(2).err(), @"callvault: --version v9 is not one that the simulator plays: use v1.0.x, v1.1.0, v2.0.0 or compatible");
    insta::assert_snapshot!(folder.run(&["simulate", "--faults", "{\"rest\":1}"]).exits(2).err(), @"callvault: --faults: unknown field `rest`, expected one of `refuse`, `hang`, `errno_20010`, `errno_30001`, `errno_30003`, `gateway_timeout`, `redirect`, `redirect_status`, `redirect_to`, `endless_head`, `endless_json`, `slow_head`, `slow_head_ms`, `chunked`, `misprinted_json`, `many_headers`, `gzip`, `busy`, `busy_s`, `cdr_504`, `echo`, `ticket_expired`, `token_revoked`, `reset`, `reset_after`, `truncate`, `truncate_wav_header`, `truncate_head`, `stall`, `stall_s`, `drip`, `drip_bytes_per_s`, `json_body`, `html_200`, `html_503`, `html_504`, `empty_body`, `wrong_length`, `endless`, `bit_flip`, `growing_asks`, `growing_as`, `missing_asks`, `store_offline`, `deleted`, `cdr_duplicate`, `cdr_missing`, `cdr_broken`, `cdr_altered`, `cdr_reordered`, `cdr_cut`, `cdr_endless`, `voicemail_odd`, `cdr_row_cap`, `lists`, `clock_offset_s`, `serial_number`, `locked_out`, `password`, `reply_delay_ms`, `reply_bytes_per_s`, `poison`, `certificate` at line 1 column 7");
    insta::assert_snapshot!(folder.run(&["simulate", "--event-port", "0"]).exits(2).err(), @"callvault: --event-port is for --version v2.0.0 only");
    folder.run(&["simulate", "--faults", "nosuch.json"]).exits(2);
    folder.run(&["simulate", "--timezone", "Nowhere/Never", "--listen", "127.0.0.1:0"]).exits(2);
    folder.run(&["simulate", "--listen", "192.0.2.1:80"]).exits(2);
}
