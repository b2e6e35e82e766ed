//! `callvault feed`: killed, resumed, left alone.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Stdio};

use callvault::store::ledger::{Entry, EntryType};
use rustix::process::{Pid, Signal, kill_process};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::support::program::{Folder, Pbx, eventually};
use crate::support::reader::{Read, Writing, lives};

/// Starts `feed --follow` after what the reader has.
fn follow(folder: &Folder, read: &Read) -> Child {
    let mut args = vec!["feed".to_owned(), "--follow".to_owned()];
    args.extend(read.after().map(|after| format!("--after={after}")));
    folder.command(args).stderr(Stdio::inherit()).spawn().unwrap()
}

/// Reads what a reader says until there are `wanted` whole lines, kills it, and takes all that it has said.
fn read_and_kill(mut child: Child, read: &mut Read, wanted: usize) {
    let mut stdout = child.stdout.take().unwrap();
    let (mut heard, mut chunk) = (Vec::new(), [0; 1000]);
    while heard.iter().filter(|byte| **byte == b'\n').count() < wanted {
        let count = stdout.read(&mut chunk).unwrap();
        assert!(count > 0, "it ended by itself");
        heard.extend_from_slice(&chunk[..count]);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    stdout.read_to_end(&mut heard).unwrap();
    assert!(read.take(&heard) >= wanted);
}

async fn checks(read: &Read, folder: &Folder) {
    read.is_all_of(&folder.path("state")).await;
}

fn wait_for(future: impl Future) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

#[test]
fn a_reader_that_is_killed_again_and_again_ends_with_exactly_the_ledger() {
    let folder = Folder::for_pbx("https://192.0.2.1");
    let writing = Writing::begin(&folder.path("state"));
    let mut read = Read::default();
    for life in 0..lives() {
        read_and_kill(follow(&folder, &read), &mut read, 1 + life % 7 * 10);
    }
    writing.end();
    // What is left it prints without being told to follow, and ends.
    let after = read.after().unwrap().to_string();
    let rest = folder.run(&["feed", "--after", &after]).exits(0);
    read.take(rest.stdout.as_bytes());
    wait_for(checks(&read, &folder));
    let whole = folder.run(&["feed"]).exits(0);
    let mut again = Read::default();
    assert_eq!(again.take(whole.stdout.as_bytes()), read.len());
}

#[test]
fn a_reader_sees_what_the_service_archives_through_its_restart() {
    let pbx = Pbx::slow(12);
    let folder = Folder::for_pbx(&pbx.url());
    let start = || folder.start(folder.command(["run"]));
    let mut service = start();
    let database = folder.path("state").join("callvault.db");
    // Before the service has made it, the reader is told that there is none.
    eventually("there is a current database", || database.exists() && folder.run(&["feed"]).code == 0);
    let following = folder.start(folder.command(["feed", "--follow"]));
    let lines = || following.so_far().matches('\n').count();
    for seen in [3, 6] {
        eventually("some entries are seen", || lines() >= seen);
        service.signal(Signal::TERM);
        service.wait().exits(0);
        service = start();
    }
    let archived =
        || folder.number("select count(*) from recordings where state = 'archived' and kind = 'call'");
    eventually("all is archived", || archived() == 12);
    service.signal(Signal::TERM);
    service.wait().exits(0);
    let size = folder.number("select count(*) from ledger");
    eventually("all is seen", || lines() as i64 == size);
    following.signal(Signal::INT);
    let said = following.wait().exits(0);
    assert_eq!(said.stderr, "");
    let mut read = Read::default();
    read.take(said.stdout.as_bytes());
    wait_for(checks(&read, &folder));
}

#[test]
fn it_ends_when_nobody_reads_any_more_and_when_it_is_interrupted_in_a_write() {
    let folder = Folder::for_pbx("https://192.0.2.1");
    Writing::begin(&folder.path("state")).end();
    let mut child = follow(&folder, &Read::default());
    let mut stdout = child.stdout.take().unwrap();
    // It has said all that there is, and waits.
    let size = folder.number("select count(*) from ledger");
    let (mut lines, mut chunk) = (0, [0; 1000]);
    while lines < size {
        let count = stdout.read(&mut chunk).unwrap();
        lines += chunk[..count].iter().filter(|byte| **byte == b'\n').count() as i64;
    }
    drop(stdout);
    eventually("it notices", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(0));

    // A reader who does not read: the pipe is full before all is written.
    wait_for(async {
        let db = callvault::store::db::Db::open(&folder.path("state")).await.unwrap();
        crate::support::reader::append(&db, 2000).await;
    });
    let mut child = follow(&folder, &Read::default());
    let mut first = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    eventually("it ends", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_it_cannot_read_it_says_in_a_sentence() {
    let folder = Folder::for_pbx("https://192.0.2.1");
    for args in [&["feed"][..], &["feed", "--follow"]] {
        let said = folder.run(args).exits(2);
        assert!(said.stdout.is_empty());
        insta::allow_duplicates! {
            insta::assert_snapshot!(said.err(), @"callvault: there is no database in DIR/state: nothing was archived yet; start the service or run `callvault backfill`");
        }
    }
    Writing::begin(&folder.path("state")).end();
    let last = folder.number("select max(number) from ledger");
    let said = folder.run(&["feed", "--after", &last.to_string()]).exits(0);
    assert_eq!(said.stdout, "");
    for ahead in [(last + 1).to_string(), u64::MAX.to_string()] {
        let said = folder.run(&["feed", "--follow", "--after", &ahead]).exits(2);
        assert!(said.stderr.contains("the cursor belongs to another ledger"), "{said:?}");
    }
    folder.run(&["feed", "--after", "-1"]).exits(2);
    folder.write("delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)");
    let said = folder.run(&["feed"]).exits(2);
    insta::assert_snapshot!(said.err(), @"callvault: the database in DIR/state is of an older version: the next start of the service, or `callvault backfill`, brings it up to date");
}

async fn connect(state: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(state.join("callvault.db")).connect().await.unwrap()
}

#[test]
fn a_database_that_takes_the_place_of_the_former_one_is_read_on() {
    let folder = Folder::for_pbx("https://192.0.2.1");
    let (state, other) = (folder.path("state"), folder.path("other"));
    Writing::begin(&state).end();
    let size = folder.number("select count(*) from ledger");
    let following = folder.start(folder.command(["feed", "--follow"]));
    let lines = || following.so_far().matches('\n').count() as i64;
    eventually("all is seen", || lines() == size);
    // A rebuilt database holds the same entries, and grows.
    std::fs::create_dir(&other).unwrap();
    wait_for(async {
        let mut former = connect(&state).await;
        let copy = format!("vacuum into '{}'", other.join("callvault.db").display());
        sqlx::query(sqlx::AssertSqlSafe(copy)).execute(&mut former).await.unwrap();
        former.close().await.unwrap();
        let mut rebuilt = connect(&other).await;
        for number in 0..5 {
            let entry = Entry::new(EntryType::Clock, jiff::Timestamp::UNIX_EPOCH).with("step_ms", number);
            callvault::store::ledger::append(&mut rebuilt, &entry).await.unwrap();
        }
        rebuilt.close().await.unwrap();
    });
    for ending in ["-wal", "-shm"] {
        // Whoever has the former one open keeps what belongs to it.
        let _ = std::fs::remove_file(state.join(format!("callvault.db{ending}")));
    }
    std::fs::rename(other.join("callvault.db"), state.join("callvault.db")).unwrap();
    eventually("what is new there is seen", || lines() == size + 5);
    following.signal(Signal::INT);
    let mut read = Read::default();
    read.take(following.wait().exits(0).stdout.as_bytes());
    wait_for(checks(&read, &folder));
}
