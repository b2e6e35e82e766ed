mod dialects;
mod evidence;
mod headers;
mod shifted;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::base::recording::Text;

const HEADER: &str = "callid,timestart,callfrom,callto,callduraction,talkduraction,srctrunkname,dsttrunkname,status,type,pincode,recording,didnumber,sn";
const CALL: &str = "1709287502.118,2024-03-01 12:05:02,5550142,6200(1003),71,58,siptrunk1,,ANSWERED,Inbound,4711,20240301120515-1709287502.118-5550142-1003-Inbound.wav,5550100,369392500001";

fn read_with(bytes: impl AsRef<[u8]>, columns: &[(&str, &str)]) -> Result<Vec<CdrItem>, CdrError> {
    let columns = columns.iter().map(|(ours, theirs)| ((*ours).to_owned(), (*theirs).to_owned())).collect();
    read_csv(bytes.as_ref(), CdrReader::new(&columns)).collect()
}

fn read(bytes: impl AsRef<[u8]>) -> Vec<CdrItem> {
    read_with(bytes, &[]).unwrap()
}

fn rows(items: &[CdrItem]) -> Vec<&CdrRow> {
    items.iter().filter_map(|item| if let CdrItem::Row(row) = item { Some(&**row) } else { None }).collect()
}

fn bad(items: &[CdrItem]) -> Vec<&BadRow> {
    items.iter().filter_map(|item| if let CdrItem::BadRow(row) = item { Some(row) } else { None }).collect()
}

fn call(id: u32) -> String {
    CALL.replace("1709287502.118", &format!("1709287502.{id}"))
}

