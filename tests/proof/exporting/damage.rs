//! Originals that are not what was archived.

use std::fs;

use callvault::base::digest::Digest;

use super::bag::House;

#[test]
fn an_original_with_other_bytes_lies_apart_and_one_that_is_gone_is_told() {
    let house = House::with(4);
    let audio = house.folder.recordings();
    let relative = |at: usize| {
        audio[at].strip_prefix(house.folder.path("archive")).unwrap().to_str().unwrap().to_owned()
    };
    let of_calls: Vec<usize> = (0..audio.len()).filter(|at| !relative(*at).contains("voicemail")).collect();
    let (altered, gone) = (of_calls[0], of_calls[1]);
    let mut bytes = fs::read(&audio[altered]).unwrap();
    let whole = Digest::of(&bytes).to_string();
    *bytes.last_mut().unwrap() ^= 1;
    fs::remove_file(&audio[altered]).unwrap();
    fs::write(&audio[altered], &bytes).unwrap();
    fs::remove_file(&audio[gone]).unwrap();

    let bag = house.export(&["--voicemail"], 5);
    let mut paths = [relative(altered), relative(gone)];
    paths.sort();
    assert_eq!(bag.report["damaged_paths"], serde_json::json!(paths), "{}", bag.report);
    let aside = format!("data/_damaged/{}", relative(altered));
    assert!(bag.files().contains(&aside) && !bag.files().contains(&format!("data/{}", relative(altered))));
    let absent = bag.lines("data/not-exported.jsonl");
    let line = absent.iter().find(|line| line["path"] == relative(altered).as_str()).unwrap();
    assert_eq!((&line["state"], &line["file"]), (&"damaged".into(), &aside.as_str().into()));
    assert_eq!(line["archived_sha256"], whole.as_str());
    assert_eq!(line["found_sha256"], Digest::of(&bytes).to_string().as_str());
    let line = absent.iter().find(|line| line["path"] == relative(gone).as_str()).unwrap();
    assert_eq!(line["state"], "gone");
    let events = bag.lines("premis/events.jsonl");
    let failed = events.iter().filter(|event| event["eventOutcome"] == "fail").count();
    assert_eq!(failed, 4, "the copy and the fixity check of each of the two");
    let mut csv = csv::Reader::from_path(bag.path.join("data/cdr.csv")).unwrap();
    let cells: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    let files = cells.iter().map(|record| record[4].to_owned()).filter(|file| !file.is_empty());
    let (files, there): (Vec<_>, _) = (files.collect(), bag.files());
    assert!(!files.is_empty() && files.iter().all(|file| there.contains(file)), "{cells:?}");
    let text = house.folder.run(&["export", "--out", "again"]).exits(5).out();
    assert!(text.contains(&format!("damaged: {}", paths[0])) && text.contains("2 damaged or gone"), "{text}");
}

#[test]
fn a_ledger_that_is_not_what_was_signed_is_not_handed_out() {
    let house = House::with(2);
    let size = house.folder.number("select max(size) from checkpoints");
    let bundle = house.folder.path("archive").join(format!("_ledger/tile/entries/000.p/{size}"));
    let mut bytes = fs::read(&bundle).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::remove_file(&bundle).unwrap();
    fs::write(&bundle, bytes).unwrap();
    let said = house.folder.run(&["export", "--out", "bag"]).exits(5);
    assert!(said.stderr.contains("`callvault ledger check` says which file is damaged"), "{}", said.stderr);
    assert!(!house.folder.path("bag").exists());
}

#[test]
fn an_older_database_exports_nothing_that_it_could_not_prove() {
    let house = House::with(2);
    let (state, copy) = (house.folder.path("state"), house.folder.path("copy"));
    let duplicate = |from: &std::path::Path, to: &std::path::Path| {
        let said = std::process::Command::new("cp").arg("-a").args([from, to]).output().unwrap();
        assert!(said.status.success(), "{said:?}");
    };
    duplicate(&state, &copy);
    house.add_call(|call| {
        call.recording = "later.wav".into();
        call.callid = "1700000000.9002".to_owned();
    });
    fs::remove_dir_all(&state).unwrap();
    duplicate(&copy, &state);
    let said = house.folder.run(&["export", "--out", "bag"]);
    assert_ne!(said.code, 0);
    assert!(said.stderr.contains("callvault rebuild"), "{}", said.stderr);
    house.folder.run(&["rebuild"]).exits(0);
    assert_eq!(house.export(&[], 0).count("files"), 3);
}

