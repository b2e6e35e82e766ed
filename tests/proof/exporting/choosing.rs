//! What is chosen, and what is told of the rest.

use std::fs;

use super::bag::House;
use crate::support::program::Pbx;

#[test]
fn all_calls_are_chosen_and_voicemail_if_that_is_asked_for() {
    let house = House::with(4);
    let bag = house.export(&[], 0);
    assert_eq!(
        (bag.count("calls"), bag.count("files"), bag.count("not_archived")),
        (bag.count("calls"), 4, 0)
    );
    assert_eq!(house.export(&["--voicemail"], 0).count("files"), 10);
    // The lists and the files agree.
    let bag = house.export(&["--voicemail"], 0);
    let files = bag.lines("data/files.jsonl");
    let mut listed: Vec<&str> = files.iter().map(|line| line["file"].as_str().unwrap()).collect();
    listed.sort_unstable();
    assert_eq!(listed, bag.audio());
    let calls = bag.lines("data/cdr.jsonl");
    assert_eq!(calls.len() as u64, bag.count("calls"));
    let mut csv = csv::Reader::from_path(bag.path.join("data/cdr.csv")).unwrap();
    assert_eq!(csv.records().map(Result::unwrap).count(), calls.len());
    assert_eq!(bag.text("data/not-exported.jsonl"), "");
}

/// Who is given calls of one person, or of one of many PBXs, learns nothing of the others.
#[test]
fn of_less_than_everything_nothing_else_is_told() {
    let house = House::with(3);
    house.add_call(|call| {
        call.recording = "20240101-5550142-1077.wav".into();
        call.callid = "1700000000.9001".to_owned();
        (call.callfrom, call.callto) = ("5550142".to_owned(), "1077".to_owned());
    });
    house.certify();
    let others: Vec<String> = house
        .pbx
        .truth()
        .iter()
        .map(|truth| String::from_utf8_lossy(&truth.name).into_owned())
        .filter(|name| !name.contains("1077"))
        .collect();
    assert!(!others.is_empty());
    let whole = house.export(&[], 0);
    assert!(whole.files().iter().any(|file| file.ends_with("certificate-1.json")));
    assert!(whole.files().iter().any(|file| file.starts_with("log/tile/entries/")));
    let of_one = house.export(&["--extension", "1077"], 0);
    for file in of_one.files() {
        let bytes = fs::read(of_one.path.join(&file)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(others.iter().all(|name| !text.contains(name) && !file.contains(name)), "{file}");
        assert!(!file.starts_with("log/tile/entries/") && !file.contains("/certificate-"), "{file}");
    }
    assert!(of_one.text("VERIFY.txt").contains("of whole days; this export contains less"));
    let of_pbx = house.export(&["--pbx", "hq"], 0);
    assert!(of_pbx.files().iter().any(|file| file.ends_with("certificate-1.json")));
    assert!(!of_pbx.files().iter().any(|file| file.starts_with("log/tile/entries/")));
}

/// Percent signs, blanks and brackets in a name; a name that would be markup.
#[test]
fn every_address_on_the_page_is_of_a_file_in_the_bag() {
    let house = House::with(3);
    for (number, name) in ["with spaces (2).wav", "<b>&\"'.wav", "100%.wav"].into_iter().enumerate() {
        house.add_call(|call| {
            call.recording = name.into();
            call.callid = format!("1700000000.{number}");
            call.callfrom = "<script>alert(1)</script>".to_owned();
        });
    }
    house.certify();
    let bag = house.export(&["--voicemail"], 0);
    let page = bag.text("index.html");
    assert!(!page.contains("<script") && !page.contains("://"), "nothing runs, nothing comes from elsewhere");
    let files = bag.files();
    let addresses = page.split(['"']).zip(page.split(['"']).skip(1));
    let mut seen = 0;
    for (_, address) in addresses.filter(|(before, _)| before.ends_with("href=") || before.ends_with("src="))
    {
        if !address.starts_with('#') {
            seen += 1;
            assert!(files.contains(&decoded(address)), "{address}");
        }
    }
    assert!(seen > 4 * 12, "{seen} addresses");
}

/// An address as a browser reads it.
fn decoded(address: &str) -> String {
    let mut parts = address.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let byte = u8::from_str_radix(&part[..2], 16).unwrap();
        text + &char::from(byte).to_string() + &part[2..]
    })
}

#[test]
fn an_extension_or_a_number_chooses_its_calls() {
    let house = House::with(3);
    house.add_call(|call| {
        call.recording = "theirs.wav".into();
        call.callid = "1700000000.9001".to_owned();
        (call.callfrom, call.callto) = ("+49 (30) 555-0142".to_owned(), "1077".to_owned());
    });
    for arguments in [["--extension", "1077"], ["--number", "49305550142"]] {
        let bag = house.export(&arguments, 0);
        assert_eq!((bag.count("calls"), bag.count("files")), (1, 1), "{arguments:?}");
        assert!(bag.audio()[0].ends_with("/theirs.wav"));
        let cells =
            csv::Reader::from_path(bag.path.join("data/cdr.csv")).unwrap().records().next().unwrap().unwrap();
        assert!(cells.iter().any(|cell| cell == "'+49 (30) 555-0142"), "no formula: {cells:?}");
    }
    let said = house.folder.run(&["export", "--out", "none", "--extension", "9"]).exits(2);
    assert!(said.stderr.contains("no call and no recording matches the selection"), "{}", said.stderr);
    assert!(!house.folder.path("none").exists());
}

