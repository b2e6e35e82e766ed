//! Programs of others check an export, and see what was changed in it. They are told nothing but what is in the bag.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;
use tokio::runtime::Runtime;

use super::bag::{Bag, House};
use crate::support::authority::{Authority, Manner};
use crate::support::program::{Folder, Pbx, eventually};

/// Python with `aics-tlog` and `bagit`, and the folder of its programs.
fn python() -> Option<PathBuf> {
    let python = PathBuf::from(std::env::var_os("CALLVAULT_PYTHON")?);
    let there = Command::new(&python).args(["-c", "import aics_tlog, bagit"]).output();
    there.is_ok_and(|said| said.status.success()).then_some(python)
}

impl Bag {
    /// Runs the commands of `VERIFY.txt` as its reader does, and gives what they say.
    fn verified(&self, python: &Path) -> Output {
        let text = self.text("VERIFY.txt");
        let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
        assert!(commands.len() > 30, "{text}");
        let path = format!("{}:{}", python.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let script = format!("set -e\n{}\n", commands.join("\n"));
        Command::new("sh").args(["-c", &script]).current_dir(&self.path).env("PATH", path).output().unwrap()
    }

    /// What they say when all is well.
    fn is_accepted(&self, python: &Path) -> String {
        let said = self.verified(python);
        let [out, err] =
            [&said.stdout, &said.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert!(said.status.success() && !out.contains("NOT ") && !out.contains("NO PROOF"), "{out}\n{err}");
        assert_eq!(out.matches("Signature Verified Successfully").count(), 1 + self.certificates(), "{out}");
        out
    }

    /// Documents of certificates.
    fn certificates(&self) -> usize {
        self.files().iter().filter(|file| file.contains("/certificate-") && file.ends_with(".json")).count()
    }

    /// Changes a file of it, and all lists so that they agree again: what anybody can do.
    fn rewrite(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let file = self.path.join(path);
        let mut bytes = fs::read(&file).unwrap();
        change(&mut bytes);
        fs::write(&file, bytes).unwrap();
        let script = "find data -type f | sort | xargs -d '\\n' sha256sum > manifest-sha256.txt; \
                      oxum=$(find data -type f -printf '%s\\n' | awk '{ sum += $1 } END { print sum \".\" NR }'); \
                      sed -i \"s/^Payload-Oxum: .*/Payload-Oxum: $oxum/\" bag-info.txt; \
                      find . -type f -not -path './data/*' -not -name tagmanifest-sha256.txt -printf '%P\\n' \
                      | sort | xargs -d '\\n' sha256sum > tagmanifest-sha256.txt";
        let said = Command::new("sh").args(["-c", script]).current_dir(&self.path).output().unwrap();
        assert!(said.status.success(), "{said:?}");
    }
}

#[test]
fn whoever_is_given_it_checks_it_with_the_commands_that_it_names() {
    let Some(python) = python() else {
        return println!("skipped: there is no Python with aics-tlog and bagit here (CALLVAULT_PYTHON)");
    };
    let house = House::with(5);
    house.certify();
    let runtime = Runtime::new().unwrap();
    let authority = runtime.block_on(Authority::start(Manner::Honest));
    house.folder.edit(|text| text + &authority.section("local"));
    let service = house.folder.start(house.folder.command(["run"]));
    let is_token = |file: &PathBuf| file.to_string_lossy().ends_with(".local.tsr");
    let is_stamped = || house.folder.files("archive").iter().any(is_token);
    eventually("the ledger is stamped", is_stamped);
    service.signal(Signal::TERM);
    service.wait().exits(0);

    let bag = house.export(&["--voicemail"], 0);
    let said = bag.is_accepted(&python);
    assert!(said.contains("Verification: OK"), "openssl ts: {said}");
    assert!(bag.count("anchors") >= 1 && bag.certificates() >= 1);
    assert_eq!(bag.count("files"), 11);
    // The third command prints what the ledger tells of it.
    let number = bag.count("ledger_number").to_string();
    let told = house.folder.run(&["ledger", "prove", &number]).exits(0);
    let proof = callvault::formats::tlog::TlogProof::parse(&told.stdout).unwrap();
    let entry: serde_json::Value = serde_json::from_slice(&proof.entry).unwrap();
    assert_eq!((&entry["type"], &entry["files"]), (&"export".into(), &11.into()));
    assert!(
        said.contains(&format!("{}  tagmanifest-sha256.txt", entry["bag_sha256"].as_str().unwrap())),
        "{said}"
    );
    is_accepted_by_go(&bag);
}

/// The name of a ledger enters lines for a shell: whoever chose it runs nothing there.
#[test]
fn a_ledger_whose_name_has_quotes_is_checked_like_any_other() {
    let pbx = Pbx::with(1);
    let folder = Folder::for_pbx(&pbx.url());
    let origin = "it's$(touch${IFS}run)`touch${IFS}run`;\"a\",x\\";
    folder.edit(|text| format!("{text}[ledger]\norigin = '''{origin}'''\n"));
    folder.run(&["backfill"]).exits(0);
    let house = House { pbx, folder };
    house.certify();
    let bag = house.export(&[], 0);
    let in_shell = |script: &str| {
        let said = Command::new("sh").args(["-c", script]).current_dir(&bag.path).output().unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    let text = bag.text("VERIFY.txt");
    let key = text.lines().find(|line| line.starts_with("    key=")).unwrap();
    let known = house.folder.run(&["ledger", "--json"]).exits(0).json();
    assert_eq!(Some(&*in_shell(&format!("{key}\nprintf %s \"$key\""))), known["keys"][0]["vkey"].as_str());
    assert!(known["keys"][0]["vkey"].as_str().unwrap().starts_with(origin), "{known}");
    let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let begin = commands.iter().position(|line| line.starts_with("for certificate in")).unwrap();
    let verified = in_shell(&commands[begin..begin + 4].join("\n"));
    assert_eq!(verified.matches("Signature Verified Successfully").count(), bag.certificates(), "{verified}");
    if let Some(python) = python() {
        bag.is_accepted(&python);
    }
    assert!(bag.certificates() >= 1 && !bag.path.join("run").exists());
}

#[test]
fn what_was_changed_and_listed_again_is_seen_by_them_all_the_same() {
    let Some(python) = python() else {
        return println!("skipped: there is no Python with aics-tlog and bagit here (CALLVAULT_PYTHON)");
    };
    let house = House::with(4);
    let flip = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1;
    let named = |bag: &Bag| {
        let said = bag.verified(&python);
        let out = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.status.success(), "the bag is a bag: {out}{said:?}");
        let told = ["NOT THE ARCHIVED FILE: ", "NO PROOF: ", "NOT ITS PLACE: ", "NOT PROVEN: "];
        let told = |line: &str| told.iter().find_map(|begin| line.strip_prefix(begin).map(str::to_owned));
        out.lines().filter_map(told).collect::<Vec<_>>()
    };
    for path in [".wav", ".wav.json"] {
        let bag = house.export(&[], 0);
        bag.is_accepted(&python);
        let changed = bag.files().into_iter().find(|file| file.ends_with(path)).unwrap();
        bag.rewrite(&changed, flip);
        assert_eq!(named(&bag), [changed]);
    }
    // Two recordings that change places, alone and with their sidecars; one that was never archived.
    for suffixes in [&[""][..], &["", ".json"]] {
        let bag = house.export(&[], 0);
        let [one, other] = [0, 1].map(|at| bag.audio()[at].clone());
        for suffix in suffixes {
            let [one, other] = [&one, &other].map(|file| bag.path.join(format!("{file}{suffix}")));
            let aside = bag.path.join("aside");
            fs::rename(&one, &aside).unwrap();
            fs::rename(&other, &one).unwrap();
            fs::rename(&aside, &other).unwrap();
        }
        bag.rewrite(&one, |_| ());
        let named = named(&bag);
        assert!(named.contains(&one) && named.contains(&other), "{suffixes:?}: {named:?}");
    }
    let bag = house.export(&[], 0);
    let added = bag.audio()[0].replace(".wav", "-2.wav");
    fs::write(bag.path.join(&added), "RIFF").unwrap();
    bag.rewrite(&added, |_| ());
    assert_eq!(named(&bag), [added]);
    for path in ["log/checkpoint", "log/tile/0/000.p/"] {
        let bag = house.export(&[], 0);
        let changed = bag.files().into_iter().find(|file| file.starts_with(path)).unwrap();
        bag.rewrite(&changed, |bytes| bytes[40] ^= 1);
        let said = bag.verified(&python);
        let out = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(!said.status.success() || out.contains("NOT PROVEN: "), "{path}: {out}");
    }
    // Without its lists rewritten, a bag is none any more.
    let bag = house.export(&[], 0);
    let audio = bag.path.join(&bag.audio()[0]);
    let mut bytes = fs::read(&audio).unwrap();
    flip(&mut bytes);
    fs::write(&audio, bytes).unwrap();
    assert!(!bag.verified(&python).status.success());
}

/// With the Go project's packages: ledger, and proofs.
fn is_accepted_by_go(bag: &Bag) {
    let environment = [("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOFLAGS", "")];
    let built = tempfile::tempdir().unwrap();
    let program = built.path().join("check");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof/notary/check.go");
    let mut build = Command::new("go");
    build.envs(environment).env("GOCACHE", built.path().join("cache"));
    match build.args(["build", "-o"]).arg(&program).arg(source).output() {
        Ok(said) if said.status.success() => {}
        _ => return println!("skipped: there is no Go with x/mod here"),
    }
    let vkey = bag.files().into_iter().find(|file| file.ends_with(".vkey")).unwrap();
    let (vkey, none) = (bag.text(&vkey), built.path().join("none"));
    fs::create_dir(&none).unwrap();
    let folders = [bag.path.join("log"), none, bag.path.join("proofs")];
    let said = Command::new(&program).arg(vkey.trim_end()).args(folders).output().unwrap();
    let out = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success(), "{said:?}");
    assert!(out.contains("11 proofs: all as signed"), "{out}");
}
