//! The service and its webhooks: killed, restarted, left alone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use callvault::store::db::Db;
use rustix::process::Signal;

use crate::support::program::{Folder, Pbx, eventually};
use crate::support::reader::{append, lives};
use crate::support::receiver::{Manner, Receiver, SECRET, TOKEN};

/// An installation that signs every second, and delivers.
fn folder(pbx: &Pbx, webhooks: &str) -> Folder {
    let folder = Folder::for_pbx(&pbx.url());
    fs::write(folder.path("secret"), SECRET).unwrap();
    fs::set_permissions(folder.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    folder.edit(|text| {
        format!("{text}[web]\nlisten = \"off\"\n[schedule]\nseal = \"* * * * * *\"\n[feed]\n{webhooks}")
    });
    folder
}

fn wait_for(future: impl Future) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

#[test]
fn fickle_receivers_of_a_service_that_is_killed_again_and_again_end_with_exactly_the_ledger() {
    let pbx = Pbx::slow(60);
    let receivers = [1, 2, 3, 4, 5, 6].map(|seed| Receiver::start(Manner::Fickle(seed)));
    let section = |(number, receiver): (usize, &Receiver)| {
        let lines = format!("entries_max = {}\ntimeout_s = 0.2", number * 4 + 1);
        receiver.section(&format!("fickle-{number}"), &lines)
    };
    let folder = folder(&pbx, &receivers.iter().enumerate().map(section).collect::<String>());
    let tries = || receivers.iter().map(|receiver| receiver.tries().len()).sum::<usize>();
    for life in 0..lives() {
        let wanted = tries() + 3 + life % 7 * 2;
        let service = folder.start(folder.command(["run"]));
        eventually("something is delivered", || tries() >= wanted);
        service.signal(Signal::KILL);
        drop(service);
        // Nobody has it open: the ledger grows as in hours of work.
        wait_for(async { append(&Db::open(&folder.path("state")).await.unwrap(), 12).await });
    }
    receivers.iter().for_each(|receiver| receiver.behave(Manner::Takes));
    let size = folder.number("select count(*) from ledger") as usize;
    let service = folder.start(folder.command(["run"]));
    eventually("all is delivered", || receivers.iter().all(|receiver| receiver.read().len() > size));
    service.signal(Signal::TERM);
    let said = service.wait().exits(0);
    assert!(!format!("{said:?}").contains(TOKEN), "{said:?}");
    let whole = folder.number("select count(*) from ledger") as usize;
    for receiver in &receivers {
        let read = receiver.read();
        wait_for(async { read.is_all_but(whole - read.len(), &folder.path("state")).await });
        assert!(receiver.tries().len() > receiver.taken().len(), "it was fickle");
    }
    // What came in the end is delivered by the next start.
    let service = folder.start(folder.command(["run"]));
    eventually("the end is delivered", || receivers.iter().all(|receiver| receiver.read().len() > whole));
    drop(service);
    let database = fs::read(folder.path("state").join("callvault.db")).unwrap();
    for secret in [TOKEN, SECRET] {
        assert!(!database.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
}

#[test]
fn a_receiver_that_never_answers_holds_up_neither_the_archive_nor_the_end() {
    let pbx = Pbx::with(12);
    let (silent, well) = (Receiver::start(Manner::Silent), Receiver::start(Manner::Takes));
    let webhooks = silent.section("silent", "timeout_s = 300") + &well.section("well", "");
    let folder = folder(&pbx, &webhooks);
    let service = folder.start(folder.command(["run"]));
    eventually("the silent one is asked", || !silent.tries().is_empty());
    // A message that is still owed is another reason for `status` to complain.
    let is_done = || {
        folder.number("select count(*) from recordings where kind = 'call'") == 12
            && folder.number("select count(*) from recordings where kind <> 'call'") > 0
            && folder.number("select count(*) from recordings where state <> 'archived'") == 0
    };
    eventually("all is archived", is_done);
    eventually("the other one is given it", || well.read().len() > 12);
    let said = folder.run(&["status"]).exits(0).out();
    assert!(said.contains("webhook `silent` has not received any entry of the ledger yet, "), "{said}");
    assert!(said.contains("webhook `well` received "), "{said}");
    let json = folder.run(&["status", "--json"]).exits(0).json();
    assert_eq!((&json["feed_webhooks"][0]["delivered_entries"], silent.tries().len()), (&0.into(), 1));
    let asked = Instant::now();
    service.signal(Signal::TERM);
    service.wait().exits(0);
    assert!(asked.elapsed() < Duration::from_secs(30), "it took {:?}", asked.elapsed());
}

#[test]
fn a_receiver_that_moves_goes_on_where_it_was_after_a_reload() {
    let pbx = Pbx::with(2);
    let [former, new] = [(); 2].map(|()| Receiver::start(Manner::Takes));
    let folder = folder(&pbx, &former.section("siem", ""));
    let service = folder.start(folder.command(["run"]));
    eventually("it takes something", || !former.taken().is_empty());
    folder.edit(|text| text.replace(&former.section("siem", ""), &new.section("siem", "")));
    service.signal(Signal::HUP);
    service.until_it_says("The new configuration is in force");
    // The reload is an entry of its own.
    eventually("it takes something there", || !new.taken().is_empty());
    let first: usize = new.taken()[0].id.split('_').nth(1).unwrap().parse().unwrap();
    assert!((1..=former.read().len()).contains(&first), "{first}");
    service.signal(Signal::TERM);
    service.wait().exits(0);
}
