//! Headers: which are relied on, and what those say that are not.

use super::*;

#[test]
fn headings_may_be_mapped_missing_moved_and_unknown_ones_are_not_kept() {
    let file = "Start,Call ID,extra,extra,,PIN Code,Recording File,recording\nx,1709287502.1,a,b,c,4711,r.wav,other\n";
    let map = [("callid", "call id"), ("recording", "Recording File"), ("timestart", " START ")];
    let items = read_with(file, &map).unwrap();
    let row = rows(&items)[0];
    assert_eq!(row.timestart.as_str(), Some("x"));
    assert_eq!(row.recording.as_ref().unwrap().as_bytes(), b"r.wav");
    assert!(row.callto.is_empty() && row.sn.is_empty() && row.talkduraction == Reported::Absent);
    assert_eq!(
        row.raw_json(),
        r#"{"timestart":"x","callid":"1709287502.1","pincode":"","recording":"r.wav"}"#
    );
}

#[test]
fn an_unknown_column_is_kept_only_if_it_is_named_and_cannot_hold_pin_codes() {
    let file = "callid,recording,Dept,Dept,Code PIN,Other\n1709287502.1,a.wav,sales,north,4711,x\n";
    let keep = ["dept", "code pin", "#6"].map(str::to_owned);
    let reader = CdrReader::new(&BTreeMap::new()).keeping(&keep);
    let items: Vec<_> = read_csv(file.as_bytes(), reader).collect::<Result<_, _>>().unwrap();
    assert_eq!(
        rows(&items)[0].raw_json(),
        r##"{"callid":"1709287502.1","recording":"a.wav","Dept":"sales","Dept#4":"north","pincode":"","Other":"x"}"##
    );
}

#[test]
fn headings_are_one_but_for_case_blanks_underscores_quotes_and_marks() {
    for header in [
        "Call ID,Recording",
        "CALL_ID,recording ",
        "\u{feff}callid,\"Recording\"",
        "'callid','recording'",
        "call-id,RECORDING",
    ] {
        let items = read(format!("{header}\n1709287502.1,a.wav\n"));
        assert_eq!(rows(&items)[0].callid.as_str(), Some("1709287502.1"), "{header}");
        assert!(rows(&items)[0].recording.is_some(), "{header}");
    }
}