fn no_header(bytes: impl AsRef<[u8]>) -> NoHeader {
    match read_with(bytes, &[]) {
        Err(CdrError::NoHeader(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_row_of_the_pbx_is_read_whole() {
    let items = read(format!("{HEADER}\r\n{CALL}\r\n\r\n"));
    let [row] = rows(&items)[..] else { panic!("{items:?}") };
    assert_eq!(row.line, 2);
    assert_eq!(row.callid.as_str(), Some("1709287502.118"));
    assert_eq!(row.callto.as_str(), Some("6200(1003)"));
    assert_eq!((row.callduraction, row.talkduraction), (Reported::Known(71), Reported::Known(58)));
    assert_eq!(row.call_type.as_str(), Some("Inbound"));
    let name = row.recording.as_ref().unwrap();
    assert_eq!(name.as_bytes(), b"20240301120515-1709287502.118-5550142-1003-Inbound.wav");
    assert_eq!(row.sn.as_str(), Some("369392500001"));
    assert_eq!(row.epoch(), Some(1_709_287_502));
    assert!(row.answered() && !row.ended_without_newline);
    assert_eq!(row.raw.len(), 14);
    assert!(row.raw_json().starts_with(r#"{"callid":"1709287502.118","timestart":"#), "{}", row.raw_json());
}

#[test]
fn line_ends_marks_quotes_and_blanks_of_every_kind_give_the_same_rows() {
    let two = [call(1), call(2)];
    let quoted = |line: &str| format!("\"{}\"", line.replace(',', "\",\""));
    let wanted: Vec<_> =
        rows(&read(format!("{HEADER}\n{}\n{}\n", two[0], two[1]))).iter().map(|row| row.version()).collect();
    let files = [
        format!("\u{feff}{HEADER}\r\n{}\r\n{}\r\n\r\n  \r\n", two[0], two[1]),
        format!("\n\n{}\n{}\n\n{}", HEADER.to_uppercase(), two[0], two[1]),
        format!("{HEADER}\r{}\r{}\r", two[0], two[1]),
        format!("{}\n{}\n{}\n", quoted(HEADER), quoted(&two[0]), quoted(&two[1])),
        format!(
            " {} \n{} \n{}\t\n,,,,,,,,,,,,,\n",
            HEADER.replace(',', " , "),
            two[0].replace(',', " ,"),
            two[1]
        ),
        format!("{HEADER}\n{}\n\u{feff}{HEADER}\n{}\n", two[0], two[1]),
    ];
    for file in files {
        let items = read(&file);
        let found: Vec<_> = rows(&items).iter().map(|row| row.version()).collect();
        assert_eq!(found, wanted, "{file:?}: {items:?}");
        assert!(bad(&items).is_empty(), "{file:?}");
    }
}

#[test]
fn how_the_bytes_are_pushed_makes_no_difference() {
    let file = format!(
        "\u{feff}{HEADER}\r\n{}\r\n\"a\r\nb\",x\r\n\u{feff}\u{feff}{}\r{}\nstray,\"\r\n{}",
        call(1),
        call(2),
        call(3),
        call(4)
    );
    let whole = read(&file);
    assert_eq!((rows(&whole).len(), bad(&whole).len()), (4, 3), "{whole:?}");
    for step in [1, 2, 3, 7, 64] {
        let mut reader = CdrReader::new(&BTreeMap::new());
        let mut items = Vec::new();
        for chunk in file.as_bytes().chunks(step) {
            reader.push(chunk);
            items.extend(std::iter::from_fn(|| reader.next_item().unwrap()));
        }
        reader.finish();
        items.extend(std::iter::from_fn(|| reader.next_item().unwrap()));
        assert_eq!(items, whole, "{step}");
        assert!(reader.ended_without_newline());
    }
}

#[test]
fn the_pin_code_is_nowhere() {
    let lost = call(7).replace(",5550100", "");
    let stray = call(8).replacen(",5550142,", ",\"5550142,", 1);
    let early = CALL.replacen("5550142,6200(1003),71,58,siptrunk1,,ANSWERED,Inbound,", "", 1);
    let file = format!("{HEADER}\n{CALL}\n{lost}\n{stray}\n{early}\n{}\n4711\n", call(9));
    let items = read(&file);
    assert_eq!((rows(&items).len(), bad(&items).len()), (3, 3), "{items:?}");
    let shown = format!("{items:?}{}", rows(&items)[0].raw_json());
    assert!(!shown.contains("4711"), "{shown}");
    assert!(bad(&items)[0].excerpt.starts_with("1709287502.8,2024-03-01 12:05:02,"));

    let mapped =
        read_with("callid,recording,secret,pin\n1,,4711,4711\n1,,4711\n", &[("pincode", "Secret")]).unwrap();
    assert!(!format!("{mapped:?}").contains("4711"), "{mapped:?}");
}

#[test]
fn broken_rows_cost_nothing_but_themselves() {
    let cases: [(&str, Vec<u8>, &[u64]); 6] = [
        ("too few fields", b"a,b,c\n".to_vec(), &[3]),
        ("a quote never closed", format!("\"{}\n", call(9)).into_bytes(), &[3]),
        (
            "a quote closed lines later",
            format!("{}\n{}\n", call(9).replacen(",555", ",\"555", 1), call(8).replacen(",555", ",\"555", 1))
                .into_bytes(),
            &[3, 4],
        ),
        ("binary", b"\x00\xff\xfe\x00\"\x01\x02\n\x00\x00\n".to_vec(), &[3, 4]),
        ("a huge line", [vec![b'x'; 300_000], b"\n".to_vec()].concat(), &[3]),
        ("a huge quoted line", [b"\"".to_vec(), vec![b','; 300_000], b"\r\n".to_vec()].concat(), &[3]),
    ];
    for (what, broken, lines) in cases {
        let tail: String = (3..60).map(|id| call(id) + "\n").collect();
        let file = [format!("{HEADER}\n{}\n", call(1)).into_bytes(), broken, tail.into_bytes()].concat();
        let items = read(&file);
        assert_eq!(
            bad(&items).iter().map(|row| row.line).collect::<Vec<_>>(),
            lines,
            "{what}: {:?}",
            bad(&items)
        );
        assert_eq!(rows(&items).len(), 58, "{what}");
        let last = rows(&items)[57].line;
        assert_eq!(last, 59 + lines.len() as u64, "{what}: lines are still counted right");
        assert!(bad(&items).iter().all(|row| row.excerpt.chars().count() <= 120), "{what}");
    }
}

#[test]
fn a_quoted_field_may_span_lines() {
    let file =
        format!("{HEADER}\n{}\n{}\n", CALL.replace("siptrunk1", "\"sip\r\n\"\"trunk\"\" 1,x\""), call(2));
    let items = read(file);
    assert_eq!(rows(&items)[0].srctrunkname.as_str(), Some("sip\r\n\"trunk\" 1,x"));
    assert_eq!(rows(&items)[1].line, 4);
}

#[test]
fn a_file_cut_off_within_its_last_line_says_so() {
    let whole = format!("{HEADER}\n{}\n{}", call(1), call(2));
    let items = read(&whole);
    assert!(!rows(&items)[0].ended_without_newline && rows(&items)[1].ended_without_newline);
    let items = read(&whole[..whole.len() - 40]);
    assert!(bad(&items)[0].ended_without_newline, "{items:?}");
    let quote = format!("{HEADER}\n{}\n17,\"20", call(1));
    assert!(bad(&read(quote))[0].ended_without_newline);
}

#[test]
fn bytes_that_are_no_text_are_kept() {
    let mut file = format!("{HEADER}\n{}\n", CALL.replace("siptrunk1", "\0@@@")).into_bytes();
    let at = file.windows(3).position(|window| window == b"@@@").unwrap();
    file[at..at + 3].copy_from_slice(b"\xd6\xd0\xff");
    let items = read(&file);
    assert_eq!(rows(&items)[0].srctrunkname, Text::Bytes { hex: "00d6d0ff".to_owned() });
    assert!(rows(&items)[0].raw_json().contains(r#""srctrunkname":{"hex":"00d6d0ff"}"#));
}

#[test]
fn durations_and_status_make_versions_of_one_call() {
    let first = read(format!("{HEADER}\n{CALL}\n"));
    let later = read(format!("{HEADER}\n{}\n", CALL.replace(",71,58,", ",75,62,").replace("4711", "")));
    let other = read(format!("{HEADER}\n{}\n", CALL.replace("siptrunk1", "siptrunk2")));
    let [first, later, other] = [rows(&first)[0], rows(&later)[0], rows(&other)[0]];
    assert_eq!(first.identity(), later.identity());
    assert_ne!(first.version(), later.version());
    assert_ne!(first.identity(), other.identity());
    let canonical = r#"{"callfrom":"5550142","callid":"1709287502.118","callto":"6200(1003)","didnumber":"5550100","dsttrunkname":"","recording":"20240301120515-1709287502.118-5550142-1003-Inbound.wav","sn":"369392500001","srctrunkname":"siptrunk1","timestart":"2024-03-01 12:05:02","type":"Inbound"}"#;
    assert_eq!(first.identity(), crate::base::digest::Digest::of(canonical));
}

#[test]
fn odd_values_are_none_rather_than_wrong() {
    for (text, wanted) in [
        ("58", Some(58)),
        ("0:01:11", Some(71)),
        ("-1", None),
        ("+5", None),
        ("5.5", Some(5)),
        ("", None),
        ("1:2", None),
        ("99999999999999999999", None),
    ] {
        let items = read(format!("callid,recording,talkduraction\n1,,{text}\n"));
        assert_eq!(rows(&items)[0].talkduraction.known(), wanted, "{text}");
    }
    for (text, wanted) in [
        ("1709287502.118", Some(1_709_287_502)),
        ("1709287502_118", Some(1_709_287_502)),
        ("118", None),
        ("x.1", None),
        (".1", None),
        ("1709287502118", None),
    ] {
        let items = read(format!("callid,recording,talkduraction\n{text},,1\n"));
        assert_eq!(rows(&items)[0].epoch(), wanted, "{text}");
    }
}

#[test]
fn words_and_numbers_are_compared_in_one_form() {
    assert_eq!(normal(" No  Answer"), "noanswer");
    assert_eq!(parties("6200(1003)"), ["6200", "1003"]);
    assert_eq!(parties("Reception <1001>"), ["Reception", "1001"]);
    assert_eq!(parties("5550142"), ["5550142"]);
    assert!(parties("").is_empty());
    for (status, talk, answered) in
        [("Answered", "0", true), ("NO ANSWERED", "0", false), ("NO ANSWER", "3", true), ("BUSY", "", false)]
    {
        let items = read(format!("callid,recording,status,talkduraction\n1,,{status},{talk}\n"));
        assert_eq!(rows(&items)[0].answered(), answered, "{status}");
    }
}

#[test]
fn a_line_without_end_is_read_in_bounded_memory() {
    let endless = std::io::Read::take(std::io::repeat(b'x'), 20 << 20);
    let file = std::io::Read::chain(HEADER.as_bytes(), std::io::Read::chain(&b"\n"[..], endless));
    let items: Vec<_> = read_csv(file, CdrReader::new(&BTreeMap::new())).collect::<Result<_, _>>().unwrap();
    assert_eq!(bad(&items).len(), 1);
    assert!(bad(&items)[0].ended_without_newline);
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_the_end(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let file = [HEADER.as_bytes(), b"\n", &bytes, b"\n", CALL.as_bytes(), b"\n"].concat();
        let items = read(&file);
        prop_assert!(!rows(&items).is_empty() || !bad(&items).is_empty());
    }

    #[test]
    fn any_csvish_text_is_read_to_the_end_and_the_good_row_after_it(text in "[a,\"\r\n\u{feff}]{0,60}") {
        let clean: String = (0..40).map(|id| call(id) + "\n").collect();
        let items = read(format!("{HEADER}\n{text}\n{clean}"));
        prop_assert!(rows(&items).len() >= 39, "{items:?}");
    }

    #[test]
    fn what_a_csv_writer_writes_comes_back(fields in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 3..=3)) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["callid", "recording", "sn"]).unwrap();
        writer.write_record(&fields).unwrap();
        let items = read(writer.into_inner().unwrap());
        let all_blank = fields.iter().all(|field| field.trim_ascii().is_empty());
        if !all_blank {
            let raw: Vec<_> = rows(&items)[0].raw.iter().map(|(_, value)| value.to_bytes().unwrap()).collect();
            prop_assert_eq!(raw, fields);
        }
    }
}
