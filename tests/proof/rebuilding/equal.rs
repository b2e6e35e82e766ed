//! The database is lost, and made anew.

use super::compare::{assert_equal, dump};
use crate::support::eventful::printed;
use crate::support::station::Station;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rebuilt_is_equal_to_what_was_lost() {
    let mut station = Station::eventful().await;
    station.check().await;
    for (state, least) in [("archived", 25), ("missing", 2), ("excluded", 1), ("stuck", 1)] {
        let count = station.count(state).await;
        assert!(count >= least, "{count} {state}");
    }
    for something in [
        "select count(*) from recordings where final = 1",
        "select count(*) from recordings where gap_number is not null and state = 'archived'",
        "select count(*) from recordings where refetch = 2",
        "select count(*) from archived_files where conflict = 1",
        "select count(*) from archived_files where suspect <> ''",
        "select count(*) from call_versions",
        "select count(*) from calls where recording_id is null",
        "select count(*) from voicemails where ordinal = 2",
        "select count(*) from recordings where kind = 'voicemail' and state = 'missing'",
    ] {
        assert!(station.value::<i64>(something).await > 0, "{something}");
    }
    // What is owed is asked for once more by each; from here on nothing is new.
    let before = printed(&station.backfill_voicemail().await);
    let (lost, status) = (dump(&station.database().await).await, station.status().await);
    station.lose_state().await;

    let report = station.rebuild().await;
    assert_eq!((report.damaged, &report.damage, &report.former), (0, &vec![], &None));
    assert_eq!((report.ledger.appended, report.ledger.gone, report.ledger.asked_again), (0, 0, 0));
    assert_eq!((report.ledger.lost, report.ledger.unsigned), (0, 0));
    assert_equal(&lost, &dump(&station.database().await).await);
    let mut rebuilt = station.status().await;
    // It tells of itself, and that is signed by the next run.
    assert_eq!(rebuilt["ledger"]["entries"], status["ledger"]["entries"].as_i64().unwrap() + 1);
    rebuilt["ledger"] = status["ledger"].clone();
    assert_eq!(status, rebuilt);
    station.check().await;

    let downloads = station.pbx.counters().downloads_started;
    let recordings = station.recordings();
    let after = printed(&station.backfill_voicemail().await);
    assert_eq!(before, after);
    assert_eq!(station.pbx.counters().downloads_started, downloads, "nothing is fetched again");
    let mut later = station.status().await;
    // The ledger tells of the rebuild. The key was lost with the state: it tells of another one, and is signed by it. And
    // what was asked for once more is listed once more.
    assert_eq!(later["ledger"]["signed_entries"], status["ledger"]["signed_entries"].as_i64().unwrap() + 3);
    later["ledger"] = status["ledger"].clone();
    assert_eq!(status, later);
    assert_eq!(recordings, station.recordings());
    station.check().await;
}
