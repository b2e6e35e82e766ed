//! The published ledger as a source: it is believed as far as it was signed, and what is damaged of it is named.

use std::fs;
use std::path::PathBuf;

use callvault::base::clock::Clock;
use callvault::base::counts::Counts;
use callvault::formats::tlog::SigningKey;
use callvault::proof::notary::{FOLDER, Leaves, Published};
use callvault::proof::rebuild::{CannotRebuild, Report, Request, Trust};
use callvault::proof::sealed_vault::SealedVault;

use super::compare::{assert_equal, dump};
use crate::support::station::{NONE, Station, counts};

/// Recordings of a station whose ledger fills a bundle and begins another.
const RECORDINGS: u32 = 270;

/// A station, and its published ledger of 271 entries, the first of which tells of the key.
async fn station() -> Station {
    let mut station = Station::followed(0).await;
    for number in 0..RECORDINGS {
        station.add_call(&format!("{number:03}.wav"), number);
    }
    assert_eq!(station.backfill().await.total.archived, i64::from(RECORDINGS));
    station
}

impl Station {
    fn ledger_file(&self, path: &str) -> PathBuf {
        self.archive().join(FOLDER).join(path)
    }

    fn bend(&self, path: &str) {
        let file = self.ledger_file(path);
        let mut bytes = fs::read(&file).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::remove_file(&file).unwrap();
        fs::write(&file, bytes).unwrap();
    }

    async fn published_size(&self) -> u64 {
        let published = Published::open(self.archive()).unwrap().unwrap();
        let keys = published.keys().unwrap();
        assert_eq!(published.check(&keys, None, &mut Leaves::unknown()).unwrap(), Vec::new());
        published.checkpoint(&keys).unwrap().unwrap().0.size
    }

    async fn ledger_problem(&self) -> String {
        self.value("select coalesce(max(value), '') from meta where key = 'ledger_problem'").await
    }
}

fn named(report: &Report) -> Vec<&str> {
    report.damage.iter().map(|damage| damage.subject.as_str()).collect()
}

/// The whole of the state is lost, its keys too: another key goes on where the former one ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_rebuilt_is_signed_on_by_a_new_key() {
    let mut station = station().await;
    let lost = dump(&station.database().await).await;
    station.lose_state().await;
    let report = station.rebuild().await;
    assert_eq!((report.damaged, report.ledger.published), (0, 272), "{:?}", report.damage);
    assert_eq!((report.ledger.trust, report.ledger.found), (Trust::None, 0), "its keys are lost");
    assert_equal(&lost, &dump(&station.database().await).await);
    station.add_call("later.wav", 300);
    station.backfill().await;
    // That it was rebuilt, the new key, the recording, and the list of its call.
    assert_eq!(station.published_size().await, 276);
    assert_eq!(station.ledger_problem().await, "");
    // Read a second time, the day settles: its certificate says what it rests on.
    station.backfill().await;
    let certificate: String =
        station.value("select path from certificates order by ledger_number desc limit 1").await;
    let certificate = fs::read(station.archive().join(certificate)).unwrap();
    let certificate: serde_json::Value = serde_json::from_slice(&certificate).unwrap();
    assert_eq!(certificate["rebuilt"], serde_json::json!([{ "ledger_number": 272, "trust": "none" }]));
    station.check().await;
}

/// A database of yesterday is refused by its own signed ledger, and goes on once it is rebuilt.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_older_database_refuses_to_sign_until_it_is_rebuilt() {
    let mut station = Station::followed(4).await;
    station.backfill().await;
    let yesterday = station.snapshot().await;
    station.add_call("today.wav", 0);
    station.backfill().await;
    // The key, five recordings, four call lists, and the two days that settled when they were read again.
    assert_eq!(station.published_size().await, 12);
    station.restore(&yesterday).await;
    station.add_call("after.wav", 1);
    assert_eq!(counts(&station.backfill().await), Counts { archived: 2, already_archived: 4, ..NONE });
    let problem = station.ledger_problem().await;
    assert!(problem.contains("until you run `callvault rebuild`"), "{problem}");
    assert_eq!(station.published_size().await, 12, "nothing is signed");

    let report = station.rebuild().await;
    assert_eq!((report.damaged, report.ledger.published, report.ledger.appended), (0, 12, 2));
    assert_eq!((report.ledger.trust, report.ledger.found), (Trust::OwnKey, 0));
    station.backfill().await;
    assert_eq!(station.ledger_problem().await, "");
    assert_eq!(station.published_size().await, 15);
    station.check().await;
}

/// A run died after the tiles and before the checkpoint, and the state with it: nobody can tell who wrote those entries.
/// The PBX delivers what they told of, and that is archived as if for the first time.
#[tokio::test(flavor = "multi_thread")]
async fn entries_that_were_never_signed_tell_nothing() {
    let mut station = Station::followed(3).await;
    station.backfill().await;
    let older = fs::read(station.ledger_file("checkpoint")).unwrap();
    station.add_call("later.wav", 0);
    station.backfill().await;
    fs::write(station.ledger_file("checkpoint"), older).unwrap();
    station.lose_state().await;
    let report = station.rebuild().await;
    assert_eq!(named(&report), Vec::<&str>::new());
    assert_eq!((report.ledger.published, report.ledger.unsigned, report.ledger.found), (7, 4, 1));
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, already_archived: 3, ..NONE });
    assert_eq!(station.ledger_problem().await, "");
    station.published_size().await;
    station.check().await;
}

