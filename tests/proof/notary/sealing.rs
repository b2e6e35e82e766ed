//! The published ledger: sealed, read back, proven, and never contradicted.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use callvault::config::LedgerConfig;
use callvault::formats::tlog::{SigningKey, TlogProof, VerifyingKey};
use callvault::proof::notary::{Leaves, NotaryError};
use callvault::store::ledger::{self, Entry, EntryType};

use super::house::{House, NOW, Open, copy_folder};
use crate::support::closing::until_closed;

fn rewrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn whatever_is_sealed_is_read_back_and_every_entry_is_proven() {
    let house = House::new();
    let open = house.open().await;
    // The first entry is that of the key.
    let mut size = 1;
    for count in [0, 1, 1, 250, 3, 1, 255, 256, 300] {
        open.append(count).await;
        size += count;
        let sealed = open.seal().await;
        assert_eq!(sealed.is_none(), size == 1 && count > 0, "{size}");
        assert_eq!(open.seal().await, None, "nothing is new");
        assert_eq!(house.damages(), Vec::<String>::new(), "{size}");
        let published = house.published();
        let keys = [open.notary.key().await];
        let (checkpoint, _) = published.checkpoint(&keys).unwrap().unwrap();
        assert_eq!((checkpoint.size, checkpoint.origin.as_str()), (size, &*open.notary.origin));
        for number in [0, size / 2, size - 1] {
            let proof = published.prove(number, &keys).unwrap();
            let read = TlogProof::parse(&proof.to_text()).unwrap();
            assert_eq!(read.verify(&keys).unwrap().size, size);
        }
        assert!(published.prove(size, &keys).is_err());
    }
}

#[tokio::test]
async fn partial_tiles_go_when_the_full_one_is_there() {
    let house = House::new();
    let open = house.open().await;
    for _ in 0..3 {
        open.append(100).await;
        open.seal().await.unwrap();
    }
    let left = |path: &str| fs::read_dir(house.file(path)).unwrap().count();
    assert_eq!((left("tile/0/000.p"), left("tile/0/001.p")), (0, 1));
    assert_eq!((left("tile/entries/000.p"), left("tile/entries/001.p")), (0, 1));
    assert_eq!(house.damages(), Vec::<String>::new());
}

#[tokio::test]
async fn a_run_that_died_anywhere_in_a_seal_is_followed_by_the_same_bytes() {
    let house = House::new();
    let open = house.open().await;
    open.append(300).await;
    let sealed = open.seal().await.unwrap();
    // It died after it had stored what it was about to sign; then while it wrote tiles.
    drop(open);
    fs::remove_file(house.file("checkpoint")).unwrap();
    let open = house.open().await;
    assert_eq!(open.seal().await, Some(sealed));
    drop(open);
    assert_eq!(house.damages(), Vec::<String>::new());
    // It died while it wrote tiles: those of a tree that was never stored are there, and are taken for ours.
    let open = house.open().await;
    open.append(400).await;
    drop(open);
    let copy = house.folder.path().join("copy");
    until_closed(&house.state()).await;
    copy_folder(&house.state(), &copy);
    let sealed = house.open().await.seal().await.unwrap();
    until_closed(&house.state()).await;
    fs::remove_dir_all(house.state()).unwrap();
    copy_folder(&copy, &house.state());
    fs::remove_file(house.file("checkpoint")).unwrap();
    fs::remove_file(house.file("tile/0/002.p/189")).unwrap();
    assert_eq!(house.open().await.seal().await, Some(sealed));
    assert_eq!(house.damages(), Vec::<String>::new());
}

