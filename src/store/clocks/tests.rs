//! What the looks at the clocks come to.

use sqlx::{Connection as _, SqliteConnection};

use super::*;

const NOON: &str = "2026-12-01T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A look at `ours` at a clock that is `ahead_s` ahead.
fn look(ours: Timestamp, ahead_s: i64) -> Look {
    let shown = ours + SignedDuration::from_secs(ahead_s);
    Look { asked_at: ours, answered_at: ours, shown }
}

async fn database() -> SqliteConnection {
    let mut db = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    sqlx::raw_sql(include_str!("../../../migrations/0021_clocks.sql")).execute(&mut db).await.unwrap();
    db
}

#[test]
fn a_look_tells_no_more_than_its_answer_took() {
    let noon = at(NOON);
    let slow = |shown: i64| Look {
        asked_at: noon,
        answered_at: noon + SignedDuration::from_secs(10),
        shown: noon + SignedDuration::from_secs(shown),
    };
    // The second that was shown is a whole one: it may have been nearly over.
    for (shown, skew_s) in [(-1, 0), (0, 0), (10, 0), (12, 2), (-5, -4)] {
        assert_eq!(slow(shown).skew_s(), skew_s, "{shown}");
    }
}

/// Whether the looks at a clock tell that it or ours was set after `since`.
async fn jumped_since(db: &mut SqliteConnection, pbx: &str, since: Timestamp) -> bool {
    let jump = of(db, pbx).await.unwrap().and_then(|clock| clock.jump);
    jump.is_some_and(|jump| jump.after.max(jump.before) >= since)
}

#[tokio::test]
async fn a_steady_skew_is_no_jump_and_a_clock_that_was_set_is_one() {
    let mut db = database().await;
    let noon = at(NOON);
    let later = noon + SignedDuration::from_hours(6);
    record(&mut db, "hq", &look(noon, -1_000_000)).await.unwrap();
    let clock = record(&mut db, "hq", &look(later, -1_000_005)).await.unwrap().unwrap();
    assert!(clock.is_skewed() && clock.jump.is_none(), "{clock:?}");
    assert!(!jumped_since(&mut db, "hq", noon).await);

    // Set right.
    let evening = later + SignedDuration::from_hours(1);
    let clock = record(&mut db, "hq", &look(evening, 1)).await.unwrap().unwrap();
    assert_eq!(clock.jump, Some(Jump { after: later, before: evening, jump_s: 1_000_005 }));
    assert!(!clock.is_skewed());
    assert!(jumped_since(&mut db, "hq", noon).await);
    assert!(jumped_since(&mut db, "hq", evening).await);
    assert!(!jumped_since(&mut db, "hq", evening + SignedDuration::from_secs(1)).await);
    assert!(!jumped_since(&mut db, "branch", noon).await);

    // The next look is steady again, and what was is not forgotten.
    record(&mut db, "hq", &look(evening + SignedDuration::from_hours(1), 1)).await.unwrap();
    assert!(jumped_since(&mut db, "hq", noon).await);
}

#[tokio::test]
async fn our_own_clock_set_back_is_a_jump_too() {
    let mut db = database().await;
    let noon = at(NOON);
    record(&mut db, "hq", &look(noon, 0)).await.unwrap();
    // The PBX's clock ran on for a minute, and ours was set back a day.
    let yesterday = noon - SignedDuration::from_hours(24);
    let seen =
        Look { asked_at: yesterday, answered_at: yesterday, shown: noon + SignedDuration::from_secs(60) };
    record(&mut db, "hq", &seen).await.unwrap();
    assert!(jumped_since(&mut db, "hq", noon).await);
}

#[tokio::test]
async fn summer_time_drift_and_slow_answers_are_no_jumps() {
    let mut db = database().await;
    let noon = at(NOON);
    record(&mut db, "hq", &look(noon, 0)).await.unwrap();
    for (days, ahead_s) in [(1, 3600), (2, 0), (40, 1100), (41, 1400)] {
        let clock = record(&mut db, "hq", &look(noon + SignedDuration::from_hours(24 * days), ahead_s)).await;
        assert_eq!(clock.unwrap().unwrap().jump, None, "{days}");
    }
    let slow = Look { answered_at: noon + SignedDuration::from_secs(500), ..look(noon, 900_000) };
    assert_eq!(record(&mut db, "hq", &slow).await.unwrap().unwrap().skew_s, 1400);
}

#[tokio::test]
async fn nothing_speaks_against_a_clock_that_nobody_contradicts() {
    let noon = at(NOON);
    for sync in [Sync::Synchronised, Sync::Unsynchronised, Sync::Unknown] {
        let mut db = database().await;
        assert_eq!(own_doubt(&mut db, noon).await.unwrap(), None);
        note_own(&mut db, noon, sync).await.unwrap();
        record(&mut db, "hq", &look(noon, 20)).await.unwrap();
        assert_eq!(own_doubt(&mut db, noon).await.unwrap(), None, "{sync:?}");
    }
}