/// The same, where the state is alive: it has the checkpoint that it signed last.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_checkpoint_in_the_archive_is_no_reason_to_forget() {
    let mut station = Station::followed(3).await;
    station.backfill().await;
    let older = fs::read(station.ledger_file("checkpoint")).unwrap();
    station.add_call("later.wav", 0);
    station.backfill().await;
    let lost = dump(&station.database().await).await;
    for is_gone in [false, true] {
        match is_gone {
            true => fs::remove_file(station.ledger_file("checkpoint")).unwrap(),
            false => fs::write(station.ledger_file("checkpoint"), &older).unwrap(),
        }
        station.lose_database().await;
        let report = station.rebuild().await;
        assert_eq!((report.ledger.published, report.ledger.unsigned, report.ledger.found), (11, 0, 0));
        assert_eq!(report.ledger.trust, Trust::OwnKey);
        let rebuilt = dump(&station.database().await).await;
        assert_eq!(
            (&lost["ledger"], &lost["archived_files"]),
            (&rebuilt["ledger"], &rebuilt["archived_files"])
        );
    }
    station.backfill().await;
    assert_eq!(station.published_size().await, 12);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_changed_is_known_with_its_successor() {
    let mut station = Station::followed(2).await;
    station.backfill().await;
    let SealedVault { vault, notary } =
        SealedVault::open(station.config.clone(), Clock::system()).await.unwrap();
    notary.rotate_key(&vault.state, vault.clock.now()).await.unwrap();
    drop((vault, notary));
    station.backfill().await;
    let lost = dump(&station.database().await).await;
    assert_eq!(lost["ledger_keys"].len(), 2);
    station.lose_state().await;
    assert_eq!(station.rebuild().await.damaged, 0);
    assert_equal(&lost, &dump(&station.database().await).await);
}

/// The new key is in its place, and the power is cut before its entry is in the ledger; then the database is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_keys_that_was_cut_short_is_ended_after_a_rebuild() {
    let mut station = Station::followed(2).await;
    station.backfill().await;
    let SealedVault { vault, notary } =
        SealedVault::open(station.config.clone(), Clock::system()).await.unwrap();
    let former = notary.key().await;
    vault.state.rotate_ledger_seed(&former.id().to_string()).unwrap();
    drop((vault, notary));
    station.lose_database().await;
    assert_eq!(station.rebuild().await.damaged, 0);
    station.backfill().await;
    station.check().await;
}

/// Each file alone is named; what the others still tell is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_of_the_ledger_is_named_exactly() {
    let mut station = station().await;
    let lost = dump(&station.database().await).await;
    let copy = station.archive().with_file_name("ledger");
    copy_folder(&station.ledger_file(""), &copy);
    // The file, and whether the ledger in the database is whole all the same.
    let files = [
        ("checkpoint", true),
        ("tile/0/000", true),
        ("tile/0/001.p/16", true),
        ("tile/entries/000", false),
        ("tile/entries/001.p/16", false),
    ];
    for (path, is_whole) in files {
        for is_gone in [false, true] {
            match is_gone {
                true => fs::remove_file(station.ledger_file(path)).unwrap(),
                false => station.bend(path),
            }
            station.lose_database().await;
            let report = station.rebuild().await;
            assert_eq!(named(&report)[0], format!("_ledger/{path}"), "{report:?}");
            let rebuilt = dump(&station.database().await).await;
            assert_eq!(lost["ledger"] == rebuilt["ledger"], is_whole, "{path}");
            let entries = report.ledger;
            assert_eq!(
                (entries.lost == 0, entries.appended == 0),
                (is_whole || path == "checkpoint", is_whole)
            );
            // Restored, it is as it was.
            fs::remove_dir_all(station.ledger_file("")).unwrap();
            copy_folder(&copy, &station.ledger_file(""));
        }
    }
    station.lose_database().await;
    assert_eq!(station.rebuild().await.damaged, 0);
    assert_equal(&lost, &dump(&station.database().await).await);
    fs::remove_dir_all(&copy).unwrap();
    station.check().await;
}

