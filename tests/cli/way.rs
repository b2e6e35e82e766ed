//! A PBX that cannot be reached, or is not who it should be: one sentence each, with the remedy.

use std::io::{Read, Write};
use std::net::TcpListener;

use callvault::base::digest::hex;
use callvault::simulator::{Faults, SimulatorOptions};

use crate::support::program::{Folder, Pbx, Said};

/// Runs a backfill that cannot reach its PBX, with and without `--json`, and returns the sentence.
fn unreachable(folder: &Folder) -> String {
    let json = folder.run(&["backfill", "--json"]).exits(4);
    let message = json.error_of_hq();
    assert!(!message.contains('\n'), "{message}");
    let text = folder.run(&["backfill"]).exits(4);
    assert!(text.out().contains(&message), "{} and {message}", text.out());
    assert!(folder.run(&["status"]).exits(4).out().contains(&message));
    assert!(folder.recordings().is_empty());
    message
}

fn https() -> Pbx {
    Pbx::start(SimulatorOptions { tls: true, ..Pbx::options(2) })
}

#[test]
fn a_pbx_that_is_down() {
    let folder = Folder::for_pbx(&Pbx::with(1).stop());
    insta::assert_snapshot!(unreachable(&folder), @"pbx `hq`: nothing listens at http://ADDRESS; check `url` and that the PBX's API is enabled");
}

#[test]
fn a_name_that_nobody_knows() {
    let folder = Folder::for_pbx("https://nosuch.invalid:8088");
    let message = unreachable(&folder);
    // What stands in between is the resolver's own word.
    assert!(
        message.starts_with("pbx `hq`: no address was found for the host `nosuch.invalid` ("),
        "{message}"
    );
    assert!(message.ends_with("); correct `url`, or this machine's name server"), "{message}");
}

#[test]
fn http_where_https_is_configured() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url().replace("http:", "https:"));
    insta::assert_snapshot!(unreachable(&folder), @"pbx `hq`: https://ADDRESS answers in plain HTTP, not in HTTPS; give its HTTPS port in `url`, or write `http://` with `allow_plain_http = true`");
}

#[test]
fn https_where_http_is_configured() {
    let pbx = https();
    let folder = Folder::for_pbx(&pbx.url().replace("https:", "http:"));
    insta::assert_snapshot!(unreachable(&folder), @"pbx `hq`: http://ADDRESS speaks TLS, not plain HTTP; write `https://` in `url`");
}

#[test]
fn a_port_where_something_else_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n");
        }
    });
    insta::assert_snapshot!(unreachable(&Folder::for_pbx(&url)), @"pbx `hq`: http://ADDRESS speaks SSH, not HTTP; give the port of the PBX's API in `url`");
}

#[test]
fn a_web_server_that_is_no_pbx() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let body = "<html>404</html>";
            let head = "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nConnection: close\r\n";
            let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    insta::assert_snapshot!(unreachable(&Folder::for_pbx(&url)), @"pbx `hq`: logging in: the reply has HTTP status 404 Not Found and a web page; there is no API at this path: check `api_version`, and that the API is enabled");
}

#[test]
fn an_api_version_that_the_pbx_does_not_speak() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    folder.edit(|text| format!("{text}api_version = \"v2.0.0\"\n"));
    insta::assert_snapshot!(unreachable(&folder), @"pbx `hq`: logging in: the PBX answered with errno 10003: unsupported request; correct `api_version`");
}

#[test]
fn an_unknown_certificate_is_shown_pinned_and_then_no_other_is_accepted() {
    let pbx = https();
    let folder = Folder::for_pbx(&pbx.url());
    insta::assert_snapshot!(unreachable(&folder), @r#"pbx `hq`: https://ADDRESS: the certificate is not known (self-signed, or signed by an authority that this machine does not know); its key has the SHA-256 SHA256; compare it with the PBX's, then run `callvault trust hq`"#);

    let pin = key_in(&folder.run(&["backfill", "--json"]));
    folder.edit(|text| format!("{text}tls_pin_sha256 = \"{pin}\"\n"));
    folder.run(&["backfill"]).exits(0);
    assert_eq!(folder.recordings().len(), 2);

    pbx.set_faults(Faults { certificate: 1, ..Faults::default() });
    let changed = folder.run(&["backfill", "--json"]).exits(4);
    insta::assert_snapshot!(changed.error_of_hq(), @"pbx `hq`: https://ADDRESS: the key has the SHA-256 SHA256, pinned is SHA256; if the PBX got a new certificate, compare it and run `callvault trust hq`, else someone stands in between");
    assert!(changed.stdout.contains(&pin));
    let requests = pbx.counters().requests;
    folder.run(&["backfill"]).exits(4);
    assert_eq!(pbx.counters().requests, requests, "nothing is said to a stranger");
}

/// The SHA-256 of the key in the message, checked against the key that the PBX has.
fn key_in(said: &Said) -> String {
    let json = said.json();
    let message = json["pbx"]["hq"]["error"]["message"].as_str().unwrap();
    let (_, rest) = message.split_once("the SHA-256 ").unwrap();
    let (pin, _) = rest.split_once(';').unwrap();
    assert_eq!(pin.len(), hex(&[0; 32]).len());
    pin.to_owned()
}