#[tokio::test]
async fn an_older_database_refuses_to_sign_and_says_what_to_do() {
    let house = House::new();
    let open = house.open().await;
    open.append(10).await;
    open.seal().await.unwrap();
    drop(open);
    let copy = house.folder.path().join("copy");
    until_closed(&house.state()).await;
    copy_folder(&house.state(), &copy);
    let open = house.open().await;
    open.append(5).await;
    let newest = open.seal().await.unwrap();
    drop(open);
    until_closed(&house.state()).await;
    fs::remove_dir_all(house.state()).unwrap();
    copy_folder(&copy, &house.state());
    let restored = house.open().await;
    for more in [0, 5, 50] {
        // Whether it lacks entries or has others of the same number.
        restored.append_after("the restore", more).await;
        let error = restored.notary.seal(NOW).await.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(NotaryError::Refused { published: 16, .. })), "{error}");
        assert!(error.to_string().contains("until you run `callvault rebuild`"));
        assert_eq!(restored.problem().await, error.to_string());
    }
    assert_eq!(fs::read_to_string(house.file("checkpoint")).unwrap(), newest.note);
}

#[tokio::test]
async fn an_older_database_that_continues_the_published_ledger_all_the_same_goes_on() {
    let house = House::new();
    let open = house.open().await;
    open.append(10).await;
    let first = open.seal().await.unwrap();
    drop(open);
    // Only what was signed is forgotten, not the entries.
    let open = house.open().await;
    open.append(5).await;
    drop(open);
    let copy = house.folder.path().join("copy");
    until_closed(&house.state()).await;
    copy_folder(&house.state(), &copy);
    let signed = house.open().await.seal().await.unwrap();
    until_closed(&house.state()).await;
    fs::remove_dir_all(house.state()).unwrap();
    copy_folder(&copy, &house.state());
    let open = house.open().await;
    assert_eq!(open.seal().await, Some(signed), "what was signed is signed again");
    open.append(1).await;
    assert_eq!(open.seal().await.unwrap().size, first.size + 6);
    assert_eq!(house.damages(), Vec::<String>::new());
}

#[tokio::test]
async fn a_checkpoint_that_is_gone_damaged_or_put_back_is_published_again() {
    let house = House::new();
    let open = house.open().await;
    open.append(10).await;
    let older = open.seal().await.unwrap();
    open.append(10).await;
    let newest = open.seal().await.unwrap();
    let file = house.file("checkpoint");
    let stranger = SigningKey::from_seed("stranger", &[9; 32]).unwrap();
    for text in
        [older.note, String::new(), callvault::formats::tlog::sign("stranger\n1\nAAAA\n", &[stranger])]
    {
        rewrite(&file, text.as_bytes());
        open.seal().await.unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), newest.note);
        assert_eq!(open.problem().await, "");
    }
    fs::remove_file(&file).unwrap();
    open.seal().await.unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), newest.note);
}

