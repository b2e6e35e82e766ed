//! Time stamps in what is given away, and in what `verify` says: those that were verified, and all others apart.

use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use rustix::process::Signal;
use tokio::runtime::Runtime;

use super::bag::House;
use crate::support::authority::signing::{self, Forgery, Stamper};
use crate::support::authority::{Authority, Manner};
use crate::support::program::eventually;

/// A house whose ledger was stamped, and the file of its token.
fn stamped() -> (House, PathBuf, Runtime, Authority) {
    let house = House::with(1);
    let runtime = Runtime::new().unwrap();
    let authority = runtime.block_on(Authority::start(Manner::Honest));
    house.folder.edit(|text| text + &authority.section("local"));
    let service = house.folder.start(house.folder.command(["run"]));
    let token = || {
        let mut files = house.folder.files("archive").into_iter();
        files.find(|file| file.to_string_lossy().ends_with(".local.tsr"))
    };
    // The file is there a moment before its row is: a service that ends between the two adopts it when it starts again.
    let is_noted = || house.folder.run(&["status", "--json"]).json()["anchors"][0]["last"].is_string();
    eventually("the ledger is stamped", || token().is_some() && is_noted());
    service.signal(Signal::TERM);
    service.wait().exits(0);
    let token = token().unwrap();
    (house, token, runtime, authority)
}

fn without_ca(text: String) -> String {
    text.lines().filter(|line| !line.starts_with("ca_file")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_time_stamp_counts_in_verify_and_export_only_if_it_is_verified() {
    let (house, token, _runtime, _authority) = stamped();
    let said = house.folder.run(&["verify", "--json"]).exits(0).json();
    assert_eq!(
        (&said["time_stamps"]["verified"], &said["time_stamps"]["not_verified"]),
        (&1.into(), &0.into())
    );
    let bag = house.export(&[], 0);
    assert_eq!((bag.count("anchors"), bag.count("anchors_not_verified")), (1, 0));
    let text = bag.text("VERIFY.txt");
    assert!(text.contains("openssl ts -verify") && !text.contains("NOT VERIFIED"), "{text}");
    let name = token.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(bag.files().contains(&"anchor/local.ca.pem".to_owned()));

    // Without certificates nothing can be verified, and whoever laid some beside the ledger is not believed.
    let whole = fs::read_to_string(house.folder.config()).unwrap();
    house.folder.edit(without_ca);
    let said = house.folder.run(&["verify"]).exits(0).stdout;
    let line = format!("  NOT VERIFIED: _ledger/anchor/{name}: its [[anchor]] has no `ca_file`\n");
    assert!(said.contains("0 verified, 1 not verified.\n") && said.contains(&line), "{said}");
    let bag = house.export(&[], 0);
    assert_eq!((bag.count("anchors"), bag.count("anchors_not_verified")), (0, 1));
    let text = bag.text("VERIFY.txt");
    assert!(
        text.contains("No time stamp of this ledger was verified") && !text.contains("openssl ts"),
        "{text}"
    );
    assert!(text.contains(&format!("anchor/{name}: its [[anchor]] has no `ca_file`")), "{text}");
    assert!(bag.text("index.html").contains("<strong>Not verified</strong>: 1 time stamp"));
    assert!(!bag.files().contains(&"anchor/local.ca.pem".to_owned()), "{:?}", bag.files());
    fs::write(house.folder.config(), whole).unwrap();

    // Somebody puts a token without a signer, of 1999, in its place.
    let checkpoint = fs::read(token.with_file_name(name.replace("local.tsr", "checkpoint"))).unwrap();
    let mut query = vec![0; 69];
    query[24..56].copy_from_slice(callvault::base::digest::Digest::of(&checkpoint).as_bytes());
    query[58] = 0x41;
    let past: Timestamp = "1999-12-31T23:59:59Z".parse().unwrap();
    let genuine = fs::read(&token).unwrap();
    fs::remove_file(&token).unwrap();
    fs::write(&token, Stamper::under(signing::ca()).reply(&query, past, Forgery::NoSigner)).unwrap();
    let said = house.folder.run(&["verify", "--json"]).exits(5).json();
    let damaged = &said["damaged"][0];
    assert_eq!(
        (&damaged["class"], &damaged["path"]),
        (&"altered".into(), &format!("_ledger/anchor/{name}").into())
    );
    let bag = house.export(&[], 0);
    assert_eq!((bag.count("anchors"), bag.count("anchors_not_verified")), (0, 1));
    let text = bag.text("VERIFY.txt");
    assert!(text.contains("is not signed as RFC 3161 requires") && !text.contains("openssl ts"), "{text}");

    // A genuine one that is covered by a forged one of fewer entries is found all the same.
    fs::remove_file(&token).unwrap();
    fs::write(&token, genuine).unwrap();
    house.folder.run(&["verify"]).exits(0);
    assert_eq!(house.export(&[], 0).count("anchors"), 1);
    fs::remove_file(&token).unwrap();
    let said = house.folder.run(&["verify", "--json"]).exits(5).json();
    assert_eq!(said["damaged"][0]["class"], "missing");
}

/// Whoever plants a forged token over an earlier checkpoint keeps no genuine one out of the bag.
#[test]
fn a_forged_time_stamp_takes_no_genuine_ones_place() {
    let (house, token, _runtime, _authority) = stamped();
    let name = token.file_name().unwrap().to_str().unwrap();
    let size: u64 = name.split('.').next().unwrap().parse().unwrap();
    let checkpoint = token.with_file_name(format!("{size}.checkpoint"));
    // Of an authority of his own, over the very checkpoint; and one over nothing.
    let mut query = vec![0; 69];
    let stamped = callvault::base::digest::Digest::of(fs::read(checkpoint).unwrap());
    query[24..56].copy_from_slice(stamped.as_bytes());
    query[58] = 0x41;
    let forged = Stamper::under(&signing::new_ca("Test CA")).reply(
        &query,
        callvault::base::clock::now(),
        Forgery::None,
    );
    fs::write(token.with_file_name(format!("{size}.other.tsr")), &forged).unwrap();
    for earlier in 1..size {
        fs::write(token.with_file_name(format!("{earlier}.local.tsr")), &forged).unwrap();
    }
    let bag = house.export(&[], 0);
    assert_eq!((bag.count("anchors"), bag.count("anchors_not_verified")), (1, 1));
    let text = bag.text("VERIFY.txt");
    assert!(text.contains(&format!("-in anchor/{name} -CAfile anchor/local.ca.pem")), "{text}");
    assert!(text.contains(&format!("anchor/{size}.other.tsr: its [[anchor]] has no `ca_file`")), "{text}");
}
