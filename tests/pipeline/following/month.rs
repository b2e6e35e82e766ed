//! A month of calls round the clock, with all that befalls a PBX and a service in a year.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use callvault::base::digest::Digest;
use callvault::base::schedule::CronLine;
use callvault::simulator::{Outage, SimAudio, SimCall, SimulatorOptions};
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use sqlx::Row as _;

use crate::support::following::{Following, Time, hours};
use crate::support::station::{Station, followed};

/// How much time passes between two looks.
const STEP: SignedDuration = hours(7);
/// Steps in a month, and some to spare.
const STEPS: usize = 31 * 24 / 7 + 1;
/// What happens lasts at most so many steps.
const EVENT_STEPS: usize = 7;
const YEAR: SignedDuration = hours(365 * 24);

/// What befalls us.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// The PBX is not there for so many steps.
    Outage(Outage, usize),
    /// Our clock is wrong for so many steps.
    OursAhead(SignedDuration, usize),
    /// The PBX's clock is wrong for so many steps.
    TheirsAhead(SignedDuration, usize),
    /// The service is stopped in good order and started again.
    Restart,
    /// It ends at once and is started again.
    Kill,
    /// A row appears days after its call.
    LateRow,
}

const EVENTS: [Event; 13] = [
    Event::OursAhead(hours(1), 2),
    Event::Kill,
    Event::Outage(Outage::Reset, 1),
    Event::LateRow,
    Event::OursAhead(YEAR, 3),
    Event::TheirsAhead(hours(-1), 2),
    Event::Restart,
    Event::Outage(Outage::Refused, 7),
    Event::LateRow,
    Event::OursAhead(hours(-1), 2),
    Event::Kill,
    Event::OursAhead(hours(-365 * 24), 3),
    Event::TheirsAhead(hours(1), 2),
];

/// A month under way.
struct Month {
    station: Station,
    time: Time,
    service: Option<Following>,
    late_rows: u64,
}

impl Month {
    /// The month that begins with `first`, its calls and fates drawn from `seed`.
    async fn begin(first: Date, recordings: u64, seed: u64) -> Self {
        let last = first.checked_add(30.days()).unwrap();
        let mut station = Station::of(SimulatorOptions {
            seed,
            live: true,
            round_the_clock: true,
            days: 31,
            today: Some(last),
            now: Some(midnight(first)),
            recordings,
            ..followed(recordings)
        })
        .await;
        let limits = &mut station.section().limits;
        (limits.outage_patience, limits.outage_retry_max) = (Duration::ZERO, Duration::from_millis(50));
        // Weekly, for each reads half a year.
        station.config.schedule.deep_sweep = CronLine::parse("30 1 * * Mon", TimeZone::UTC).unwrap();
        let time = Time::of(&station);
        let service = Some(Following::start(&mut station, &time.ours).await);
        Self { station, time, service, late_rows: 0 }
    }

    fn service(&self) -> &Following {
        self.service.as_ref().expect("one is always running")
    }

    /// Lets some hours pass, and waits until all that is due then is done.
    async fn step(&mut self) {
        self.pass(STEP);
        self.service().until_quiet().await;
    }

    fn pass(&mut self, by: SignedDuration) {
        // No token lives that long.
        self.station.expect_login();
        self.time.pass(&self.station, by);
    }

    async fn befall(&mut self, event: Event) {
        match event {
            Event::Outage(outage, steps) => {
                self.station.pbx.set_outage(outage).await.unwrap();
                for _ in 0..steps {
                    self.pass(STEP);
                    self.service().until_in_trouble(true).await;
                }
                self.station.pbx.set_outage(Outage::None).await.unwrap();
                self.service().until_quiet().await;
            }
            Event::OursAhead(error, steps) => {
                self.set_ours_ahead(error).await;
                self.steps(steps).await;
                self.set_ours_ahead(SignedDuration::ZERO).await;
            }
            Event::TheirsAhead(error, steps) => {
                self.station.pbx.set_clock(self.time.now() + error);
                self.steps(steps).await;
                self.station.pbx.set_clock(self.time.now());
            }
            Event::Restart => {
                self.service.take().expect("one is always running").stop().await;
                self.service = Some(Following::start(&mut self.station, &self.time.ours).await);
            }
            Event::Kill => {
                // In the midst of what this step brings.
                self.pass(STEP);
                self.service.take().expect("one is always running").kill().await;
                self.service = Some(Following::start(&mut self.station, &self.time.ours).await);
                self.service().until_quiet().await;
            }
            Event::LateRow => {
                self.late_rows += 1;
                let (number, start) = (self.late_rows, self.time.now() - hours(80));
                let audio = SimAudio::pcm(4000, number);
                let late = SimCall::recorded(start, 900_000 + number, format!("late-{number}.wav"), audio);
                self.station.pbx.world(|world| world.add_call(late));
            }
        }
    }