/// Entries that were signed and are gone are never replaced by others: nothing is signed until they are back.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_signed_in_place_of_entries_that_are_gone() {
    let mut station = station().await;
    let bundle = fs::read(station.ledger_file("tile/entries/001.p/16")).unwrap();
    let checkpoint = fs::read(station.ledger_file("checkpoint")).unwrap();
    fs::remove_file(station.ledger_file("tile/entries/001.p/16")).unwrap();
    station.lose_database().await;
    let report = station.rebuild().await;
    assert_eq!((report.ledger.lost, report.ledger.appended), (16, 16), "their files are told anew");
    station.add_call("later.wav", 300);
    station.backfill().await;
    assert!(station.ledger_problem().await.contains("until you run `callvault rebuild`"));
    assert_eq!(fs::read(station.ledger_file("checkpoint")).unwrap(), checkpoint);
    // It is found in a backup.
    fs::write(station.ledger_file("tile/entries/001.p/16"), bundle).unwrap();
    let report = station.rebuild().await;
    assert_eq!((report.damaged, report.ledger.lost, report.ledger.appended), (0, 0, 2));
    station.backfill().await;
    assert_eq!(station.ledger_problem().await, "");
    station.published_size().await;
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_gone_is_named_and_begun_anew_where_the_state_is_lost_too() {
    let mut station = Station::followed(3).await;
    station.backfill().await;
    fs::remove_dir_all(station.ledger_file("")).unwrap();
    station.lose_state().await;
    let report = station.rebuild().await;
    assert_eq!(named(&report), ["_ledger"]);
    // Only the lists of calls.
    assert_eq!((report.ledger.published, report.ledger.found, report.ledger.appended), (0, 3, 3));
    assert_eq!(counts(&station.backfill().await), Counts { archived: 3, ..NONE });
    assert_eq!(station.ledger_problem().await, "");
    station.published_size().await;
    station.check().await;
}

/// With its keys alive, the state knows that there was more: it never signs another history under them.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_gone_is_not_begun_anew_under_the_same_key() {
    let mut station = Station::followed(3).await;
    station.backfill().await;
    let aside = station.archive().with_file_name("ledger");
    copy_folder(&station.ledger_file(""), &aside);
    fs::remove_dir_all(station.ledger_file("")).unwrap();
    station.lose_database().await;
    let report = station.rebuild().await;
    assert_eq!((report.ledger.published, report.ledger.found, report.ledger.appended), (0, 0, 6));
    assert_eq!(
        counts(&station.backfill().await),
        Counts { already_archived: 3, ..NONE },
        "its files bear its tags"
    );
    assert!(station.ledger_problem().await.contains("until you run `callvault rebuild`"));
    // It is found in a backup.
    fs::remove_dir_all(station.ledger_file("")).unwrap();
    copy_folder(&aside, &station.ledger_file(""));
    let report = station.rebuild().await;
    assert_eq!((report.damaged, report.ledger.published, report.ledger.trust), (0, 7, Trust::OwnKey));
    station.backfill().await;
    assert_eq!(station.ledger_problem().await, "");
    fs::remove_dir_all(&aside).unwrap();
    station.check().await;
}

/// Who can write to the archive signs another history, and puts his key beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_others_signed_is_not_believed() {
    let mut station = Station::followed(3).await;
    station.backfill().await;
    let ledger = station.ledger().await;
    let ours = fs::read(station.config.state.path.join("ledger.key")).unwrap();
    fs::remove_file(station.config.state.path.join("ledger.key")).unwrap();
    station.publish_only(&ledger[..4]);
    fs::write(station.config.state.path.join("ledger.key"), ours).unwrap();
    let refused = station.try_rebuild(Request::default()).await.unwrap_err();
    assert!(matches!(refused.downcast_ref(), Some(CannotRebuild::OthersLedger)), "{refused:#}");
    // The operator knows that key.
    let origin = callvault::proof::notary::own_origin(
        &station.value::<String>("select value from meta where key = 'state_id'").await,
    );
    let vkey = SigningKey::from_seed(&origin, &[7; 32]).unwrap().verifying_key().to_vkey();
    let request = Request { vkeys: vec![vkey], ..Request::default() };
    let report = station.try_rebuild(request).await.unwrap();
    assert_eq!((report.ledger.trust, report.ledger.published), (Trust::Vkey, 4));
    // Nothing is signed by the present key before somebody says that it follows.
    station.add_call("later.wav", 0);
    station.backfill().await;
    assert!(station.ledger_problem().await.contains("rotate-key"), "{}", station.ledger_problem().await);
}

/// Whatever moment it is killed in: the former database is in its place, and the next rebuild comes to the same.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_cut_off_anywhere_has_changed_nothing() {
    let mut station = Station::followed(6).await;
    station.backfill().await;
    let before = dump(&station.database().await).await;
    station.rebuild().await;
    let mut polls = 1_u32;
    loop {
        let is_done = {
            let mut rebuild = std::pin::pin!(station.rebuild());
            let mut left = polls;
            std::future::poll_fn(|context| {
                left -= 1;
                match rebuild.as_mut().poll(context) {
                    std::task::Poll::Ready(_) => std::task::Poll::Ready(true),
                    std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(false),
                    std::task::Poll::Pending => std::task::Poll::Pending,
                }
            })
            .await
        };
        assert_equal(&before, &dump(&station.database().await).await);
        if is_done {
            break;
        }
        polls += polls.div_ceil(8);
    }
    assert!(polls > 20, "{polls}");
    tokio::time::timeout(std::time::Duration::from_secs(60), station.rebuild()).await.unwrap();
    assert_equal(&before, &dump(&station.database().await).await);
    let left: Vec<String> = fs::read_dir(&station.config.state.path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("rebuilding"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    station.check().await;
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}
