//! Rows whose values stand in other columns than their own, and rows with more or fewer fields than the header.

use super::*;

const NAME: &str = "20240301120515-1709287502.118-5550142-1003-Inbound.wav";

fn cells() -> Vec<&'static str> {
    CALL.split(',').collect()
}

/// The call with something put in before field `at`, and a field less from `lost` on.
fn shifted(at: usize, put: &str, lost: usize) -> String {
    let mut cells: Vec<String> = cells().into_iter().map(str::to_owned).collect();
    cells.remove(lost);
    cells.insert(at, put.to_owned());
    cells.join(",")
}

#[test]
fn what_is_too_much_and_empty_is_nothing_and_what_may_be_left_out_is_empty() {
    let wanted = rows(&read(format!("{HEADER}\n{CALL}\n")))[0].version();
    for file in [
        format!("{HEADER}\n{CALL},\n"),
        format!("{HEADER},\n{CALL}\n"),
        format!("{HEADER},\n{CALL},\n"),
        format!("{HEADER},,\n{CALL},,,\n"),
    ] {
        let items = read(&file);
        let [row] = rows(&items)[..] else { panic!("{file}: {items:?}") };
        assert_eq!((row.version(), row.doubt), (wanted, None), "{file}");
    }
    // Without the serial number nothing after the recording is always filled.
    let header = HEADER.strip_suffix(",sn").unwrap();
    let row =
        format!("1709287502.118,2024-03-01 12:05:02,5550142,1003,71,58,siptrunk1,,ANSWERED,Inbound,,{NAME}");
    let items = read(format!("{header}\n{row}\n"));
    assert_eq!(rows(&items)[0].recording.as_ref().unwrap().as_bytes(), NAME.as_bytes());
    assert!(rows(&items)[0].didnumber.is_empty() && rows(&items)[0].doubt.is_none());
}

#[test]
fn a_row_that_was_cut_is_never_one_without_a_recording() {
    let header = HEADER.strip_suffix(",sn").unwrap();
    let whole = CALL.strip_suffix(",369392500001").unwrap();
    let name_ends = whole.find(",5550100").unwrap();
    for end in 1..name_ends {
        for eol in ["\n", ""] {
            let items = read(format!("{header}\n{}{eol}", &whole[..end]));
            assert!(rows(&items).is_empty(), "{end} {items:?}");
            let [row] = bad(&items)[..] else { panic!("{end} {items:?}") };
            assert!(matches!(row.cause, DoubtCause::Cut | DoubtCause::NotCsv), "{row:?}");
        }
    }
    // Where the serial number is lacking, the row is not whole either.
    let items = read(format!("{HEADER}\n{whole}\n"));
    assert!(rows(&items).iter().all(|row| row.doubt == Some(DoubtCause::FieldCount)), "{items:?}");
}

#[test]
fn a_comma_in_a_name_costs_no_recording_and_shows_no_pin_code() {
    let items = read(format!(
        "{HEADER}\n{}\n{}\n",
        CALL.replace("5550142,6200", "Doe, John <5550142>,6200"),
        call(2)
    ));
    let [doubtful, good] = rows(&items)[..] else { panic!("{items:?}") };
    assert_eq!((doubtful.doubt, good.doubt), (Some(DoubtCause::FieldCount), None));
    assert_eq!(doubtful.recording.as_ref().unwrap().as_bytes(), NAME.as_bytes());
    assert_eq!(doubtful.callid.as_str(), Some("1709287502.118"));
    assert!(
        doubtful.callfrom.is_empty() && doubtful.sn.is_empty() && doubtful.talkduraction == Reported::Absent
    );
    let again = CdrRow::from_raw_json(&doubtful.raw_json()).unwrap();
    assert_eq!((again.doubt, again.identity()), (doubtful.doubt, doubtful.identity()));
    assert!(!format!("{items:?}").contains("4711"));
    // Without a recording's name it is a line that cannot be read.
    let items =
        read(format!("{HEADER}\n{}\n", CALL.replace("5550142,6200", "Doe, John,6200").replace(NAME, "")));
    assert_eq!(bad(&items)[0].cause, DoubtCause::FieldCount);
}

