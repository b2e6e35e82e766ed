//! Bounds of the operator and of this machine: sizes, space, owners.

use std::fs;
use std::time::Duration;

use callvault::archive::ArchiveError;
use callvault::base::counts::Counts;
use callvault::proof::sealed_vault::SealedVault;
use callvault::service::backfill::Backfill;
use callvault::simulator::Faults;
use callvault::vault::state::StateError;
use tokio_util::sync::CancellationToken;

use crate::support::station::{NONE, Station, counts};

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_beyond_the_bound_is_stuck_until_the_bound_is_raised() {
    let mut station = Station::new(3).await;
    station.add_call("long.wav", 0);
    station
        .pbx
        .world(|world| world.replace_audio(b"long.wav", callvault::simulator::SimAudio::pcm(50_000, 1)));
    station.config.queue.attempts_max = 3;
    station.section().limits.recording_bytes_max = 20_000;
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { archived: 3, stuck: 1, ..NONE });
    assert_eq!(report.exit_code(false), 3);
    assert_eq!(report.pbx["hq"].reasons[0].reason, "oversize");
    station.check().await;

    let asked = station.pbx.counters().downloads_started;
    assert_eq!(counts(&station.backfill().await), Counts { already_archived: 3, stuck: 1, ..NONE });
    assert_eq!(station.pbx.counters().downloads_started, asked, "stuck is not asked for by itself");
    station.check().await;

    station.section().limits.recording_bytes_max = 60_000;
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, already_archived: 3, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stuck_comes_back_by_hand() {
    let mut station = Station::with_call("odd.wav").await;
    station.config.queue.attempts_max = 2;
    let faults = callvault::simulator::Faults { html_200: 1.0, ..Default::default() };
    station.set_faults(faults);
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { stuck: 1, ..NONE });
    assert_eq!(report.pbx["hq"].reasons[0].reason, "html_body");
    station.check().await;
    station.set_faults(Default::default());
    assert_eq!(station.retry().await.total.archived, 1);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_no_ticket_and_goes_on_when_there_is_room() {
    let mut station = Station::new(4).await;
    station.config.archive.free_bytes_min = u64::MAX;
    let report = station.backfill().await;
    assert_eq!(report.exit_code(false), 2);
    assert_eq!(report.trouble.clone().unwrap().reason, "archive", "{report:?}");
    assert_eq!(station.pbx.counters().downloads_started, 0);
    let counters = station.pbx.counters();
    assert_eq!(counters.tickets_issued, counters.cdr_downloads);
    station.cdr_is_whole = false;
    station.check().await;
    station.config.archive.free_bytes_min = 0;
    station.cdr_is_whole = true;
    assert_eq!(counts(&station.backfill().await), Counts { archived: 4, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_not_mounted_is_refused_and_nothing_is_written_in_its_place() {
    let mut station = Station::new(3).await;
    station.backfill().await;
    let (mounted, away) = (station.archive().to_owned(), station.input().join("away"));
    fs::rename(&mounted, &away).unwrap();
    fs::create_dir(&mounted).unwrap();
    let error = station.run(station.request(), CancellationToken::new()).await.unwrap_err();
    assert!(error.downcast_ref::<ArchiveError>().is_some(), "{error:#}");
    assert!(station.files().is_empty());
    fs::remove_dir(&mounted).unwrap();
    fs::rename(&away, &mounted).unwrap();
    assert_eq!(counts(&station.backfill().await), Counts { already_archived: 3, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_at_work_is_told() {
    let mut station = Station::new(1).await;
    let SealedVault { vault: other, .. } =
        SealedVault::open(station.config.clone(), callvault::base::clock::Clock::system()).await.unwrap();
    let error = station.run(station.request(), CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(StateError::Locked(_))), "{error:#}");
    drop(other);
    assert_eq!(station.backfill().await.total.archived, 1);
    station.check().await;
}

/// What is shown while it works is what it did.
#[tokio::test(flavor = "multi_thread")]
async fn progress_counts_recordings_archived_their_bytes_and_attempts_that_failed() {
    let mut station = Station::new(5).await;
    station.config.queue.retry_base = Duration::from_millis(1);
    station.set_faults(Faults { json_body: 0.3, ..Faults::default() });
    let opened =
        SealedVault::open(station.config.clone(), callvault::base::clock::Clock::system()).await.unwrap();
    let backfill = Backfill::new(&opened, station.request(), Default::default(), Default::default()).unwrap();
    let total = backfill.run(&mut ()).await.unwrap().total;
    let progress = backfill.sites()[0].progress();
    assert_eq!((total.archived, progress.archived, progress.bytes), (5, 5, total.bytes));
    let attempts: i64 = station.value("select sum(attempts) from recordings").await;
    assert_eq!(progress.failed_attempts, u64::try_from(attempts - 5).unwrap());
    assert!(station.pbx.counters().faults["json_body"] > 0);
}
