//! Rules of the operator that keep recordings out, and what happens when they change.

use std::time::Duration;

use callvault::base::counts::Counts;
use callvault::config::ExclusionRule;
use callvault::pipeline::backfill::Request;
use callvault::simulator::Faults;
use callvault::store::queue::DayRange;

use crate::support::station::{NONE, PBX, Station, counts};

fn internal() -> ExclusionRule {
    ExclusionRule { name: "internal".into(), direction: vec!["internal".into()], ..ExclusionRule::default() }
}

/// Three inbound calls and two internal ones.
async fn station() -> Station {
    let station = Station::new(0).await;
    for minute in 0..5 {
        let mut call = station.call(&format!("{minute}.wav"), minute);
        if minute >= 3 {
            (call.call_type, call.callfrom) = ("Internal".into(), "1009".into());
        }
        station.pbx.world(|world| world.add_call(call));
    }
    station
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_keeps_out_is_listed_with_its_name_and_never_asked_for() {
    let mut station = station().await;
    station.config.exclude = vec![internal()];
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { archived: 3, excluded: 2, ..NONE });
    assert_eq!(report.exit_code(false), 0, "what the operator keeps out is not owed");
    assert_eq!(report.pbx["hq"].reasons[0].reason, "internal");
    assert_eq!(station.pbx.counters().downloads_started, 3);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_another_pbx_keeps_nothing_out() {
    let mut station = station().await;
    station.config.exclude = vec![ExclusionRule { pbx: vec!["lyon".into()], ..internal() }];
    assert_eq!(counts(&station.backfill().await), Counts { archived: 5, ..NONE });
    station.config.exclude = vec![ExclusionRule { pbx: vec![PBX.into()], ..internal() }];
    station.backfill().await;
    assert_eq!(station.value::<i64>("select count(*) from recordings where state = 'archived'").await, 5);
    let call = station.call("late.wav", 9);
    let call =
        callvault::simulator::SimCall { call_type: "Internal".into(), callfrom: "1009".into(), ..call };
    station.pbx.world(|world| world.add_call(call));
    assert_eq!(counts(&station.backfill().await), Counts { already_archived: 5, excluded: 1, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_goes_lets_its_recordings_in() {
    let mut station = station().await;
    station.config.exclude = vec![internal()];
    station.backfill().await;
    station.config.exclude.clear();
    assert_eq!(counts(&station.backfill().await), Counts { archived: 2, already_archived: 3, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_changes_is_applied_anew_and_renamed() {
    let mut station = station().await;
    station.config.exclude = vec![internal()];
    station.backfill().await;
    let only = ExclusionRule { name: "agent".into(), extension: vec!["1009".into()], ..internal() };
    station.config.exclude = vec![only];
    let report = station.backfill().await;
    assert_eq!(counts(&report), Counts { already_archived: 3, excluded: 2, ..NONE });
    assert_eq!(report.pbx["hq"].reasons[0].reason, "agent");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_comes_too_late_leaves_the_archived_archived() {
    let mut station = station().await;
    station.backfill().await;
    station.config.exclude = vec![internal()];
    assert_eq!(counts(&station.backfill().await), Counts { already_archived: 5, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_takes_pending_recordings_out_of_the_queue() {
    let mut station = station().await;
    station.dry_run().await;
    station.config.exclude = vec![internal()];
    assert_eq!(counts(&station.backfill().await), Counts { archived: 3, excluded: 2, ..NONE });
    station.check().await;
}

/// Both legs name the file; only one matches the rule.
#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_kept_out_only_if_all_its_rows_match() {
    let mut station = station().await;
    station.config.exclude = vec![internal()];
    let mut leg = station.call("4.wav", 9);
    (leg.audio, leg.call_type) = (None, "Transfer".into());
    station.pbx.world(|world| world.add_call(leg));
    assert_eq!(counts(&station.backfill().await), Counts { archived: 4, excluded: 1, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_comes_later_and_does_not_match_brings_its_recording_in() {
    let mut station = station().await;
    station.config.exclude = vec![internal()];
    station.backfill().await;
    let mut leg = station.call("4.wav", 9);
    (leg.audio, leg.call_type) = (None, "Transfer".into());
    station.pbx.world(|world| world.add_call(leg));
    assert_eq!(
        counts(&station.backfill().await),
        Counts { archived: 1, already_archived: 3, excluded: 1, ..NONE }
    );
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_excludes_what_is_missing_also_when_the_pbx_has_it_again() {
    let mut station = station().await;
    let deleted = vec!["1.wav".to_owned(), "4.wav".to_owned()];
    station.set_faults(Faults { deleted, ..Faults::default() });
    assert_eq!(counts(&station.backfill().await), Counts { archived: 3, missing: 2, ..NONE });
    station.check().await;
    station.config.exclude = vec![internal()];
    station.set_faults(Faults::default());
    let report = station.backfill().await;
    assert_eq!(
        counts(&report),
        Counts { archived: 1, already_archived: 3, excluded: 1, ..NONE },
        "{report:?}"
    );
    assert_eq!(station.pbx.counters().downloads_started, 4);
    assert!(!station.path_of("4.wav").exists());
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_excludes_what_is_stuck_also_from_a_retry() {
    let mut station = station().await;
    station.config.queue.attempts_max = 2;
    station.set_faults(Faults { html_200: 1.0, ..Faults::default() });
    assert_eq!(counts(&station.backfill().await), Counts { stuck: 5, ..NONE });
    station.check().await;
    station.config.exclude = vec![internal()];
    station.set_faults(Faults::default());
    assert_eq!(counts(&station.backfill().await), Counts { excluded: 2, stuck: 3, ..NONE });
    assert_eq!(counts(&station.retry().await), Counts { archived: 3, excluded: 2, ..NONE });
    station.check().await;
}

/// No sweep helps: only the change of rules itself can judge what was heard of before.
#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_that_was_not_configured_while_the_rules_changed_is_judged_when_it_is_back() {
    let mut station = station().await;
    station.dry_run().await;
    let hq = station.section().clone();
    let mut branch = hq.clone();
    (branch.id, branch.url) = ("branch".into(), "http://127.0.0.1:9".parse().unwrap());
    branch.limits.outage_patience = Duration::ZERO;

    station.config.pbx = vec![branch.clone()];
    station.config.exclude = vec![internal()];
    assert_eq!(station.backfill().await.exit_code(false), 4);

    station.config.pbx = vec![hq, branch];
    let request =
        Request { pbx: vec![PBX.to_owned()], queue_only: Some(DayRange::ALL), ..Request::default() };
    let report = station.run(request, Default::default()).await.unwrap();
    assert_eq!(counts(&report), Counts { archived: 3, excluded: 2, ..NONE }, "{report:?}");
    assert_eq!(station.pbx.counters().downloads_started, 3);
    station.check().await;
}
