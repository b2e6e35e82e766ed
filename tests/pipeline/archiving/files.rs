//! CDR out of files: for PBXs whose API has none, and for exports of every kind.

use callvault::base::counts::Counts;
use callvault::pipeline::backfill::Request;
use callvault::simulator::{Profile, SimulatorOptions};
use tokio_util::sync::CancellationToken;

use super::cdr::SETTLED;
use crate::support::station::{NONE, Station, counts, small};

/// A PBX whose API lists no calls.
async fn old_pbx(recordings: u64) -> Station {
    Station::of(SimulatorOptions { profile: Profile::V1_0, ..small(recordings) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_without_cdr_is_archived_from_a_file() {
    let mut station = old_pbx(12).await;
    let file = station.export("cdr.csv", |_| {});
    let report = station.backfill_files(std::slice::from_ref(&file)).await;
    assert_eq!(counts(&report), Counts { archived: 12, ..NONE }, "{report:?}");
    station.check().await;
    assert_eq!(counts(&station.backfill_files(&[file]).await), Counts { already_archived: 12, ..NONE });
    station.check().await;
}

/// It proves nothing that it did not prove the first time; but what was missed then is taken from it.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_given_again_is_read_again_and_counts_once() {
    let mut station = old_pbx(3).await;
    let file = station.export("cdr.csv", |_| {});
    for readings in 1..=3 {
        station.backfill_files(std::slice::from_ref(&file)).await;
        assert_eq!(station.value::<i64>("select count(*) from readings").await, readings);
        assert_eq!(station.value::<i64>("select count(*) from readings where whole = 1").await, 1);
    }
    assert_eq!(station.value::<i64>(SETTLED).await, 0);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_such_a_pbx_is_refused_with_the_way_out() {
    let mut station = old_pbx(1).await;
    let error = station.run(station.request(), CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("--cdr"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_csv_files_of_a_folder_are_read_by_every_backfill() {
    let mut station = old_pbx(8).await;
    station.section().cdr_folder = Some(station.input());
    station.export("first.CSV", |table| table.truncate(5));
    station.write("notes.txt", b"no CDR");
    station.cdr_is_whole = false;
    let first = station.backfill().await;
    assert!((1..8).contains(&first.total.archived), "{first:?}");
    station.check().await;
    station.export("second.csv", |_| {});
    station.cdr_is_whole = true;
    let second = station.backfill().await;
    assert_eq!(first.total.archived + second.total.archived, 8);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headings_are_mapped_and_columns_that_nobody_knows_are_kept_if_they_are_named() {
    let mut station = old_pbx(8).await;
    let columns = &mut station.section().cdr_columns;
    columns.insert("recording".into(), "Recording File".into());
    columns.insert("timestart".into(), "Time".into());
    let file = station.export("web.csv", |table| {
        table[0][11] = b"Recording File".to_vec();
        table[0][1] = b"Time".to_vec();
        for (at, row) in table.iter_mut().enumerate() {
            row.insert(0, if at == 0 { b"Comment".to_vec() } else { b"by hand".to_vec() });
        }
    });
    let report = station.backfill_files(&[file]).await;
    assert_eq!(counts(&report), Counts { archived: 8, ..NONE }, "{report:?}");
    assert_eq!(report.pbx["hq"].sweep.bad_rows, 0);
    let kept = "select count(*) from calls where instr(row, 'by hand')";
    assert_eq!(station.value::<i64>(kept).await, 0);
    station.check().await;
    let mut station = old_pbx(1).await;
    station.section().cdr_keep_columns.push("comment".into());
    let file = station.export("web.csv", |table| {
        for (at, row) in table.iter_mut().enumerate() {
            row.insert(0, if at == 0 { b"Comment".to_vec() } else { b"by hand".to_vec() });
        }
    });
    station.backfill_files(&[file]).await;
    assert!(station.value::<i64>(kept).await > 0);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_serial_numbers_names_the_same_recordings() {
    let mut station = old_pbx(8).await;
    let bare = station.export("bare.csv", |table| table.iter_mut().for_each(|row| drop(row.pop())));
    assert_eq!(counts(&station.backfill_files(&[bare]).await), Counts { archived: 8, ..NONE });
    let whole = station.export("whole.csv", |_| {});
    assert_eq!(counts(&station.backfill_files(&[whole]).await), Counts { already_archived: 8, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_and_other_line_ends_in_a_file_change_nothing() {
    let mut station = old_pbx(8).await;
    let plain = std::fs::read(station.export("plain.csv", |_| {})).unwrap();
    let text = String::from_utf8(plain).unwrap().replace('\n', "\r\n");
    let file = station.write("windows.csv", format!("\u{feff}{text}").as_bytes());
    assert_eq!(counts(&station.backfill_files(&[file]).await), Counts { archived: 8, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_row_in_a_file_is_a_finding_with_file_and_line() {
    let mut station = old_pbx(8).await;
    let file = station.export("cdr.csv", |table| table.insert(3, vec![b"only".to_vec(), b"two".to_vec()]));
    let report = station.backfill_files(&[file]).await;
    assert_eq!((report.total.archived, report.pbx["hq"].sweep.bad_rows), (8, 1));
    assert_eq!(station.findings("bad_row").await[0].0, "cdr.csv line 4");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_file_full_of_broken_rows_a_thousand_are_told_and_all_are_counted() {
    let mut station = old_pbx(2).await;
    let broken = |table: &mut Vec<Vec<Vec<u8>>>| {
        table.splice(1..1, std::iter::repeat_n(vec![b"only".to_vec(), b"two".to_vec()], 1002));
    };
    let file = station.export("cdr.csv", broken);
    let report = station.backfill_files(&[file]).await;
    assert_eq!((report.total.archived, report.pbx["hq"].sweep.bad_rows), (2, 1002));
    let findings = station.findings("bad_row").await;
    assert_eq!(findings.len(), 1000);
    assert!(findings.iter().any(|(subject, _)| subject == "cdr.csv line 1001"), "the first thousand");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_cdr_is_told_in_one_sentence_and_exit_code_2() {
    let mut station = old_pbx(2).await;
    station.cdr_is_whole = false;
    let garbage: Vec<u8> = (0..200_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let bad = [
        station.write("garbage.csv", &garbage),
        station.write("empty.csv", b""),
        station.write("prose.csv", b"dear PBX,\nplease send the calls\n"),
    ];
    for file in bad {
        let report = station.backfill_files(std::slice::from_ref(&file)).await;
        assert_eq!(report.exit_code(false), 2, "{}: {report:?}", file.display());
        let message = report.trouble.unwrap().message;
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(message.contains(name), "{message}");
        station.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_no_file_is_refused_before_anything_is_asked() {
    let mut station = old_pbx(2).await;
    let folder = "is a folder: give the files in it, or set `cdr_folder` in the [[pbx]] section";
    for (path, problem) in [
        (station.input(), folder),
        (station.input().join("nowhere.csv"), "does not exist: correct the path"),
        ("/dev/null".into(), "is a pipe or a device: save the list to a file first"),
    ] {
        let request = Request { cdr: vec![path.clone()], ..Request::default() };
        let error = station.run(request, CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("--cdr {} {problem}", path.display()));
    }
    assert_eq!(station.pbx.counters().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_may_name_what_the_api_lists_too() {
    let mut station = Station::new(6).await;
    let file = station.export("cdr.csv", |_| {});
    assert_eq!(station.backfill_files(&[file]).await.total.archived, 6);
    let calls: i64 = station.value("select count(*) from calls").await;
    assert_eq!(counts(&station.backfill().await), Counts { already_archived: 6, ..NONE });
    assert_eq!(station.value::<i64>("select count(*) from calls").await, calls, "the rows are the same");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_for_nobody_in_particular_is_refused() {
    let mut station = Station::new(1).await;
    let mut other = station.config.pbx[0].clone();
    other.id = "branch".into();
    station.config.pbx.push(other);
    let request = Request { cdr: vec![station.export("cdr.csv", |_| {})], ..Request::default() };
    let error = station.run(request, CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("--pbx"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_in_the_cdr_folder_is_told_and_keeps_no_good_file_from_being_read() {
    let mut station = old_pbx(8).await;
    station.section().cdr_folder = Some(station.input());
    station.write("a-empty.csv", b"");
    station.write("b-binary.csv", &[0, 0xff, 0x80, b'\n'].repeat(5000));
    station.export("c-good.csv", |_| {});
    for already in [0, 8] {
        let report = station.backfill().await;
        assert_eq!(
            counts(&report),
            Counts { archived: 8 - already, already_archived: already, ..NONE },
            "{report:?}"
        );
        assert_eq!((report.exit_code(false), report.pbx["hq"].sweep.files_unread), (2, 2), "{report:?}");
        let findings = station.findings("bad_file").await;
        let names: Vec<_> = findings.iter().filter_map(|(file, _)| file.rsplit('/').next()).collect();
        assert_eq!(names, ["a-empty.csv", "b-binary.csv"]);
        station.check().await;
    }
    // One is removed, the other is still no CDR.
    std::fs::remove_file(station.input().join("a-empty.csv")).unwrap();
    station.backfill().await;
    assert_eq!(station.value::<i64>("select count(*) from findings where closed_at_ms is null").await, 1);
}