    /// Sets our clock, and lets time pass until it is swept by that: set back, it shows a time before the next sweep.
    async fn set_ours_ahead(&mut self, error: SignedDuration) {
        self.time.set_ours_ahead(error);
        for _ in 0..20 {
            self.pass(SignedDuration::from_mins(10));
            let quiet = tokio::time::timeout(Duration::from_millis(500), self.service().until_quiet());
            if quiet.await.is_ok() {
                return;
            }
        }
        self.service().until_quiet().await;
    }

    async fn steps(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step().await;
        }
    }

    /// Lets days pass without calls until all have settled, then asserts every promise.
    async fn end(mut self, recordings: u64) {
        self.steps(8 * 24 / 7 + 1).await;
        let open = "select count(*) from days where state <> 'settled' and day in (select day from calls)";
        assert_eq!(self.service().number(open).await, 0, "days with calls stay open");
        self.service.take().expect("one is always running").stop().await;
        assert_eq!(archived(&self.station).await, listed(&self.station));
        assert_eq!(listed(&self.station).len() as u64, recordings + self.late_rows);
        self.station.expect_call_lists();
        self.station.check().await;
    }
}

/// Every recording that the PBX ever listed.
fn listed(station: &Station) -> BTreeMap<Vec<u8>, Digest> {
    let listed = station.pbx.ever_listed().into_iter();
    listed.map(|listed| (listed.name, listed.sha256.expect("nothing is overwritten"))).collect()
}

/// What the catalog holds, once each.
async fn archived(station: &Station) -> BTreeMap<Vec<u8>, Digest> {
    let rows = "select name, sha256 from archived_files join recordings on recordings.id = recording_id";
    let rows = sqlx::query(rows).fetch_all(&station.database().await).await.unwrap();
    let names: BTreeSet<&[u8]> = rows.iter().map(|row| row.get("name")).collect();
    assert_eq!(names.len(), rows.len(), "a recording is archived twice");
    let of = |row: &sqlx::sqlite::SqliteRow| {
        (row.get::<Vec<u8>, _>("name"), Digest::try_from(row.get::<&[u8], _>("sha256")).unwrap())
    };
    rows.iter().map(of).collect()
}

fn midnight(day: Date) -> Timestamp {
    day.in_tz("Europe/Berlin").unwrap().timestamp()
}

/// The events in an order of the seed's.
fn fates(seed: u64) -> Vec<Event> {
    let mut events = EVENTS.to_vec();
    let mut draw = seed;
    for at in (1..events.len()).rev() {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        events.swap(at, (draw >> 33) as usize % (at + 1));
    }
    events
}

async fn live_through(first: Date, recordings: u64, seed: u64) {
    let events = fates(seed);
    println!("seed {seed}: {events:?}");
    let mut month = Month::begin(first, recordings, seed).await;
    month.service().until_quiet().await;
    let end = month.time.now() + STEP * i32::try_from(STEPS).unwrap();
    for event in events {
        month.steps((STEPS / EVENTS.len()).saturating_sub(EVENT_STEPS / 2)).await;
        month.befall(event).await;
    }
    while month.time.now() < end {
        month.step().await;
    }
    month.end(recordings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_in_which_the_clocks_go_back_is_archived_once_and_whole() {
    live_through(date(2024, 10, 5), 160, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_in_which_the_clocks_go_forward_is_archived_once_and_whole() {
    live_through(date(2024, 3, 5), 160, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_such_months_are() {
    if std::env::var_os("CALLVAULT_FULL").is_none() {
        return;
    }
    for seed in 3..9 {
        let first = if seed % 2 == 0 { date(2024, 3, 5) } else { date(2024, 10, 5) };
        live_through(first, 2000, seed).await;
    }
}