/// A page is what people are given: one with a script in it lies apart, also if nobody ever verified the archive.
#[test]
fn a_file_of_a_certificate_with_other_bytes_lies_apart() {
    let house = House::with(2);
    house.certify();
    let files = house.folder.files("archive");
    let page = files.into_iter().find(|file| file.ends_with("certificate-1.html")).unwrap();
    let relative = |file: &std::path::Path| {
        file.strip_prefix(house.folder.path("archive")).unwrap().to_str().unwrap().to_owned()
    };
    let whole = fs::read_to_string(&page).unwrap();
    fs::remove_file(&page).unwrap();
    fs::write(&page, whole.replace("</body>", "<script>alert(1)</script></body>")).unwrap();
    let bag = house.export(&[], 5);
    assert_eq!(bag.report["damaged_paths"], serde_json::json!([relative(&page)]), "{}", bag.report);
    let files = bag.files();
    let aside = format!("data/_damaged/{}", relative(&page));
    assert!(files.contains(&aside) && !files.contains(&format!("data/{}", relative(&page))), "{files:?}");
    assert!(files.iter().any(|file| file.ends_with("certificate-1.json")), "{files:?}");
    let absent = bag.lines("data/not-exported.jsonl");
    let told = absent.iter().find(|line| line["path"] == relative(&page).as_str()).unwrap();
    assert_eq!((&told["kind"], &told["state"]), (&"certificate".into(), &"damaged".into()));

    // Without its document it is no certificate.
    fs::remove_file(&page).unwrap();
    fs::write(&page, whole).unwrap();
    fs::remove_file(page.with_extension("json")).unwrap();
    let bag = house.export(&[], 5);
    assert_eq!(bag.report["damaged"], 1);
    assert!(!bag.text("index.html").contains(&format!("\"data/{}\"", relative(&page))));
}

/// What somebody makes of a file.
type Change = fn(Vec<u8>) -> Vec<u8>;

/// Whoever changes a file of a certificate and the sums beside it, and has the state rebuilt from that, gets it into no bag.
#[test]
fn a_state_that_was_rebuilt_from_a_changed_certificate_does_not_hand_it_out() {
    let house = House::with(1);
    house.certify();
    let page = house.folder.files("archive").into_iter().find(|file| file.ends_with("certificate-1.html"));
    let day = page.unwrap().parent().unwrap().to_owned();
    let changes: [(&str, Change); 4] = [
        ("certificate-1.html", |bytes| [&bytes[..], b"<script>alert(1)</script>"].concat()),
        ("certificate-1.json.sig", |bytes| bytes.iter().map(|byte| byte ^ 1).collect()),
        ("certificate-1.names.jsonl", |bytes| [&bytes[..], b"{\"type\":\"file\"}\n"].concat()),
        ("certificate-1.sha256", |bytes| [&bytes[..], &b"0".repeat(64), b"  other.wav\n"].concat()),
    ];
    for (name, change) in changes {
        let (path, sums) = (day.join(name), day.join("SHA256SUMS"));
        let (whole, listed) = (fs::read(&path).unwrap(), fs::read_to_string(&sums).unwrap());
        let changed = change(whole.clone());
        let hash = |bytes: &[u8]| Digest::of(bytes).to_string();
        replace(&path, &changed);
        replace(&sums, listed.replace(&hash(&whole), &hash(&changed)).as_bytes());
        fs::remove_dir_all(house.folder.path("state")).unwrap();
        house.folder.run(&["rebuild"]);

        let bag = house.export(&[], 5);
        let relative = path.strip_prefix(house.folder.path("archive")).unwrap().to_str().unwrap();
        assert_eq!(bag.report["damaged_paths"], serde_json::json!([relative]), "{name}: {}", bag.report);
        let (files, aside) = (bag.files(), format!("data/_damaged/{relative}"));
        assert!(files.contains(&aside) && !files.contains(&format!("data/{relative}")), "{name}: {files:?}");

        if name.ends_with("html") {
            let said = house.folder.run(&["verify", "--json"]).exits(5).json();
            let damaged = &said["damaged"][0];
            assert_eq!(
                (&damaged["class"], &damaged["path"]),
                (&"altered".into(), &relative.into()),
                "{said}"
            );
        }

        replace(&path, &whole);
        replace(&sums, listed.as_bytes());
    }
    // As they were, they are given out again.
    fs::remove_dir_all(house.folder.path("state")).unwrap();
    house.folder.run(&["rebuild"]);
    assert_eq!(house.export(&[], 0).count("damaged"), 0);
}

fn replace(path: &std::path::Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Entries of version 0.1 do not have the hash of the page: that is said, and is no damage.
#[test]
fn a_page_whose_hash_no_entry_has_is_called_unproven() {
    let house = House::with(1);
    house.certify();
    assert!(!house.export(&[], 0).text("VERIFY.txt").contains("unproven"));
    house.folder.write("drop trigger ledger_is_append_only");
    house.folder.write("update ledger set entry = json_remove(entry, '$.page_sha256')");
    let bag = house.export(&[], 0);
    let text = bag.text("VERIFY.txt");
    let unproven = text.split_once("These pages are unproven").unwrap().1;
    let page = bag.files().into_iter().find(|file| file.ends_with("certificate-1.html")).unwrap();
    assert!(unproven.contains(&page), "{unproven}");
}
