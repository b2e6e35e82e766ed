//! A service that was off, and clocks that are wrong: what was missed is made up for.

use std::time::Duration;

use jiff::SignedDuration;

use crate::support::following::{Following, Time, hours};
use crate::support::station::{Station, TODAY, noon};

const ARCHIVED: &str = "select count(*) from recordings where state = 'archived'";
const YEAR: SignedDuration = hours(365 * 24);

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_while_it_was_off_is_made_up_for_at_the_start() {
    let mut station = Station::followed(3).await;
    let mut time = Time::of(&station);
    let service = Following::start(&mut station, &time.ours).await;
    service.until_quiet().await;
    service.stop().await;
    time.pass(&station, hours(24));
    station.add_call("while-off.wav", 5);
    let service = Following::start(&mut station, &time.ours).await;
    service.until_number(ARCHIVED, 4).await;
    service.until_quiet().await;
    let now = time.ours.now();
    for job in ["sweep", "deep_sweep", "voicemail"] {
        let (ran, due): (i64, i64) =
            sqlx::query_as("select last_run_at_ms, next_due_at_ms from jobs where job = ? and pbx = 'hq'")
                .bind(job)
                .fetch_one(&station.database().await)
                .await
                .unwrap();
        let ago = now.as_millisecond() - ran;
        assert!((0..60_000).contains(&ago), "{job} ran {ago} ms ago");
        assert!(due > now.as_millisecond(), "{job} is next due in the future");
    }
    service.stop().await;
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_called_while_our_clock_is_a_year_off_is_archived_at_once() {
    for error in [YEAR, -YEAR] {
        let mut station = Station::followed(3).await;
        let mut time = Time::of(&station);
        let service = Following::start(&mut station, &time.ours).await;
        service.until_quiet().await;
        time.set_ours_ahead(error);
        station.add_call("by-a-wrong-clock.wav", 5);
        // A clock that was just set back shows a time before the next sweep.
        for _ in 0..20 {
            station.expect_login();
            time.pass(&station, SignedDuration::from_mins(10));
            let archived = service.until_number(ARCHIVED, 4);
            if tokio::time::timeout(Duration::from_millis(500), archived).await.is_ok() {
                break;
            }
        }
        assert_eq!(service.number(ARCHIVED).await, 4, "by a clock that is off by {error:?}");
        time.set_ours_ahead(SignedDuration::ZERO);
        service.until_quiet().await;
        service.stop().await;
        station.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_by_a_clock_that_is_set_back_does_not_wait_for_it() {
    let mut station = Station::followed(3).await;
    let mut time = Time::of(&station);
    time.set_ours_ahead(YEAR);
    let late = station.add_call("late.wav", 5);
    station.pbx.world(|world| world.delete_audio(&late.recording));
    let service = Following::start(&mut station, &time.ours).await;
    service.until_quiet().await;
    assert_eq!(service.number("select count(*) from recordings where due_at_ms > 0").await, 1);
    station.pbx.world(|world| world.restore_audio(&late.recording));
    time.set_ours_ahead(SignedDuration::ZERO);
    station.expect_login();
    time.pass(&station, hours(25));
    service.until_number(ARCHIVED, 4).await;
    service.until_quiet().await;
    service.stop().await;
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_day_that_the_pbx_only_imagined_are_archived_when_its_clock_is_right_again() {
    let mut station = Station::followed(3).await;
    let mut time = Time::of(&station);
    let service = Following::start(&mut station, &time.ours).await;
    service.until_quiet().await;
    let imagined = noon(TODAY) + YEAR;
    station.pbx.set_clock(imagined);
    let call = |name: &str, minute: u32| {
        let call = station.call(name, minute);
        callvault::simulator::SimCall { start: call.start + YEAR, ..call }
    };
    let (swept, unswept) = (call("swept.wav", 1), call("unswept.wav", 2));
    station.pbx.world(|world| world.add_call(swept));
    station.expect_login();
    time.pass(&station, hours(1));
    service.until_number(ARCHIVED, 4).await;
    service.until_quiet().await;
    // It ends after the last sweep, and before the clock is set right.
    station.pbx.world(|world| world.add_call(unswept));
    station.pbx.set_clock(time.now());
    station.expect_login();
    time.pass(&station, hours(1));
    service.until_quiet().await;
    assert_eq!(service.number(ARCHIVED).await, 5);
    service.stop().await;
    station.check().await;
}