#[tokio::test]
async fn an_unsynchronised_clock_with_which_no_pbx_agrees_is_doubtful() {
    let noon = at(NOON);
    let mut db = database().await;
    note_own(&mut db, noon, Sync::Unsynchronised).await.unwrap();
    record(&mut db, "hq", &look(noon, 40_000)).await.unwrap();
    assert_eq!(own_doubt(&mut db, noon).await.unwrap(), Some(OwnDoubt::Unsynchronised));
    // Another PBX vouches for it.
    record(&mut db, "branch", &look(noon, 2)).await.unwrap();
    assert_eq!(own_doubt(&mut db, noon).await.unwrap(), None);
    // Not for ever.
    let later = noon + SignedDuration::from_hours(72);
    record(&mut db, "hq", &look(later, 40_000)).await.unwrap();
    assert_eq!(own_doubt(&mut db, later).await.unwrap(), Some(OwnDoubt::Unsynchronised));
    // That nothing is known of a time server says nothing against it, and one that is there speaks for it.
    for sync in [Sync::Unknown, Sync::Synchronised] {
        note_own(&mut db, later, sync).await.unwrap();
        assert_eq!(own_doubt(&mut db, later).await.unwrap(), None, "{sync:?}");
    }
}

#[tokio::test]
async fn a_clock_that_shows_less_than_it_did_is_doubtful_until_somebody_vouches_for_it() {
    let noon = at(NOON);
    let back = noon - SignedDuration::from_hours(2);
    for sync in [Sync::Unsynchronised, Sync::Unknown] {
        let mut db = database().await;
        note_own(&mut db, noon, sync).await.unwrap();
        assert_eq!(own_doubt(&mut db, noon - SignedDuration::from_secs(30)).await.unwrap(), None);
        note_own(&mut db, back, sync).await.unwrap();
        assert_eq!(own_doubt(&mut db, back).await.unwrap(), Some(OwnDoubt::SetBack { latest: noon }));
        record(&mut db, "hq", &look(back, -7200)).await.unwrap();
        assert!(own_doubt(&mut db, back).await.unwrap().is_some());
        record(&mut db, "hq", &look(back, 0)).await.unwrap();
        assert_eq!(own_doubt(&mut db, back).await.unwrap(), None);
    }
    let mut db = database().await;
    note_own(&mut db, noon, Sync::Unknown).await.unwrap();
    note_own(&mut db, back, Sync::Synchronised).await.unwrap();
    assert_eq!(own_doubt(&mut db, back).await.unwrap(), None);
    note_own(&mut db, back, Sync::Unknown).await.unwrap();
    assert_eq!(own_doubt(&mut db, back).await.unwrap(), None, "the time server has spoken");
}

#[tokio::test]
async fn a_clock_from_before_this_version_is_wrong_unless_a_time_server_keeps_it() {
    let long_ago = at("1970-01-01T00:20:00Z");
    let mut db = database().await;
    assert_eq!(own_doubt(&mut db, long_ago).await.unwrap(), None, "nothing was read by it yet");
    note_own(&mut db, long_ago, Sync::Unknown).await.unwrap();
    assert_eq!(own_doubt(&mut db, long_ago).await.unwrap(), Some(OwnDoubt::BeforeRelease));
    note_own(&mut db, long_ago, Sync::Synchronised).await.unwrap();
    assert_eq!(own_doubt(&mut db, long_ago).await.unwrap(), None);
}

#[test]
fn each_doubt_says_what_is_wrong_and_what_to_do() {
    let latest = at(NOON);
    for doubt in [OwnDoubt::BeforeRelease, OwnDoubt::SetBack { latest }, OwnDoubt::Unsynchronised] {
        let message = doubt.message(at("1970-01-01T00:20:00Z"));
        assert!(message.contains("this machine's clock") && message.contains("time server"), "{message}");
    }
}

#[test]
fn a_skew_is_told_with_its_size_its_side_and_a_remedy() {
    let look = look(at("1970-01-01T00:20:00Z"), 0);
    let clock = PbxClock { measured_at: at(NOON), skew_s: -1_796_000_000, jump: None };
    let told = describe_skew(&look, &clock, Sync::Synchronised);
    assert!(told.starts_with("the PBX's clock (in 1970) is 56 years behind this machine's: set"), "{told}");
    let ahead = PbxClock { skew_s: 600, ..clock };
    assert!(
        describe_skew(&look, &ahead, Sync::Unknown).contains("10 minutes ahead of this machine's (compare")
    );
}
