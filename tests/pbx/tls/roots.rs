//! What the system's roots say, and that a pin stands above them.

use std::fs;

use super::backfill;
use super::server::{Authority, Identity, Language, TlsServer};
use crate::support::program::{Folder, Pbx, Said};

/// Runs the program on a machine whose only root is this authority.
fn run(folder: &Folder, authority: &Authority, args: &[&str]) -> Said {
    let roots = folder.path("roots.pem");
    fs::write(&roots, authority.pem()).unwrap();
    let mut command = folder.command(args);
    command.env("SSL_CERT_FILE", roots);
    folder.start(command).wait()
}

#[test]
fn a_certificate_that_the_roots_vouch_for_needs_no_pin() {
    let (authority, pbx) = (Authority::new(), Pbx::with(2));
    let server = TlsServer::before(pbx.address(), &authority.sign("127.0.0.1", 2099), Language::Ecdhe);
    let folder = Folder::for_pbx(&server.url());
    run(&folder, &authority, &backfill().each_ref().map(String::as_str)).exits(0);
    assert_eq!(folder.recordings().len(), 2);
    let shown = run(&folder, &authority, &["trust", "hq", "--json"]).exits(2).json();
    assert_eq!(shown["accepted_by_roots"], true);
}

#[test]
fn one_that_has_expired_or_is_for_another_host_needs_a_pin() {
    let authority = Authority::new();
    for (identity, why) in [
        (authority.sign("127.0.0.1", 2020), "it has expired"),
        (authority.sign("192.0.2.1", 2099), "it is for another name than the one in `url`"),
    ] {
        let pbx = Pbx::with(2);
        let server = TlsServer::before(pbx.address(), &identity, Language::Ecdhe);
        let folder = Folder::for_pbx(&server.url());
        let refused = run(&folder, &authority, &["backfill", "--json"]).exits(4).json();
        let error = &refused["pbx"]["hq"]["error"];
        assert_eq!(error["reason"], "tls_unknown_certificate");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
        assert_eq!(pbx.counters().connections, 0);

        pin(&folder, &authority, &identity);
        run(&folder, &authority, &backfill().each_ref().map(String::as_str)).exits(0);
        assert_eq!(folder.recordings().len(), 2);
    }
}

fn pin(folder: &Folder, authority: &Authority, identity: &Identity) {
    let key = identity.key().to_string();
    let said = run(folder, authority, &["trust", "hq", "--fingerprint", &key]).exits(0);
    assert!(said.stdout.contains("do not accept it"), "{}", said.stdout);
}