#[test]
fn a_list_without_exactly_one_column_of_recordings_names_says_what_mends_it_and_that_does() {
    let lists = [
        ("recordfile", HEADER.replace("recording", "recordfile"), 12),
        ("nothing that says so", HEADER.replace("recording", "x"), 12),
        ("another language", HEADER.replace("recording", "录音文件"), 12),
        ("a heading with quotes", HEADER.replace("recording", "\"the \"\"file\"\"\""), 12),
        ("two of them", HEADER.replace("didnumber", "Recording"), 12),
        ("none at all that is known", "Id,Begin,Who,File".to_owned(), 4),
    ];
    for (what, header, at) in lists {
        let call = match header.split(',').count() {
            4 => "1709287502.118,2024-03-01 12:05:02,5550142,20240301120515-1709287502.118-a-b-Inbound.wav",
            _ => CALL,
        };
        let file = format!("{header}\n{call}\n");
        let error = match read_with(&file, &[]) {
            Err(CdrError::NoHeader(error)) => error.to_string(),
            other => panic!("{what}: {other:?}"),
        };
        let (_, rest) = error.split_once("cdr_columns = ").unwrap_or_else(|| panic!("{what}: {error}"));
        let end = rest.find(" }").unwrap() + 2;
        let map: toml::Table = format!("cdr_columns = {}", &rest[..end]).parse().unwrap();
        let map: BTreeMap<String, String> = map["cdr_columns"].clone().try_into().unwrap();
        let reader = CdrReader::new(&map);
        let items: Vec<_> = read_csv(file.as_bytes(), reader).collect::<Result<_, _>>().expect(&error);
        let name = call.split(',').nth(at - 1).unwrap();
        assert_eq!(
            rows(&items)[0].recording.as_ref().unwrap().as_bytes(),
            name.as_bytes(),
            "{what}: {error}"
        );
    }
    let words = HEADER.replace("recording", "recordfile");
    let error = no_header(format!("{words}\n")).to_string();
    assert!(error.contains("`recordfile`") && error.contains(r#"recording = "recordfile""#), "{error}");
}

#[test]
fn each_header_of_concatenated_lists_must_hold() {
    let other = HEADER.replace("recording", "recordfile");
    let file = format!("{HEADER}\n{CALL}\n{other}\n{CALL}\n");
    let mut reader = CdrReader::new(&BTreeMap::new());
    reader.push(file.as_bytes());
    reader.finish();
    assert!(matches!(reader.next_item(), Ok(Some(CdrItem::Row(_)))));
    assert!(reader.next_item().unwrap_err().to_string().contains("recordfile"));

    let moved = "recording;callid;timestart\nb.wav;1709287502.9;2024-03-01 12:05:02\n";
    let items = read(format!("{HEADER}\n{CALL}\n{moved}{HEADER}\n{}\n", call(7)));
    let names: Vec<_> = rows(&items).iter().map(|row| row.callid.as_str().unwrap()).collect();
    assert_eq!(names, ["1709287502.118", "1709287502.9", "1709287502.7"], "{items:?}");
}

#[test]
fn a_recording_that_is_called_as_its_column_is_a_recording() {
    let file = format!(
        "{HEADER}\n{}\n",
        CALL.replace("20240301120515-1709287502.118-5550142-1003-Inbound.wav", "recording")
    );
    assert_eq!(rows(&read(file))[0].recording.as_ref().unwrap().as_bytes(), b"recording");
}

#[test]
fn a_file_that_is_no_cdr_says_what_was_found() {
    let error = no_header("Time,From,To\n1,2,3\n");
    assert_eq!((error.line, &error.found[..]), (1, &["Time", "From", "To"].map(str::to_owned)[..]));
    assert_eq!(
        error.to_string(),
        "line 1: no headings of a call list among `Time`, `From`, `To`; if it is one, write cdr_columns = \
         { recording = \"…\" } into the [[pbx]] section"
    );
    assert_eq!(no_header("").line, 0);
    assert_eq!(no_header("\n \n").line, 0);
    let error = no_header(format!("{CALL}\n"));
    assert!(error.found.is_empty() && error.to_string().contains("line 1 holds a call"), "{error}");
    assert!(no_header([0xff; 100_000]).found.is_empty());
    for (bytes, named) in [
        (&b"PK\x03\x04..xl/workbook.xml"[..], ".xlsx"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"{\"status\":\"Failed\",\"errno\":\"20006\"}", "error message"),
    ] {
        let error = no_header(bytes).to_string();
        assert!(error.contains(named) && !error.contains("cdr_columns"), "{error}");
    }
}

#[test]
fn how_a_list_was_understood_is_told_without_a_value() {
    let file = format!("Titel\n{};Abteilung\n{};north\n", HEADER.replace(',', ";"), CALL.replace(',', ";"));
    let mut reader = CdrReader::new(&BTreeMap::new());
    reader.push(file.as_bytes());
    reader.finish();
    while reader.next_item().unwrap().is_some() {}
    let understood = reader.understood().unwrap();
    assert_eq!((understood.delimiter, understood.encoding, understood.spreadsheet), (';', "UTF-8", false));
    assert_eq!(understood.columns.len(), 15);
    assert_eq!(understood.columns[11].column, Some("recording"));
    assert_eq!((&*understood.columns[14].heading, understood.columns[14].column), ("Abteilung", None));
    let json = serde_json::to_string(understood).unwrap();
    assert!(!json.contains("4711") && !json.contains("north"), "{json}");
}

/// A map by numbers makes no call a header: it would be the one that is lost.
#[test]
fn a_call_in_the_first_line_is_no_header_whatever_the_map_says() {
    let list = format!("{}\n{}\n", call(1), call(2));
    for columns in [&[("recording", "#12")][..], &[("recording", "#12"), ("callid", "#1")]] {
        let Err(CdrError::NoHeader(error)) = read_with(&list, columns) else { panic!("it was read") };
        assert_eq!((error.line, error.cause), (1, NoHeaderCause::Headless));
    }
    let headed = format!("a,b,c,d,e,f,g,h,i,j,k,l,m,n\n{list}");
    assert_eq!(rows(&read_with(headed, &[("recording", "#12")]).unwrap()).len(), 2);
}
