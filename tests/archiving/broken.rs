//! A database that cannot be written any more ends a run.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::reconciling::tamper;
use crate::common::{Station, small};

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
    let request = callvault::backfill::Request { voicemail: true, ..station.request() };
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