#[tokio::test]
async fn a_database_whose_leaves_were_altered_is_not_signed() {
    let house = House::new();
    let open = house.open().await;
    open.append(10).await;
    open.seal().await.unwrap();
    let state = house.state();
    drop(open);
    let url = format!("sqlite://{}", state.join("callvault.db").display());
    let db = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::query("update checkpoints set root = zeroblob(32)").execute(&db).await.unwrap();
    db.close().await;
    let open = house.open().await;
    open.append(1).await;
    let error = open.notary.seal(NOW).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(NotaryError::Altered)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_the_ledger_that_is_altered_or_gone_is_named() {
    let house = House::new();
    let open = house.open().await;
    open.append(600).await;
    let sealed = open.seal().await.unwrap();
    let db = open.state.db.clone();
    let mut known = Leaves::stored(move |from, limit| {
        let read = async { ledger::leaf_hashes(&mut *db.read().await?, from, limit).await };
        tokio::runtime::Handle::current().block_on(read)
    });
    let keys = [open.notary.key().await];
    let files = ["checkpoint", "tile/0/000", "tile/0/002.p/89", "tile/1/000.p/2", "tile/entries/001"];
    for path in files {
        let file = house.file(path);
        let whole = fs::read(&file).unwrap();
        let mut bent = whole.clone();
        let at = bent.len() / 2;
        bent[at] ^= 1;
        for broken in [Some(&bent[..]), Some(&whole[..whole.len() - 1]), None] {
            fs::remove_file(&file).unwrap();
            if let Some(broken) = broken {
                fs::write(&file, broken).unwrap();
            }
            let published = house.published();
            let last = Some((sealed.size, sealed.root));
            let damages = tokio::task::block_in_place(|| published.check(&keys, last, &mut known)).unwrap();
            let named: Vec<&str> = damages.iter().map(|damage| &*damage.path).collect();
            assert_eq!(named, [path], "{damages:?}");
            assert!(!house.damages().is_empty(), "an auditor sees {path}");
            drop(fs::remove_file(&file));
            fs::write(&file, &whole).unwrap();
        }
    }
    assert_eq!(house.damages(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_signs_beside_the_former_one_until_its_time_is_over() {
    let house = House::new();
    let open = house.open().await;
    open.append(3).await;
    open.seal().await.unwrap();
    let former = open.notary.key().await;
    let key = open.notary.rotate_key(&open.state, NOW).await.unwrap();
    let signed_by = |keys: &[VerifyingKey]| house.published().checkpoint(keys).is_ok();
    assert!(signed_by(std::slice::from_ref(&former)) && signed_by(std::slice::from_ref(&key)));
    drop(open);
    let open = house.open().await;
    assert_eq!(open.notary.key().await, key);
    open.append(1).await;
    open.seal().await.unwrap();
    assert!(signed_by(std::slice::from_ref(&former)) && signed_by(std::slice::from_ref(&key)));
    let later = NOW + jiff::SignedDuration::from_hours(31 * 24);
    open.append(1).await;
    open.notary.seal(later).await.unwrap().unwrap();
    assert!(!signed_by(&[former]) && signed_by(&[key]));
    let entries = ledger::entries(&mut open.state.db.read().await.unwrap(), 0, 100).await.unwrap();
    let actions: Vec<serde_json::Value> = entries
        .iter()
        .map(|entry| serde_json::from_str::<serde_json::Value>(&entry.entry).unwrap())
        .collect();
    let actions: Vec<&str> = actions.iter().filter_map(|entry| entry["action"].as_str()).collect();
    assert_eq!(actions, ["created", "announced", "retired"]);
    let standing = "select retired_at_ms from ledger_keys order by ordinal";
    let retired: Vec<Option<i64>> =
        sqlx::query_scalar(standing).fetch_all(&mut *open.state.db.read().await.unwrap()).await.unwrap();
    assert_eq!(retired, [Some(later.as_millisecond()), None]);
}

#[tokio::test]
async fn a_key_that_the_operator_keeps_signs_and_the_ledger_keeps_its_name() {
    let house = House::new();
    let key = Some("07".repeat(32).into());
    let config = LedgerConfig { origin: Some("example.com/vault".to_owned()), key };
    let open = house.open_with(&config).await.unwrap();
    open.seal().await.unwrap();
    let expected = SigningKey::from_seed("example.com/vault", &[7; 32]).unwrap().verifying_key();
    assert_eq!(open.notary.key().await, expected);
    assert!(house.published().checkpoint(&[expected]).unwrap().is_some());
    assert!(!house.state().join("ledger.key").exists());
    let refused = open.notary.rotate_key(&open.state, NOW).await.unwrap_err().to_string();
    assert!(refused.contains("key_file"), "{refused}");
    drop(open);
    let other = LedgerConfig { origin: Some("example.com/other".to_owned()), ..config.clone() };
    let error = house.open_with(&other).await.err().unwrap();
    assert!(matches!(error.downcast_ref(), Some(NotaryError::Renamed { .. })), "{error}");
    let unnamed = LedgerConfig { origin: None, ..config };
    assert_eq!(house.open_with(&unnamed).await.unwrap().notary.origin, "example.com/vault");
}

#[tokio::test]
async fn another_key_signs_only_once_somebody_said_that_it_follows() {
    let house = House::new();
    let open = house.open().await;
    let first = open.notary.key().await;
    let sealed = open.seal().await.unwrap();
    drop(open);
    until_closed(&house.state()).await;
    fs::write(house.state().join("ledger.key"), "07".repeat(32)).unwrap();
    let open = house.open().await;
    open.append(1).await;
    let error = open.notary.seal(NOW).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(NotaryError::OtherKey { .. })), "{error}");
    assert_eq!(open.problem().await, error.to_string());
    assert_eq!(fs::read_to_string(house.file("checkpoint")).unwrap(), sealed.note);
    assert_eq!(house.published().keys().unwrap(), std::slice::from_ref(&first), "nobody is told of it");
    let key = open.notary.rotate_key(&open.state, NOW).await.unwrap();
    assert_ne!(key, first);
    // The key, the entry, and that the other key follows.
    assert_eq!(house.published().checkpoint(&[key]).unwrap().unwrap().0.size, 3);
    assert_eq!(open.problem().await, "");
    drop(open);
    house.open().await.append(1).await;
    assert!(house.open().await.seal().await.is_some());
}

#[tokio::test]
async fn a_change_of_keys_that_was_killed_is_made_good_by_the_next_run() {
    let house = House::new();
    let open = house.open().await;
    open.seal().await.unwrap();
    // It died between the new key and the entry that announces it.
    open.state
        .db
        .write(async move |tx| {
            callvault::store::fleet::set_meta(tx, callvault::proof::notary::KEY_MAY_CHANGE, "1").await
        })
        .await
        .unwrap();
    drop(open);
    until_closed(&house.state()).await;
    fs::write(house.state().join("ledger.key"), "07".repeat(32)).unwrap();
    let open = house.open().await;
    assert!(open.seal().await.is_some());
    drop(open);
    // That was for once.
    until_closed(&house.state()).await;
    fs::write(house.state().join("ledger.key"), "08".repeat(32)).unwrap();
    let open = house.open().await;
    open.append(1).await;
    assert!(open.notary.seal(NOW).await.is_err());
}

#[tokio::test]
async fn a_planted_tile_is_moved_aside() {
    let house = House::new();
    let open = house.open().await;
    for path in ["tile/0/000.p/1", "tile/entries/000.p/1"] {
        fs::create_dir_all(house.file(path).parent().unwrap()).unwrap();
        fs::write(house.file(path), "junk").unwrap();
    }
    fs::create_dir_all(house.file("tile/0/000.p/3")).unwrap();
    open.seal().await.unwrap();
    open.append(2).await;
    assert_eq!(open.seal().await.unwrap().size, 3);
    assert_eq!(house.damages(), Vec::<String>::new());
    assert_eq!(fs::read_to_string(house.file("tile/0/000.p/1~1")).unwrap(), "junk");
}

/// The attack: an older database, the published checkpoint removed, and its newest tiles too.
#[tokio::test]
async fn what_was_signed_last_is_known_though_the_published_checkpoint_is_gone() {
    let house = House::new();
    let open = house.open().await;
    open.append(10).await;
    open.seal().await.unwrap();
    drop(open);
    until_closed(&house.state()).await;
    let older = fs::read(house.state().join("callvault.db")).unwrap();
    let open = house.open().await;
    open.append(5).await;
    open.seal().await.unwrap();
    drop(open);
    until_closed(&house.state()).await;
    fs::write(house.state().join("callvault.db"), older).unwrap();
    fs::remove_file(house.file("checkpoint")).unwrap();
    fs::remove_file(house.file("tile/0/000.p/16")).unwrap();
    fs::remove_file(house.file("tile/entries/000.p/16")).unwrap();
    let restored = house.open().await;
    restored.append_after("the restore", 5).await;
    let error = restored.notary.seal(NOW).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(NotaryError::Refused { published: 16, .. })), "{error}");
    assert!(!house.file("checkpoint").exists());
}

#[tokio::test]
async fn those_who_seal_at_one_time_seal_one_after_the_other() {
    let house = House::new();
    let Open { state, notary } = house.open().await;
    let (notary, db) = (Arc::new(notary), state.db.clone());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (notary, db) = (notary.clone(), db.clone());
        tasks.spawn(async move {
            for _ in 0..5 {
                let entry = Entry::new(EntryType::Gap, NOW);
                db.write(async move |tx| ledger::append(tx, &entry).await).await.unwrap();
                notary.seal(NOW).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(house.damages(), Vec::<String>::new());
    let (checkpoint, _) = house.published().checkpoint(&[notary.key().await]).unwrap().unwrap();
    assert_eq!(checkpoint.size, 41);
}
