//! What the state keeps of checkpoints.

use callvault::base::digest::Digest;
use callvault::formats::tlog::{Frontier, leaf_hash};
use callvault::store::ledger::{self, Entry, EntryType};
use jiff::{Timestamp, ToSpan as _};

use super::house::{House, NOW};

/// Notes that the first `size` of leaves that are all different were signed at `at`, and returns the root.
async fn sign(open: &super::house::Open, size: u64, at: Timestamp) -> Digest {
    let mut frontier = Frontier::default();
    for number in 0..size {
        frontier.push(leaf_hash(&number.to_be_bytes()), &mut Vec::new());
    }
    let root = frontier.root();
    let noted = open.state.db.write(async move |tx| ledger::note_checkpoint(tx, &frontier, at).await);
    noted.await.unwrap();
    root
}

#[tokio::test]
async fn of_checkpoints_long_ago_the_last_of_each_day_is_kept() {
    let open = House::new().open().await;
    let at = |hours: i64| NOW + hours.hours();
    let mut roots = Vec::new();
    for (size, hours) in [(10, 1), (20, 2), (30, 23), (40, 25), (50, 49), (60, 50), (70, 51)] {
        roots.push((size, sign(&open, size, at(hours)).await, at(hours)));
    }
    let forgotten = open.state.db.write(async move |tx| ledger::forget_checkpoints(tx, at(50)).await);
    forgotten.await.unwrap();

    let mut db = open.state.db.read().await.unwrap();
    for (size, root, signed_at) in roots {
        let known = ledger::checkpoint_of(&mut db, size).await.unwrap();
        let kept = [30, 40, 60, 70].contains(&size);
        assert_eq!(known, kept.then_some(ledger::Signed { size, root, signed_at }), "{size}");
    }
    assert_eq!(ledger::checkpoint_of(&mut db, 31).await.unwrap(), None);
    let mut beyond = Vec::new();
    for size in [5, 30, 69, 70] {
        beyond.push(ledger::first_signed_beyond(&mut db, size).await.unwrap());
    }
    assert_eq!(beyond, [Some(at(23)), Some(at(25)), Some(at(51)), None]);
    assert_eq!(ledger::latest_checkpoint(&mut db).await.unwrap().unwrap().size, 70);
}

#[tokio::test]
async fn an_entry_knows_when_it_happened() {
    let open = House::new().open().await;
    let at: Timestamp = "2026-11-02T03:04:05Z".parse().unwrap();
    let number =
        open.state.db.write(async move |tx| ledger::append(tx, &Entry::new(EntryType::Gap, at)).await);
    let number = u64::try_from(number.await.unwrap()).unwrap();
    let mut db = open.state.db.read().await.unwrap();
    let entries = ledger::entries(&mut db, number, 1).await.unwrap();
    assert_eq!(entries[0].at().unwrap(), at);
    let timeless = ledger::Numbered { entry: "{}".into(), ..entries[0].clone() };
    assert!(timeless.at().unwrap_err().to_string().contains("is damaged"));
}