#[test]
fn a_row_that_is_shifted_by_itself_gives_its_recording_and_nothing_else() {
    let merged = CALL.replace(",4711,2024", ",,47112024");
    let merged_word = CALL.replace(",Inbound,4711,", ",Inbound4711,").replace(",5550100,", ",5550100,,");
    let comma = CALL.replace("5550142,6200", "Doe, John,6200").replace(",5550100,369392500001", ",5550100");
    let mut lines = vec![merged.replace(",,4711", ",4711x").replace("4711x", "4711"), merged_word, comma];
    for at in 0..11 {
        for lost in (at + 1).max(3)..14 {
            if lost != 11 {
                lines.push(shifted(at, "", lost));
                lines.push(shifted(at, "Smith", lost));
            }
        }
    }
    lines.push(merged);
    let mut names = 0;
    for line in lines {
        let items = read(format!("{HEADER}\n{line}\n"));
        assert!(
            !format!("{items:?}").contains("4711") || rows(&items).iter().all(|row| row.doubt.is_none()),
            "{line}: {items:?}"
        );
        for row in rows(&items) {
            let asked = row.recording.as_ref().map(|name| name.to_string()).unwrap_or_default();
            assert!(!asked.contains("4711"), "{line}: {row:?}");
            assert!(!row.raw_json().contains("4711"), "{line}: {}", row.raw_json());
            names += usize::from(asked == NAME);
        }
    }
    assert!(names > 100, "{names}");
}

#[test]
fn values_that_are_merely_odd_shift_nothing() {
    for (from, to) in [
        (NAME, "4711"),
        (NAME, "NULL"),
        (NAME, "../../etc/passwd"),
        (NAME, "https://pbx.example/rec/a.wav"),
        (NAME, "\"\"\"a.wav\"\"\""),
        (NAME, ""),
        ("ANSWERED", "Beantwortet"),
        ("ANSWERED", "1"),
        ("Inbound", "Eingehend"),
        ("siptrunk1", "Transfer"),
        ("siptrunk1", "2024-03-01 12:05:02"),
        ("5550142", "Busy Bee <12>"),
        ("5550100", "NULL"),
        ("71,58", "n/v,58"),
        ("71,58", "71,siptrunk"),
        ("71,58", ","),
        ("2024-03-01 12:05:02", "01.03.2024 12:05:02"),
        ("1709287502.118", "118"),
        ("369392500001", "369392E00001"),
    ] {
        let items = read(format!("{HEADER}\n{}\n", CALL.replacen(from, to, 1)));
        let [row] = rows(&items)[..] else { panic!("{to}: {items:?}") };
        assert_ne!(row.doubt, Some(DoubtCause::Shifted), "{to}: {row:?}");
    }
}

#[test]
fn the_same_line_has_the_same_hash_wherever_it_stands() {
    let broken = "a,b,c";
    let items = read(format!("{HEADER}\n{CALL}\n{broken}\r\n{}\n{broken}\n", call(2)));
    assert_eq!(rows(&items)[0].line_sha256, crate::base::digest::Digest::of(CALL));
    assert_eq!(bad(&items)[0].line_sha256, crate::base::digest::Digest::of(broken));
    assert_eq!(bad(&items)[0].line_sha256, bad(&items)[1].line_sha256);
    let long = "x".repeat(300_000);
    for step in [1000, 70_000, 400_000] {
        let mut reader = CdrReader::new(&BTreeMap::new());
        let mut items = Vec::new();
        for chunk in format!("{HEADER}\n{long}\n").as_bytes().chunks(step) {
            reader.push(chunk);
            items.extend(std::iter::from_fn(|| reader.next_item().unwrap()));
        }
        reader.finish();
        items.extend(std::iter::from_fn(|| reader.next_item().unwrap()));
        assert_eq!(
            (bad(&items)[0].line_sha256, bad(&items)[0].cause),
            (crate::base::digest::Digest::of(&long), DoubtCause::TooLong)
        );
    }
}
