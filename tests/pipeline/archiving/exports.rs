//! Call lists as people and programs leave them: re-headed, shifted, through a spreadsheet, in other dialects.

use callvault::base::counts::Counts;
use callvault::config::ExclusionRule;
use callvault::simulator::{Profile, SimulatorOptions};

use crate::support::station::{NONE, Station, counts, small};

type Table = Vec<Vec<Vec<u8>>>;

/// A PBX whose API lists no calls.
async fn old_pbx(recordings: u64) -> Station {
    Station::of(SimulatorOptions { profile: Profile::V1_0, ..small(recordings) }).await
}

fn head(table: &mut Table, at: usize, heading: &str) {
    table[0][at] = heading.as_bytes().to_vec();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_a_column_of_recordings_names_is_refused_until_it_is_mapped() {
    let mut station = old_pbx(4).await;
    let file = station.export("cdr.csv", |table| head(table, 11, "recordfile"));
    station.cdr_is_whole = false;
    let report = station.backfill_files(std::slice::from_ref(&file)).await;
    assert_eq!(report.exit_code(false), 2, "{report:?}");
    let message = report.trouble.unwrap().message;
    assert!(message.contains(r#"cdr_columns = { recording = "recordfile" }"#), "{message}");
    station.check().await;
    station.section().cdr_columns.insert("recording".into(), "recordfile".into());
    station.cdr_is_whole = true;
    assert_eq!(counts(&station.backfill_files(&[file]).await), Counts { archived: 4, ..NONE });
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_another_dialect_is_the_same_list() {
    let mut station = old_pbx(5).await;
    let plain = String::from_utf8(std::fs::read(station.export("plain.csv", |_| {})).unwrap()).unwrap();
    let wide: Vec<u8> = format!("\u{feff}{plain}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let files = [
        station.write("semicolons.csv", plain.replace(',', ";").as_bytes()),
        station.write("tabs.csv", format!("sep=\t\r\n{}", plain.replace(',', "\t")).as_bytes()),
        station.write("titled.csv", format!("Call Detail Record\nall calls\n\n{plain}").as_bytes()),
        station.write("wide.csv", &wide),
        station.write("ended.csv", format!("{plain}\x1a").as_bytes()),
        station.write("longer.csv", plain.replace('\n', ",\n").as_bytes()),
    ];
    let mut calls = None;
    for (at, file) in files.into_iter().enumerate() {
        let report = station.backfill_files(&[file]).await;
        let wanted =
            if at == 0 { Counts { archived: 5, ..NONE } } else { Counts { already_archived: 5, ..NONE } };
        assert_eq!((counts(&report), report.pbx["hq"].sweep.bad_rows), (wanted, 0), "{report:?}");
        let now: i64 = station.value("select count(*) from calls").await;
        assert_eq!(*calls.get_or_insert(now), now, "the rows are the same");
    }
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comma_in_a_name_costs_no_recording_and_is_told() {
    let mut station = old_pbx(5).await;
    station.export("good.csv", |_| {});
    let file = station.export("cdr.csv", |table| {
        let row = table.iter_mut().skip(1).find(|row| !row[11].is_empty()).unwrap();
        row[10] = b"pin4711secret".to_vec();
        row.splice(2..3, [b"Doe".to_vec(), b" John <5550142>".to_vec()]);
    });
    station.cdr_is_whole = false;
    let report = station.backfill_files(&[file]).await;
    assert_eq!((report.total.archived, report.pbx["hq"].sweep.bad_rows), (5, 1), "{report:?}");
    let findings = station.findings("bad_row").await;
    assert!(findings[0].0.starts_with("cdr.csv line ") && !findings[0].1.contains("4711"), "{findings:?}");
    let kept: i64 = station.value("select count(*) from calls where instr(row, '4711')").await;
    assert_eq!(kept, 0, "no PIN code is kept");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_code_is_never_kept_however_its_column_is_headed() {
    for heading in ["Code PIN", "Código PIN", "PIN码", "ПИН-код", "暗証番号", "Staff"] {
        let mut station = old_pbx(2).await;
        let file = station.export("cdr.csv", |table| {
            head(table, 10, heading);
            table.iter_mut().skip(1).for_each(|row| row[10] = b"pin4711secret".to_vec());
        });
        assert_eq!(station.backfill_files(&[file]).await.total.archived, 2, "{heading}");
        let kept: i64 = station.value("select count(*) from calls where instr(row, '4711')").await;
        assert_eq!(kept, 0, "{heading}");
    }
}

/// `2024-03-01 12:05:02` as a spreadsheet writes it in the United States.
fn rewritten(start: &[u8]) -> Vec<u8> {
    let start = std::str::from_utf8(start).unwrap();
    let number = |range: std::ops::Range<usize>| start[range].parse::<u32>().unwrap();
    format!("{}/{}/{} {}:{}", number(5..7), number(8..10), &start[..4], number(11..13), &start[14..16])
        .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_through_a_spreadsheet_is_queued_under_its_day_and_doubles_nothing() {
    let mut station = Station::new(6).await;
    let file = station.export("excel.csv", |table| {
        for row in table.iter_mut().skip(1) {
            row[0] = b"1.71E+09".to_vec();
            row[1] = rewritten(&row[1]);
            row[13] = b"3.69E+11".to_vec();
        }
    });
    station.cdr_is_whole = false;
    let report = station.backfill_files(&[file]).await;
    assert_eq!((report.total.archived, report.pbx["hq"].sweep.files_unread), (6, 1), "{report:?}");
    assert!(station.findings("serial_number_changed").await.is_empty());
    let findings = station.findings("bad_file").await;
    assert!(findings[0].1.contains("spreadsheet"), "{findings:?}");
    let days: i64 = station.value("select count(*) from recordings where day < '2024'").await;
    assert_eq!(days, 0, "none is filed under 1970");
    let downloads = station.pbx.counters().downloads_started;
    station.cdr_is_whole = true;
    assert_eq!(counts(&station.backfill().await), Counts { already_archived: 6, ..NONE });
    assert_eq!(station.pbx.counters().downloads_started, downloads, "nothing is fetched twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_meets_an_unreadable_field_holds_the_recording_until_it_can_be_read() {
    let mut station = old_pbx(0).await;
    for minute in 0..3 {
        station.add_call(&format!("{minute}.wav"), minute);
    }
    let short =
        ExclusionRule { name: "short".into(), shorter_than_s: Some(9000), ..ExclusionRule::default() };
    station.config.exclude = vec![short];
    let talk = |text: &'static str| {
        move |table: &mut Table| table.iter_mut().skip(1).for_each(|row| row[5] = text.into())
    };
    let unreadable = station.export("a.csv", talk("a while"));
    let report = station.backfill_files(std::slice::from_ref(&unreadable)).await;
    assert_eq!(
        (report.total.archived, report.total.pending, report.exit_code(false)),
        (0, 3, 3),
        "{report:?}"
    );
    assert_eq!(report.pbx["hq"].reasons[0].reason, "doubtful_row");
    assert_eq!(station.findings("doubtful_row").await.len(), 3);
    assert_eq!(station.retry().await.total.archived, 0, "nobody asks for it");
    assert_eq!(station.pbx.counters().downloads_started, 0);
    let readable = station.export("b.csv", talk("2:40:00"));
    let report = station.backfill_files(&[readable]).await;
    assert_eq!((report.total.archived, report.total.pending), (3, 0), "{report:?}");
    let open = "select count(*) from findings where kind = 'doubtful_row' and closed_at_ms is null";
    assert_eq!(station.value::<i64>(open).await, 0);
    station.check().await;
}
