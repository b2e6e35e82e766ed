//! `callvault trust`: what it shows, whom it asks, and what it writes.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use super::backfill;
use super::server::{Identity, Language, TlsServer};
use crate::support::program::{Folder, Pbx};

/// A PBX behind TLS, and an installation that knows only its address.
fn installation(identity: &Identity, language: Language) -> (Pbx, TlsServer, Folder) {
    let pbx = Pbx::with(2);
    let server = TlsServer::before(pbx.address(), identity, language);
    let folder = Folder::for_pbx(&server.url());
    (pbx, server, folder)
}

fn config(folder: &Folder) -> String {
    fs::read_to_string(folder.config()).unwrap()
}

#[test]
fn without_anyone_to_ask_it_shows_the_certificate_and_pins_nothing() {
    let identity = Identity::of_appliance(2048);
    let (pbx, _server, folder) = installation(&identity, Language::Ecdhe);
    // systemd may keep the password from whoever runs this by hand.
    fs::remove_file(folder.path("hq-password")).unwrap();
    let before = config(&folder);
    let shown = folder.run(&["trust", "hq"]).exits(2);
    insta::assert_snapshot!(shown.out(), @r"
    pbx `hq` at https://ADDRESS shows this certificate:
      subject             CN=pbx
      issuer              CN=pbx
      valid               TIME to TIME
      certificate SHA-256 SHA256
      key SHA-256         SHA256
      pinned              nothing
      system's roots      do not accept it (self-signed, or signed by an authority that this machine does not know)
    ");
    insta::assert_snapshot!(shown.err(), @"callvault: pbx `hq`: nothing was pinned, because callvault cannot ask you here: use a terminal without --json, or give the fingerprint that you compared with --fingerprint");
    let certificate = identity.certificate();
    assert_eq!(certificate.key_sha256, identity.key());
    for part in [certificate.sha256, certificate.key_sha256] {
        assert!(shown.stdout.contains(&part.to_string()), "{}", shown.stdout);
    }
    assert_eq!(config(&folder), before);
    assert_eq!(pbx.counters().requests, 0, "no byte of HTTP is sent");
}

#[test]
fn a_fingerprint_of_certificate_or_key_pins_without_asking() {
    let identity = Identity::of_appliance(2048);
    let (_pbx, _server, folder) = installation(&identity, Language::Ecdhe);
    let before = config(&folder);
    let other = folder.run(&["trust", "hq", "--json", "--fingerprint", &"ab".repeat(32)]).exits(4);
    assert_eq!(other.json()["error"]["reason"], "tls_pin_mismatch");
    assert_eq!(other.json()["pinned"], serde_json::Value::Null);
    assert_eq!(config(&folder), before);

    // As browsers and `openssl x509 -fingerprint` write it.
    let pairs: Vec<String> =
        identity.certificate().sha256.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
    let pinned = folder.run(&["trust", "hq", "--json", "--fingerprint", &pairs.join(":")]).exits(0).json();
    assert_eq!(pinned["pinned"], identity.key().to_string());
    assert_eq!(pinned["certificate"]["subject"], "CN=pbx");
    assert_eq!(pinned["accepted_by_roots"], false);
    let line = format!("tls_pin_sha256 = \"sha256:{}\"\n", identity.key());
    assert_eq!(config(&folder).replace(&line, ""), before);
    folder.run(&backfill().each_ref().map(String::as_str)).exits(0);

    let again = folder.run(&["trust", "hq"]).exits(0);
    assert!(
        again.stdout.ends_with("This key is already pinned: there is nothing to do.\n"),
        "{}",
        again.stdout
    );
}

#[test]
fn a_changed_key_stops_the_pbx_until_it_is_trusted_again() {
    let (old, new) = (Identity::of_appliance(2048), Identity::of_appliance(2048));
    let (pbx, server, folder) = installation(&old, Language::Ecdhe);
    folder.run(&["trust", "hq", "--fingerprint", &old.key().to_string()]).exits(0);
    let other = TlsServer::before(pbx.address(), &new, Language::Ecdhe);
    folder.edit(|text| text.replace(&server.url(), &other.url()));
    let stopped = folder.run(&["backfill", "--json"]).exits(4).json();
    assert_eq!(stopped["pbx"]["hq"]["error"]["reason"], "tls_pin_mismatch");
    assert_eq!(pbx.counters().requests, 0);

    let shown = folder.run(&["trust", "hq"]).exits(2);
    assert!(shown.stdout.contains(&format!("ANOTHER KEY: {}", old.key())), "{}", shown.stdout);
    let pinned = folder.run(&["trust", "hq", "--fingerprint", &new.key().to_string()]).exits(0);
    assert!(
        pinned
            .stdout
            .ends_with("If the service is running, `systemctl reload callvault` makes it use the pin.\n"),
        "{}",
        pinned.stdout
    );
    assert_eq!(config(&folder).matches("tls_pin_sha256").count(), 1);
    folder.run(&backfill().each_ref().map(String::as_str)).exits(0);
}

/// Runs `trust` on a terminal and answers; the exit code, and whether a pin was written.
fn answered(folder: &Folder, answer: &str) -> (i32, bool) {
    let mut command = std::process::Command::new("script");
    command
        .args(["-qec", &format!("{} trust hq", env!("CARGO_BIN_EXE_callvault")), "/dev/null"])
        .env("CALLVAULT_CONFIG", folder.config())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.as_mut().unwrap(), "{answer}").unwrap();
    let said = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(text.contains("type `yes` to pin its key"), "{text}");
    (said.status.code().unwrap(), config(folder).contains("tls_pin_sha256"))
}

