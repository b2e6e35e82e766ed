//! A wrong password costs one login, ever; a lock-out is waited out.

use callvault::simulator::Faults;

use crate::support::program::{Folder, PASSWORD, Pbx};

#[test]
fn a_refused_password_is_tried_once_and_the_file_that_holds_it_is_named() {
    let pbx = Pbx::with(3);
    let folder = Folder::for_pbx(&pbx.url());
    folder.write_password("Wrong-Horse-9");
    let first = folder.run(&["backfill", "--json"]).exits(4);
    insta::assert_snapshot!(first.error_of_hq(), @"pbx `hq`: user or password refused; correct `username` or the password in DIR/hq-password, then `callvault retry --pbx hq`");
    assert_eq!(pbx.logins(), 1);
    let second = folder.run(&["backfill", "--json"]).exits(4);
    insta::assert_snapshot!(second.error_of_hq(), @"pbx `hq` refused this user and password before, so no login is tried again: correct the password in DIR/hq-password, or, if it is right now, run `callvault retry --pbx hq`");
    folder.run(&["backfill"]).exits(4);
    folder.run(&["backfill", "--dry-run"]).exits(4);
    folder.run(&["status"]).exits(4);
    // Neither does a retry of something else, nor one that names no PBX.
    folder.run(&["retry"]).exits(4);
    assert_eq!(pbx.logins(), 1, "no login is tried again");

    folder.run(&["retry", "--pbx", "hq"]).exits(4);
    assert_eq!(pbx.logins(), 2, "retry --pbx lifts it, once");
    folder.run(&["backfill"]).exits(4);
    assert_eq!(pbx.logins(), 2);

    folder.write_password(PASSWORD);
    folder.run(&["backfill"]).exits(0);
    assert_eq!(pbx.logins(), 3, "a changed password lifts it too");
    folder.run(&["status"]).exits(0);
}

#[test]
fn after_a_lock_out_nothing_is_asked_before_it_ends() {
    let pbx = Pbx::with(3);
    pbx.set_faults(Faults { locked_out: true, ..Faults::default() });
    let folder = Folder::for_pbx(&pbx.url());
    let first = folder.run(&["backfill", "--json"]).exits(4);
    insta::assert_snapshot!(first.error_of_hq(), @"pbx `hq`: this address is locked out after wrong passwords; callvault asks nothing for 600 s; to end that sooner, delete its entry `API-IP` from the PBX's blocked addresses and use `callvault retry --pbx hq`");
    let requests = pbx.counters().requests;
    assert_eq!(pbx.logins(), 1);

    pbx.set_faults(Faults::default());
    let second = folder.run(&["backfill", "--json"]).exits(4);
    insta::assert_snapshot!(without_seconds(&second.error_of_hq()), @"pbx `hq` locked out this address; callvault does not contact it before TIME (in N s), or until `callvault retry --pbx hq`");
    folder.run(&["status"]).exits(4);
    assert_eq!(pbx.counters().requests, requests, "nothing is asked");
    folder.run(&["retry", "--pbx", "hq", "--json"]).exits(0);
    folder.run(&["backfill"]).exits(0);
}

#[test]
fn a_lock_out_that_has_ended_stops_nobody() {
    let pbx = Pbx::with(3);
    pbx.set_faults(Faults { locked_out: true, ..Faults::default() });
    let folder = Folder::for_pbx(&pbx.url());
    folder.edit(|text| format!("{text}lockout_wait_s = 0.001\n"));
    folder.run(&["backfill"]).exits(4);
    pbx.set_faults(Faults::default());
    folder.run(&["backfill"]).exits(0);
}

#[test]
fn a_password_file_that_is_not_there_is_a_mistake_in_the_configuration() {
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    std::fs::remove_file(folder.path("hq-password")).unwrap();
    let said = folder.run(&["backfill"]).exits(2);
    insta::assert_snapshot!(said.err(), @r#"
    DIR/callvault.toml:13:17: pbx.password_file = "hq-password": there is no DIR/hq-password; write the password into that file and chmod 600 it
    1 problem
    "#);
    assert_eq!(pbx.counters().requests, 0);
}

/// "in 599 s" is another number on a slow machine.
fn without_seconds(text: &str) -> String {
    let Some((before, after)) = text.split_once("(in ") else { return text.to_owned() };
    let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{before}(in N{after}")
}
