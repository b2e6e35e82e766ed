//! Lists that have not changed are not read again, and nothing that may be news is missed by that.

use std::fs::{self, File};
use std::path::Path;

use callvault::config::ExclusionRule;
use callvault::pipeline::sweep::SweepReport;
use jiff::tz::TimeZone;

use super::reconciling::tamper;
use crate::support::station::{PBX, Station};

/// The sweep of one backfill.
async fn swept(station: &mut Station) -> SweepReport {
    station.backfill().await.pbx[PBX].sweep
}

/// A station whose lists were read as often as it takes to know them again, and how many rows they have.
async fn known() -> (Station, u64) {
    let mut station = Station::new(30).await;
    swept(&mut station).await;
    let rows = swept(&mut station).await.rows;
    estrange(&station).await;
    (station, rows)
}

/// Has each call known by another version than its row tells: each row that is read is news.
async fn estrange(station: &Station) {
    tamper(station, "update calls set version = zeroblob(32)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_the_same_bytes_is_not_read_again() {
    let (mut station, rows) = known().await;
    for _ in 0..2 {
        let again = swept(&mut station).await;
        assert_eq!((again.days_read, again.rows, again.rows_new), (3, rows, 0));
    }
    assert_eq!(station.value::<i64>("select min(readings) from days").await, 4, "it counts as a reading");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_list_with_one_row_more_all_is_read_and_of_the_others_nothing() {
    let (mut station, rows) = known().await;
    let last = station.days.1.to_string();
    let of_day: i64 =
        station.value("select count(*) from calls where day = (select max(day) from calls)").await;
    assert!(of_day > 0, "{last}");
    station.add_call("later.wav", 3);
    let again = swept(&mut station).await;
    assert_eq!((again.rows, again.rows_new), (rows + 1, of_day.unsigned_abs() + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_otherwise_than_before_is_read_again() {
    type Change = fn(&mut Station);
    let changes: [(&str, Change); 4] = [
        ("rules", |station| {
            let rule =
                ExclusionRule { name: "none".into(), did: vec!["1".into()], ..ExclusionRule::default() };
            station.config.exclude = vec![rule];
        }),
        ("kept columns", |station| station.section().cdr_keep_columns = vec!["agentringtime".into()]),
        ("named columns", |station| {
            station.section().cdr_columns.insert("didnumber".into(), "didnumber".into());
        }),
        ("zone", |station| station.section().timezone = Some(TimeZone::UTC)),
    ];
    for (what, change) in changes {
        let (mut station, rows) = known().await;
        change(&mut station);
        assert_eq!(swept(&mut station).await.rows_new, rows, "{what}");
        estrange(&station).await;
        assert_eq!(swept(&mut station).await.rows_new, 0, "{what}");
    }
}

/// A PBX that seems to cut its lists, a line in doubt, a call that the list lacks: nothing of them is seen without reading.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_leaves_anything_open_is_read_again() {
    let open = [
        "insert into list_limits (pbx, unit, proven, suspected, changed_at_ms)
         values ('hq', 'rows', 1, 1000, 0), ('hq', 'bytes', 1, 1000000, 0)
         on conflict do update set suspected = excluded.suspected",
        "insert into doubts (pbx, day_from, day_to, input, line_sha256, cause, first_seen_at_ms, last_seen_at_ms, list_lines, list_late)
         values ('hq', '2024-03-13', '2024-03-13', 'x', zeroblob(32), 'not_csv', 0, 0, 1, 0)",
        "insert into calls (pbx, identity, version, day, utc_offset_s, offset_source, answered, row, first_seen_at_ms)
         select pbx, randomblob(32), zeroblob(32), day, 0, 'zone', 0, '{}', 0 from days",
    ];
    for open in open {
        let (mut station, rows) = known().await;
        tamper(&station, open).await;
        assert_eq!(swept(&mut station).await.rows_new, rows, "{open}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_list_lacks_are_told_though_its_bytes_are_the_same() {
    let mut station = Station::new(30).await;
    swept(&mut station).await;
    swept(&mut station).await;
    let file = station.export("more.csv", |table| {
        let mut other = table[1].clone();
        other[2] = b"999".to_vec();
        table.push(other);
    });
    station.backfill_files(&[file]).await;
    assert!(station.open_findings("cdr_shrank").await.is_empty());
    for _ in 0..2 {
        swept(&mut station).await;
        assert_eq!(station.open_findings("cdr_shrank").await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_again_only_if_it_holds_other_bytes() {
    let mut station = Station::new(30).await;
    let file = station.export("calls.csv", |_| {});
    let read = async |station: &mut Station| {
        station.backfill_files(std::slice::from_ref(&file)).await.pbx[PBX].sweep
    };
    let rows = read(&mut station).await.rows;
    read(&mut station).await;
    estrange(&station).await;
    let again = read(&mut station).await;
    assert_eq!((again.rows, again.rows_new), (rows, 0));
    change_quietly(&file);
    assert_eq!(read(&mut station).await.rows_new, rows);
}

/// Changes a letter of a file and nothing that a listing of the folder shows.
fn change_quietly(file: &Path) {
    let written_at = fs::metadata(file).unwrap().modified().unwrap();
    let text = fs::read_to_string(file).unwrap();
    let changed = text.replacen("ANSWERED", "ANSWEREd", 1);
    assert_ne!(changed, text);
    fs::write(file, changed).unwrap();
    File::options().write(true).open(file).unwrap().set_modified(written_at).unwrap();
}
