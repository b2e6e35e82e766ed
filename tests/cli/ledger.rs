//! `callvault ledger`, as an auditor and an operator use it.

use std::fs;
use std::mem::MaybeUninit;

use callvault::formats::tlog::{TlogProof, VerifyingKey};
use callvault::simulator::{SimAudio, SimCall};
use rustix::fs::inotify;
use serde_json::Value;

use crate::support::program::{Folder, Pbx};

fn archived(recordings: u64) -> (Pbx, Folder) {
    let pbx = Pbx::with(recordings);
    let folder = Folder::for_pbx(&pbx.url());
    folder.run(&["backfill"]).exits(0);
    (pbx, folder)
}

fn shown(folder: &Folder) -> Value {
    folder.run(&["ledger", "--json"]).exits(0).json()
}

#[test]
fn it_tells_its_name_its_keys_and_how_much_of_it_is_signed() {
    let (_pbx, folder) = archived(3);
    let shown = shown(&folder);
    // One entry for the key, one for each recording, one for the call list.
    assert_eq!((&shown["entries"], &shown["signed_entries"]), (&5.into(), &5.into()));
    let vkey = shown["keys"][0]["vkey"].as_str().unwrap();
    assert_eq!(VerifyingKey::from_vkey(vkey).unwrap().name(), shown["origin"].as_str().unwrap());
    let text = folder.run(&["ledger", "show"]).exits(0).out();
    assert!(text.contains("5 entries, 5 of them signed") && text.contains(vkey), "{text}");
    assert!(folder.run(&["ledger", "check"]).exits(0).out().starts_with("All 5 signed entries"));
}

#[test]
fn a_recording_is_proven_by_its_name_its_path_and_the_number_of_its_entry() {
    let (_pbx, folder) = archived(3);
    let key = VerifyingKey::from_vkey(shown(&folder)["keys"][0]["vkey"].as_str().unwrap()).unwrap();
    let path = folder.recordings()[0].clone();
    let archive = folder.path("archive");
    let path = path.strip_prefix(&archive).unwrap_or(&path).to_str().unwrap().to_owned();
    let name = path.rsplit('/').next().unwrap();
    let by_path = folder.run(&["ledger", "prove", &path]).exits(0).stdout;
    let by_name = folder.run(&["ledger", "prove", name]).exits(0).stdout;
    assert_eq!(by_path, by_name);
    let proof = TlogProof::parse(&by_path).unwrap();
    assert_eq!(proof.verify(std::slice::from_ref(&key)).unwrap().size, 5);
    let number = proof.index.to_string();
    assert_eq!(folder.run(&["ledger", "prove", &number]).exits(0).stdout, by_path);
    let entry: Value = serde_json::from_slice(&proof.entry).unwrap();
    let sha256 = callvault::base::digest::Digest::of(fs::read(archive.join(&path)).unwrap());
    assert_eq!(entry["sha256"], sha256.to_string());
    let json = folder.run(&["ledger", "prove", &path, "--json"]).exits(0).json();
    assert_eq!((&json["proofs"][0]["path"], &json["proofs"][0]["proof"]), (&path.into(), &by_path.into()));
}

#[test]
fn what_is_not_in_it_is_told_in_a_sentence() {
    let (_pbx, folder) = archived(1);
    let unknown = folder.run(&["ledger", "prove", "no such.wav"]).exits(2);
    assert!(unknown.stderr.contains("nothing archived has the name or path `no such.wav`"), "{unknown:?}");
    let later = folder.run(&["ledger", "prove", "4711"]).exits(2);
    assert!(later.stderr.contains("entry 4711 is not published yet; 3 are"), "{later:?}");
    let empty = Folder::for_pbx("http://127.0.0.1:9");
    for command in [&["ledger"][..], &["ledger", "check"], &["ledger", "prove", "x"]] {
        assert!(empty.run(command).exits(2).stderr.contains("nothing was archived yet"));
    }
}

#[test]
fn a_file_of_it_that_was_altered_is_named_with_exit_code_5() {
    let (_pbx, folder) = archived(2);
    let tile = folder.path("archive/_ledger/tile/0/000.p/4");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[40] ^= 1;
    fs::remove_file(&tile).unwrap();
    fs::write(&tile, bytes).unwrap();
    let said = folder.run(&["ledger", "check"]).exits(5);
    assert!(said.stdout.starts_with("_ledger/tile/0/000.p/4 holds other hashes"), "{said:?}");
    let json = folder.run(&["ledger", "check", "--json"]).exits(5).json();
    assert_eq!(json["damaged"][0]["path"], "_ledger/tile/0/000.p/4");
    // The tile's second hash is what the first entry is proven with.
    let proof = folder.run(&["ledger", "prove", "0"]).exits(5);
    assert!(proof.stderr.contains("_ledger/tile"), "{proof:?}");
}

#[test]
fn a_checkpoint_that_is_on_its_way_meanwhile_is_no_damage() {
    let (pbx, folder) = archived(2);
    let checkpoint = folder.path("archive/_ledger/checkpoint");
    let put = |bytes: &[u8]| {
        fs::write(folder.path("put"), bytes).unwrap();
        fs::rename(folder.path("put"), &checkpoint).unwrap();
    };
    let older = fs::read(&checkpoint).unwrap();
    pbx.end_call(SimCall::recorded(pbx.clock(), 9_000_001, "later.wav".to_owned(), SimAudio::pcm(1000, 1)));
    folder.run(&["backfill"]).exits(0);
    let newest = fs::read(&checkpoint).unwrap();
    assert_ne!(older, newest);
    put(&older);
    let looks = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&looks, &checkpoint, inotify::WatchFlags::CLOSE_NOWRITE).unwrap();
    let check = folder.start(folder.command(["ledger", "check"]));
    // It has seen the older one when the newest comes, as when a service is just signing.
    inotify::Reader::new(&looks, &mut [MaybeUninit::uninit(); 4096]).next().unwrap();
    put(&newest);
    check.wait().exits(0);
    put(&older);
    let said = folder.run(&["ledger", "check"]).exits(5);
    assert!(said.stdout.contains("is older than the last one that was signed"), "{said:?}");
}

#[test]
fn a_new_key_is_told_and_signs_at_once() {
    let (_pbx, folder) = archived(1);
    let former = shown(&folder)["keys"][0]["vkey"].clone();
    let told = folder.run(&["ledger", "rotate-key", "--json"]).exits(0).json();
    let keys = &shown(&folder)["keys"];
    assert_eq!((&keys[0]["vkey"], &keys[1]["vkey"]), (&told["vkey"], &former));
    assert!(keys[0].get("signs_until").is_none() && keys[1].get("signs_until").is_some());
    folder.run(&["ledger", "check"]).exits(0);
    folder.run(&["backfill"]).exits(0);
    folder.run(&["ledger", "check"]).exits(0);
}
