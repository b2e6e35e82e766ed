//! A database or an archive that does not take what it is given.

use callvault::base::counts::Counts;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::reconciling::tamper;
use crate::support::station::{NONE, Station, counts, small};

/// No run of a few recordings takes as long, but one that waits for itself.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// Runs a backfill with voicemail, whose database refuses to record that any of `kind` is archived, and expects that it
/// ends with that.
async fn ends_without(kind: &str) {
    let mut station = Station::with_voicemail(small(4)).await;
    station.leave("1003", 200);
    std::fs::create_dir(&station.config.state.path).unwrap();
    let trigger = format!(
        "create trigger broken before update of state on recordings
         when new.kind = '{kind}' and new.state = 'archived' begin select raise(abort, 'out of order'); end"
    );
    tamper(&station, trigger.leak()).await;
    let request = callvault::pipeline::backfill::Request { voicemail: true, ..station.request() };
    let run = station.run(request, CancellationToken::new());
    let ended = tokio::time::timeout(ENDS_WITHIN, run).await.expect("it does not wait for its own claims");
    let error = format!("{:#}", ended.expect_err("nothing can be recorded"));
    assert!(error.contains("out of order"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_whose_recordings_cannot_be_recorded() {
    ends_without("call").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_whose_messages_cannot_be_recorded() {
    ends_without("voicemail").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_database_does_not_take_is_told_and_the_others_are_stored() {
    let mut station = Station::new(6).await;
    station.add_call("refused.wav", 3);
    station.add_call("taken.wav", 4);
    std::fs::create_dir(&station.config.state.path).unwrap();
    tamper(
        &station,
        "create trigger broken before insert on recordings when new.name = cast('refused.wav' as blob)
         begin select raise(abort, 'out of order'); end",
    )
    .await;
    station.cdr_is_whole = false;
    assert_eq!(counts(&station.backfill().await), Counts { archived: 7, ..NONE });
    let findings = station.findings("bad_row").await;
    let [(subject, detail)] = &findings[..] else { panic!("{findings:?}") };
    let line = subject.strip_prefix("the CDR of 2024-03-14 line ").unwrap_or_else(|| panic!("{subject}"));
    assert!(line.parse::<u64>().unwrap() > 1, "the first line names the columns: {subject}");
    assert!(detail.contains("cannot be stored") && detail.contains("out of order"), "{detail}");
    station.check().await;
}

/// So many calls on a day whose folder cannot be made, for a file has its name: that file.
async fn with_a_file_in_the_way(station: &mut Station, calls: u32) -> std::path::PathBuf {
    station.add_earlier_call("early.wav");
    station.backfill().await;
    (0..calls).for_each(|minute| drop(station.add_call(&format!("{minute}.wav"), minute)));
    let folder = station.path_of("a.wav").parent().unwrap().to_owned();
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    drop(std::fs::remove_dir_all(&folder));
    std::fs::write(&folder, "in the way").unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_fails_for_one_recording_after_another_ends_the_run_with_its_error() {
    let mut station = Station::new(0).await;
    let in_the_way = with_a_file_in_the_way(&mut station, 20).await;
    let report = station.backfill().await;
    let trouble = report.trouble.expect("it is the archive's");
    assert!(trouble.message.contains("2024/03/14` is not a real folder"), "{trouble:?}");
    let attempts: i64 = station.value("select sum(attempts) from recordings where state = 'pending'").await;
    assert!((8..16).contains(&attempts), "{attempts} attempts at 20 recordings");
    std::fs::remove_file(&in_the_way).unwrap();
    assert_eq!(counts(&station.backfill().await), Counts { archived: 20, already_archived: 1, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seven_failures_of_the_archive_in_a_row_are_those_of_seven_recordings_and_eight_are_its_own() {
    for (calls, stuck) in [(7, 7), (8, 8)] {
        let mut station = Station::new(0).await;
        station.config.queue.attempts_max = 1;
        let in_the_way = with_a_file_in_the_way(&mut station, calls).await;
        let report = station.backfill().await;
        let own = &report.pbx["hq"].own_trouble;
        assert_eq!(own.is_some(), calls == 8, "{calls} calls: {own:?}");
        assert_eq!(counts(&report), Counts { already_archived: 1, stuck, ..NONE }, "{calls} calls");
        std::fs::remove_file(&in_the_way).unwrap();
        assert_eq!(
            counts(&station.retry().await),
            Counts { archived: stuck, already_archived: 1, ..NONE },
            "{calls} calls"
        );
        station.check().await;
    }
}
