//! The watchdog hears of proven progress only.

use std::time::{Duration, Instant};

use crate::support::program::{Folder, Pbx, eventually};
use crate::support::supervisor::{Service, Supervision};

fn watched(folder: &Folder, watchdog: Duration) -> Service {
    Service::start(folder, &Supervision { watchdog: Some(watchdog), ..Supervision::default() }).until_ready()
}

fn feedings(service: &Service) -> Vec<Instant> {
    let reports = service.reports();
    reports.iter().filter(|report| report.get("WATCHDOG") == Some("1")).map(|report| report.at).collect()
}

#[test]
fn it_is_fed_in_time_also_while_a_pbx_is_down_and_another_has_nothing_to_do() {
    let idle = Pbx::with(0);
    let folder = Folder::for_pbx(&idle.url());
    folder.add_pbx("branch", &Pbx::with(1).stop(), "");
    let limit = Duration::from_secs(2);
    let service = watched(&folder, limit);
    eventually("it is fed four times", || feedings(&service).len() >= 4);
    let longest = feedings(&service).windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(longest.is_some_and(|longest| longest < limit), "{longest:?}");
    service.stop().0.exits(0);
}

#[test]
fn without_one_nobody_is_told() {
    let folder = Folder::for_pbx(&Pbx::with(0).url());
    let (said, reports) = Service::ready(&folder).stop();
    said.exits(0);
    assert!(reports.iter().all(|report| report.get("WATCHDOG").is_none()), "{reports:?}");
}

#[test]
fn it_starves_while_the_database_cannot_commit() {
    let pbx = Pbx::with(2);
    let folder = Folder::for_pbx(&pbx.url());
    let limit = Duration::from_secs(1);
    let mut service = watched(&folder, limit);
    eventually("it is fed", || service.last_fed().is_some());

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let holder = runtime.block_on(hold_the_database(&folder));
    let since = Instant::now();
    // Ending with an error is as good: the supervisor starts it again.
    eventually("nothing is heard for as long as the supervisor waits", || {
        let last = service.last_fed().map_or(since, |fed| fed.max(since));
        last.elapsed() > limit || service.has_ended()
    });
    runtime.block_on(async { sqlx::Connection::close(holder).await.unwrap() });
}

/// Another program that writes the database and does not come to an end.
async fn hold_the_database(folder: &Folder) -> sqlx::SqliteConnection {
    use sqlx::ConnectOptions as _;
    let file = folder.path("state").join("callvault.db");
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(30));
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql("begin immediate").execute(&mut connection).await.unwrap();
    connection
}
