//! The CDR reader: the same rows however the bytes come, rows that are kept without loss, and no PIN code anywhere.

use std::collections::BTreeMap;

use callvault::base::times::{OFFSET_S_MAX, OffsetResolver, parse_local, parse_systemtime};
use callvault::formats::cdr::{BadRow, CdrItem, CdrReader, CdrRow, NoHeader, normal, parties, read_csv};

use super::{assert_printable, assert_words, pieces};

/// What a device writes first.
const HEADER: &str = "callid,timestart,callfrom,callto,callduraction,talkduraction,srctrunkname,dsttrunkname,status,\
                      type,pincode,recording,didnumber,sn";
/// Fields before the PIN code.
const BEFORE_PIN: usize = 10;
const PIN: &str = "#PIN4711#";
/// Most characters of an excerpt.
const EXCERPT_CHARS: usize = 120;

pub(crate) fn hold(input: &[u8]) {
    let told = read([input]);
    assert_eq!(read(pieces(input)), told, "in pieces");
    assert_eq!(read(input.chunks(1)), told, "byte by byte");
    let (items, failure, _) = &told;
    let from_file: Vec<_> = read_csv(input, CdrReader::new(&BTreeMap::new())).collect();
    assert_eq!(from_file.len(), items.len() + usize::from(failure.is_some()), "from a file");
    if let Some(failure) = failure {
        failure.found.iter().for_each(|heading| assert_printable(heading));
        assert_words(&failure.to_string());
    }
    items.iter().for_each(check_item);
    place(items);
    if let Ok(text) = std::str::from_utf8(input) {
        check_times(text);
    }
    keep_pin_codes_out(input);
}

type Reported = (Vec<CdrItem>, Option<NoHeader>, bool);

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Reported {
    let mut reader = CdrReader::new(&BTreeMap::new());
    let mut items = Vec::new();
    for piece in pieces {
        reader.push(piece);
        drain(&mut reader, &mut items);
    }
    reader.finish();
    let failure = drain(&mut reader, &mut items);
    (items, failure, reader.ended_without_newline())
}

fn drain(reader: &mut CdrReader, items: &mut Vec<CdrItem>) -> Option<NoHeader> {
    loop {
        match reader.next_item() {
            Ok(Some(item)) => items.push(item),
            Ok(None) => return None,
            Err(failure) => return Some(failure),
        }
    }
}

fn check_item(item: &CdrItem) {
    match item {
        CdrItem::Row(row) => check_row(row),
        CdrItem::BadRow(BadRow { problem, excerpt, .. }) => {
            assert_words(problem);
            assert_printable(excerpt);
            assert!(excerpt.chars().count() <= EXCERPT_CHARS);
        }
    }
}

/// A row is the same call after it was kept and read again.
fn check_row(row: &CdrRow) {
    let again = CdrRow::from_raw_json(&row.raw_json()).expect("what was kept can be read");
    assert_eq!((again.identity(), again.version()), (row.identity(), row.version()), "{}", row.raw_json());
    let CdrRow { line, line_sha256, ended_without_newline, ends_in_sn, .. } = *row;
    let again = CdrRow { line, line_sha256, ended_without_newline, ends_in_sn, ..again };
    assert_eq!(CdrRow { raw: row.raw.clone(), ..again }, *row);
    let pincodes = row.raw.iter().filter(|(heading, _)| heading.as_str() == Some("pincode"));
    pincodes.for_each(|(_, cell)| assert!(cell.is_empty(), "a PIN code is kept"));
    let _ = (row.answered(), row.epoch());
    for side in [&row.callfrom, &row.callto].into_iter().filter_map(|side| side.as_str()) {
        assert!(parties(side).iter().all(|party| !party.is_empty() && side.contains(party)));
        assert_eq!(normal(&normal(side)), normal(side));
    }
}

/// Each row is placed in time, or it is said that this is not known.
fn place(items: &[CdrItem]) {
    let row = |item: &CdrItem| match item {
        CdrItem::Row(row) => Some((row.epoch(), row.local_start())),
        CdrItem::BadRow(_) => None,
    };
    let page: Vec<_> = items.iter().filter_map(row).collect();
    let placed = OffsetResolver::new(None, None).resolve(&page);
    assert_eq!(placed.len(), page.len());
    for (told, row) in placed.iter().zip(&page) {
        assert!(i64::from(told.utc_offset_s).abs() <= i64::from(OFFSET_S_MAX), "{told:?}");
        assert!(told.at.is_some() || row.0.is_none(), "{told:?} of {row:?}");
    }
}

fn check_times(text: &str) {
    if let Some(local) = parse_local(text) {
        assert_eq!(parse_local(&local.to_string()), Some(local));
    }
    if let Some((_, Some(offset_s))) = parse_systemtime(text) {
        assert!(i64::from(offset_s).abs() <= i64::from(OFFSET_S_MAX), "{offset_s}");
    }
}

/// A line that lacks separators before its PIN code, or after it: what is told of it never holds the code.
fn keep_pin_codes_out(input: &[u8]) {
    let lowercase = String::from_utf8_lossy(input).to_lowercase();
    // Of a file whose headings do not say so, nobody knows where its PIN codes are; what stands elsewhere is none.
    if ["callid", "recording", &PIN.to_lowercase()].iter().any(|text| lowercase.contains(text)) {
        return;
    }
    let before: Vec<&[u8]> = input.split(|byte| *byte == b',').take(BEFORE_PIN).collect();
    let row = [&before.join(&b','), PIN.as_bytes(), b"a.wav,5550100,369"].join(&b',');
    let file = [HEADER.as_bytes(), b"\n", &row, b"\n"].concat();
    for item in read([&file[..]]).0 {
        match item {
            CdrItem::BadRow(bad) => assert!(!bad.excerpt.contains(PIN), "{bad:?}"),
            // Where a whole row lacks nothing, its code is where it should be.
            CdrItem::Row(row) if before.len() == BEFORE_PIN && row.recording.is_some() => {
                let is_plain = !before.iter().any(|field| field.contains(&b'\n') || field.contains(&b'\r'));
                assert!(!is_plain || !row.raw_json().contains(PIN), "{}", row.raw_json());
            }
            CdrItem::Row(_) => {}
        }
    }
}