#[test]
fn on_a_terminal_only_yes_pins() {
    let identity = Identity::of_appliance(2048);
    let (_pbx, _server, folder) = installation(&identity, Language::Ecdhe);
    assert_eq!(answered(&folder, "y"), (2, false));
    assert_eq!(answered(&folder, "yes"), (0, true));
}

#[test]
fn where_the_file_cannot_be_written_the_line_is_shown() {
    let identity = Identity::of_appliance(2048);
    let (_pbx, _server, folder) = installation(&identity, Language::Ecdhe);
    let key = identity.key().to_string();
    // A pipe can be read and not be replaced.
    let mut command = folder.command(["--config", "/dev/stdin", "trust", "hq", "--fingerprint", &key]);
    command.stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(config(&folder).as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    assert_eq!(said.status.code(), Some(2));
    let told = String::from_utf8(said.stderr).unwrap();
    assert!(told.contains("/dev/stdin cannot be written ("), "{told}");
    let line = format!("with id = \"hq\" yourself: tls_pin_sha256 = \"sha256:{key}\"\n");
    assert!(told.ends_with(&line), "{told}");
}

#[test]
fn what_cannot_be_trusted_says_why() {
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    insta::assert_snapshot!(folder.run(&["trust", "hp"]).exits(2).err(), @"callvault: no pbx `hp` is configured; did you mean `hq`?");
    insta::assert_snapshot!(folder.run(&["trust", "hq"]).exits(2).err(), @"callvault: pbx `hq` has an http address, which has no certificate to trust");
    insta::assert_snapshot!(folder.run(&["trust", "hq", "--fingerprint", "ab:cd"]).exits(2).err(), @"callvault: --fingerprint is not a SHA-256: give 64 hex digits, with or without `sha256:` and colons");
    let gone = Folder::for_pbx(&pbx.stop().replace("http:", "https:"));
    let refused = gone.run(&["trust", "hq", "--json"]).exits(4).json();
    assert_eq!(refused["error"]["reason"], "refused");
}

#[test]
#[cfg(feature = "legacy-tls")]
fn with_openssl_a_pin_is_demanded_and_trust_writes_it() {
    let identity = Identity::of_appliance(2048);
    let (_pbx, _server, folder) = installation(&identity, Language::StaticRsa);
    let key = identity.key().to_string();
    let unheard = folder.run(&["trust", "hq", "--json"]).exits(4).json();
    assert!(unheard["error"]["message"].as_str().unwrap().contains("tls_backend = \"openssl\""), "{unheard}");
    folder.edit(|text| format!("{text}tls_backend = \"openssl\"\n"));
    let refused = folder.run(&["backfill"]).exits(2);
    assert!(refused.stderr.contains("run `callvault trust hq`"), "{}", refused.stderr);
    folder.run(&["trust", "hq", "--fingerprint", &key]).exits(0);
    folder.run(&backfill().each_ref().map(String::as_str)).exits(0);
    assert_eq!(folder.recordings().len(), 2);
}

#[test]
#[cfg(not(feature = "legacy-tls"))]
fn a_build_without_openssl_says_how_to_get_one() {
    let folder = Folder::for_pbx("https://192.0.2.1");
    folder.edit(|text| format!("{text}tls_backend = \"openssl\"\n"));
    insta::assert_snapshot!(folder.run(&["config", "check"]).exits(2).err(), @r#"
    DIR/callvault.toml:16:15: pbx.tls_backend = "openssl": this callvault was built without OpenSSL; install its package, or build it with `cargo build --release --features legacy-tls`
    1 problem
    "#);
}

#[test]
fn certificates_of_old_appliances_are_pinned_as_others_are() {
    for (identity, why) in
        [(Identity::of_version_1(), "it is of X.509 version 1"), (Identity::signed_with_sha1(), "(")]
    {
        let (_pbx, _server, folder) = installation(&identity, Language::Ecdhe);
        let refused = folder.run(&["backfill", "--json"]).exits(4).json();
        let error = &refused["pbx"]["hq"]["error"];
        assert_eq!(error["reason"], "tls_unknown_certificate", "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(why) && message.contains("run `callvault trust hq`"), "{message}");
        assert!(message.contains(&identity.key().to_string()) && !message.contains("Error("), "{message}");
        folder.run(&["trust", "hq", "--fingerprint", &identity.key().to_string()]).exits(0);
        folder.run(&backfill().each_ref().map(String::as_str)).exits(0);
        assert_eq!(folder.recordings().len(), 2);
    }
}

#[test]
fn a_key_that_rustls_does_not_use_is_named_with_the_remedy_that_works() {
    let identity = Identity::of_appliance(1024);
    let (_pbx, _server, folder) = installation(&identity, Language::Ecdhe);
    let backfill_json = ["backfill", "--json"];
    for command in [&backfill_json[..], &["trust", "hq", "--json"]] {
        let refused = folder.run(command).exits(4).json();
        let error = refused.pointer("/pbx/hq/error").unwrap_or(&refused["error"]);
        assert_eq!(error["reason"], "tls_handshake", "{error}");
        let message = error["message"].as_str().unwrap();
        let told = "the certificate's key is RSA with 1024 bits, which rustls does not use; set `tls_backend = \"openssl\"`";
        assert!(message.contains(told), "{message}");
        // No fingerprint to compare: a pin alone would not help.
        assert!(!message.contains("SHA-256"), "{message}");
    }
}

#[test]
#[cfg(feature = "legacy-tls")]
fn with_openssl_a_short_key_is_pinned_and_used() {
    let identity = Identity::of_appliance(1024);
    let (_pbx, _server, folder) = installation(&identity, Language::Ecdhe);
    folder.edit(|text| format!("{text}tls_backend = \"openssl\"\n"));
    folder.run(&["trust", "hq", "--fingerprint", &identity.key().to_string()]).exits(0);
    folder.run(&backfill().each_ref().map(String::as_str)).exits(0);
    assert_eq!(folder.recordings().len(), 2);
}
