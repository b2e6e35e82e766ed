//! What must be true of a case.

use std::collections::BTreeMap;
use std::time::Duration;

use callvault::base::clock::Clock;
use callvault::pipeline::backfill::BackfillReport;
use callvault::proof::reconcile;
use callvault::store::evidence;
use callvault::store::queue::DayRange;
use jiff::SignedDuration;
use jiff::civil::Date;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::case::Case;
use crate::support::station::{PBX, Station};

/// Runs until which all must be well, a day apart, once nothing is wrong any more.
const HEALS_IN: i32 = 4;
/// How far they are apart.
const HEALS_EVERY: Duration = Duration::from_secs(25 * 3600);

/// Lets a case happen, and then all be well.
pub(crate) fn play(runtime: &Runtime, case: &Case) {
    runtime.block_on(async {
        let mut station = case.station().await;
        let faults = case.faults(&station);
        station.set_faults(faults);
        station.cdr_is_whole = case.is_clean();
        // A day gets its certificate when a second reading brings nothing new.
        for _ in 0..2 {
            let report = station.backfill().await;
            judge(&station, &report).await;
            assert!(!case.is_clean() || report.exit_code(false) == 0, "{report:?}");
        }
        station.check().await;
        station.set_faults(callvault::simulator::Faults::default());
        station.cdr_is_whole = true;
        let mut last = None;
        for days in 1..=HEALS_IN {
            let report = run_tomorrow(&mut station, days).await;
            judge(&station, &report).await;
            let is_over = last.is_some_and(|code| code == 0) && report.exit_code(false) == 0;
            last = Some(report.exit_code(false));
            if is_over {
                break;
            }
        }
        assert_eq!(last, Some(0), "it does not heal by itself: {:?}", standing(&station).await);
        for (day, complete) in certified(&station).await {
            assert!(complete, "the certificate of {day} still says that it is not complete");
        }
        station.check().await;
    });
}

/// A backfill on the next day, which is so many days later.
async fn run_tomorrow(station: &mut Station, days: i32) -> BackfillReport {
    station.leap(HEALS_EVERY);
    let later =
        Clock::showing(callvault::base::clock::now() + SignedDuration::try_from(HEALS_EVERY).unwrap() * days);
    let request = station.request();
    station.run_by(later, request, CancellationToken::new(), async |_| {}).await.unwrap()
}

/// Whatever is not accounted for, nobody says that it is.
async fn judge(station: &Station, report: &BackfillReport) {
    let lacking = lacking(station).await;
    let certified = certified(station).await;
    for (day, names) in &lacking {
        let account = account(station, *day).await;
        assert!(!account.complete, "reconcile says that {day} is complete without {names:?}");
        assert_ne!(certified.get(day), Some(&true), "the certificate of {day} is complete without {names:?}");
    }
    let unknown = lacking.values().flatten().any(|lack| lack.state.is_none());
    let told = standing(station).await.not_whole() > 0;
    assert!(lacking.is_empty() || report.exit_code(false) != 0, "exit code 0 without {lacking:?}");
    assert!(!unknown || report.exit_code(false) == 4 && told, "nobody tells of {lacking:?}: {report:?}");
}

/// A recording that is not in the archive.
#[derive(Debug)]
struct Lack {
    #[expect(dead_code, reason = "for whoever reads why a case fails")]
    name: String,
    /// As what it is known.
    state: Option<String>,
}

/// What the PBX has of each day that is not archived.
async fn lacking(station: &Station) -> BTreeMap<Date, Vec<Lack>> {
    let db = station.database().await;
    let rows: Vec<(Vec<u8>, String)> =
        sqlx::query_as("select name, state from recordings").fetch_all(&db).await.unwrap();
    db.close().await;
    let known: BTreeMap<Vec<u8>, String> = rows.into_iter().collect();
    let (first, last) = station.days;
    let mut lacking: BTreeMap<Date, Vec<Lack>> = BTreeMap::new();
    for row in station.pbx.world(|world| world.rows(first, last)) {
        let state = known.get(&row.recording).cloned();
        if row.recording.is_empty() || state.as_deref() == Some("archived") {
            continue;
        }
        let name = String::from_utf8_lossy(&row.recording).into_owned();
        let day = row.start.in_tz("Europe/Berlin").unwrap().date();
        lacking.entry(day).or_default().push(Lack { name, state });
    }
    lacking
}

async fn account(station: &Station, day: Date) -> reconcile::DayAccount {
    let db = station.database().await;
    reconcile::account(&mut db.acquire().await.unwrap(), PBX, day, 100).await.unwrap()
}

async fn standing(station: &Station) -> evidence::Verdicts {
    let db = station.database().await;
    let (from, to) = station.days;
    evidence::standing(&mut db.acquire().await.unwrap(), PBX, DayRange { from, to }).await.unwrap()
}

/// What the latest certificate of each day says: whether it is complete.
async fn certified(station: &Station) -> BTreeMap<Date, bool> {
    let db = station.database().await;
    let rows: Vec<(String, bool)> =
        sqlx::query_as("select day, complete from certificates where pbx = ? order by day, revision")
            .bind(PBX)
            .fetch_all(&db)
            .await
            .unwrap();
    rows.into_iter().map(|(day, complete)| (day.parse().unwrap(), complete)).collect()
}
