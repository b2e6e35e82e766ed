//! Rubbish in the environment changes nothing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::program::{Folder, Pbx};

#[test]
fn proxies_credentials_and_log_levels_of_the_environment_do_no_harm() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    let mut command = folder.command(["backfill", "--json"]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, "http://127.0.0.1:1/no proxy at all");
    }
    command
        .env("CALLVAULT_LOG", "nonsense")
        .env("CREDENTIALS_DIRECTORY", folder.path("nowhere"))
        .env("RUST_LOG", "trace")
        .env("LANG", "tlh_QO.UTF-8")
        .env("TZ", "Nowhere/Never")
        .env("TMPDIR", "/nonexistent")
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("COLUMNS", "-1");
    let said = folder.start(command).wait().exits(0);
    assert_eq!((said.count("archived"), said.stderr.as_str()), (2, ""));
}

#[test]
fn a_log_level_that_is_no_utf_8_is_ignored() {
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    let mut command = folder.command(["backfill"]);
    command.env("CALLVAULT_LOG", OsStr::from_bytes(b"\xff"));
    folder.start(command).wait().exits(0);
}

#[test]
fn the_password_is_looked_for_among_the_credentials_of_the_service_first() {
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    std::fs::create_dir(folder.path("credentials")).unwrap();
    std::fs::rename(folder.path("hq-password"), folder.path("credentials/hq-password")).unwrap();
    folder.write_password("Wrong-Horse-9");
    let mut command = folder.command(["backfill"]);
    command.env("CREDENTIALS_DIRECTORY", folder.path("credentials"));
    folder.start(command).wait().exits(0);
}