#[test]
fn a_list_chooses_what_it_names_and_what_it_names_in_vain_is_told() {
    let house = House::with(4);
    let names: Vec<String> =
        house.pbx.truth().iter().map(|truth| String::from_utf8_lossy(&truth.name).into_owned()).collect();
    let archive = house.folder.path("archive");
    let second = house.folder.recordings().into_iter().find(|file| file.ends_with(&names[1])).unwrap();
    let second = second.strip_prefix(archive).unwrap().to_str().unwrap();
    fs::write(house.folder.path("list"), format!("{}\r\n\n{second}\nnobody.wav\n", names[0])).unwrap();
    let bag = house.export(&["--list", "list"], 3);
    assert_eq!((bag.count("files"), bag.count("unknown")), (2, 1));
    assert_eq!(bag.report["unknown_lines"], serde_json::json!(["nobody.wav"]));
    let unknown = serde_json::json!({"state": "unknown", "line": "nobody.wav"});
    assert_eq!(bag.lines("data/not-exported.jsonl"), [unknown]);
    // What a bag calls its files names them too, and Windows begins a list with a mark.
    let files: Vec<String> = bag.audio();
    fs::write(house.folder.path("list"), format!("\u{feff}{}\n{}\n", files[0], files[1])).unwrap();
    assert_eq!(house.export(&["--list", "list"], 0).audio(), files);
    for (text, sentence) in [("", "names nothing"), ("nobody.wav\n", "no call and no recording")] {
        fs::write(house.folder.path("list"), text).unwrap();
        let said = house.folder.run(&["export", "--out", "none", "--list", "list"]).exits(2);
        assert!(said.stderr.contains(sentence), "{}", said.stderr);
    }
    let said = house.folder.run(&["export", "--out", "none", "--list", "elsewhere"]).exits(2);
    assert!(said.stderr.contains("cannot read the list `elsewhere`"), "{}", said.stderr);
}

#[test]
fn what_is_not_archived_is_told_with_its_reason() {
    let pbx = Pbx::with(4);
    let name = pbx.truth()[0].name.clone();
    pbx.world(|world| world.delete_audio(&name));
    let house = House::of(pbx, 3);
    let bag = house.export(&[], 3);
    assert_eq!((bag.count("files"), bag.count("not_archived")), (3, 1));
    let absent = bag.lines("data/not-exported.jsonl");
    assert_eq!((&absent[0]["state"], &absent[0]["reason"]), (&"missing".into(), &"missing".into()));
    let text = house.folder.run(&["export", "--out", "again"]).exits(3).out();
    assert!(text.contains("Not in it: 1 not archived. `data/not-exported.jsonl` names each."), "{text}");
}

#[test]
fn what_makes_no_sense_is_refused_in_one_sentence() {
    let house = House::with(1);
    fs::create_dir(house.folder.path("taken")).unwrap();
    fs::write(house.folder.path("taken/theirs"), "").unwrap();
    std::os::unix::fs::symlink(house.folder.path(""), house.folder.path("link")).unwrap();
    let cases: [(&[&str], &str); 10] = [
        (&["--out", "link"], "`link` is a link or a mount point"),
        (&["--out", ".."], "`..` is not a name for a new folder"),
        (&["--out", "taken"], "`taken` already exists and is not overwritten"),
        (&["--out", "archive/bag"], "is in the archive or in the state folder"),
        (&["--out", "state/bag"], "is in the archive or in the state folder"),
        (&["--out", "nowhere/bag"], "`nowhere` does not exist: create that folder first"),
        (&["--out", "bag", "--pbx", "lion"], "nothing was ever archived of a PBX `lion`: there are hq"),
        (&["--out", "bag", "--from", "2026-01-02", "--to", "2026-01-01"], "is after --to"),
        (&["--out", "bag", "--number", " "], "--number is empty"),
        (&["--out", "bag", "--list", "x", "--number", "1"], "cannot be used with"),
    ];
    for (arguments, sentence) in cases {
        let said = house.folder.run(&[&["export"], arguments].concat()).exits(2);
        assert!(said.stderr.contains(sentence), "{arguments:?}: {}", said.stderr);
        let json = house.folder.run(&[&["export", "--json"], arguments].concat()).exits(2).json();
        assert!(json["error"]["message"].as_str().unwrap().contains(sentence), "{arguments:?}: {json}");
    }
    let exports = "select count(*) from ledger where json_extract(entry, '$.type') = 'export'";
    assert_eq!(house.folder.number(exports), 0, "the ledger tells of none of them");
    assert_eq!(fs::read_dir(house.folder.path("taken")).unwrap().count(), 1);
}
