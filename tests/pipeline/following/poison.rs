//! One bad day or recording beside a service that goes on: what is called today is heard of, and what heals is archived.

use std::time::Duration;

use callvault::simulator::{About, Faults, Poison, PoisonedStage, SimulatorOptions, Wrong};
use jiff::{SignedDuration, ToSpan as _};

use crate::support::following::{Following, Time, hours};
use crate::support::station::{Station, followed};

const ARCHIVED: &str = "select count(*) from recordings where state = 'archived'";
const STUCK: &str = "select count(*) from recordings where state = 'stuck'";
const DAYS_UNREAD: &str = "select count(*) from findings where kind = 'day_unread' and closed_at_ms is null";

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_day_and_a_bad_recording_stop_nothing_and_heal_by_themselves() {
    for how in [Wrong::Redirect, Wrong::Errno(10003), Wrong::Hang, Wrong::Reset] {
        let now = Some("2024-03-15T12:00:00Z".parse().unwrap());
        let mut station = Station::of(SimulatorOptions { days: 4, now, ..followed(12) }).await;
        let limits = &mut station.section().limits;
        (limits.reply_timeout, limits.cdr_timeout) = (Duration::from_millis(400), Duration::from_millis(200));
        (limits.outage_patience, limits.outage_retry_max) = (Duration::ZERO, Duration::from_millis(50));
        station.config.queue.attempts_max = 2;
        station.add_call("bad.wav", 0);
        let of_bad_day = station.days.1 - 2.days();
        let rows = station.pbx.world(|world| world.rows(of_bad_day, of_bad_day));
        let hidden = rows.iter().filter(|row| !row.recording.is_empty()).count() as i64;
        let bad = [About::Recording("bad.wav".to_owned()), About::Day(of_bad_day)];
        let at = PoisonedStage::Download;
        let poison = bad.into_iter().map(|about| Poison { about, how, at }).collect();
        station.set_faults(Faults { poison, ..Faults::default() });
        let mut time = Time::of(&station);
        let service = Following::start(&mut station, &time.ours).await;
        service.until_number(ARCHIVED, 12 - hidden).await;
        service.until_number(DAYS_UNREAD, 1).await;
        // What is called now is heard of by the next sweep.
        station.add_call("today.wav", 9);
        station.expect_login();
        time.pass(&station, hours(1));
        service.until_number(ARCHIVED, 13 - hidden).await;
        service.until_number(STUCK, 1).await;
        assert!(service.glance().in_trouble.is_empty(), "{how:?}: {:?}", service.glance());

        station.set_faults(Faults::default());
        for _ in 0..3 {
            station.expect_login();
            time.pass(&station, SignedDuration::from_hours(9));
            service.until_quiet().await;
        }
        service.until_number(ARCHIVED, 14).await;
        service.until_number(DAYS_UNREAD, 0).await;
        service.stop().await;
        station.check().await;
    }
}
