//! Programs of others read the published ledger and agree: Go's `x/mod/sumdb`, Python's `aics-tlog`, `openssl`.
//!
//! They are told nothing but the folder and a public key. Where one is not installed, that is said and passed over;
//! `scripts/check` installs all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use callvault::formats::tlog::{Checkpoint, Frontier, SigningKey, sign};
use callvault::proof::notary::Published;
use callvault::store::ledger;

use super::house::{House, NOW};

const ENTRIES: u64 = 1029;

/// A published ledger, the checkpoint of every size that it ever had, and proofs.
struct Evidence {
    house: House,
    vkey: String,
}

impl Evidence {
    async fn new() -> Self {
        let house = House::new();
        let open = house.open().await;
        open.append(ENTRIES).await;
        open.seal().await.unwrap();
        let key = open.notary.key().await;
        let evidence = Self { vkey: key.to_vkey(), house };
        let leaves =
            ledger::leaf_hashes(&mut open.state.db.read().await.unwrap(), 0, ENTRIES + 1).await.unwrap();
        let seed = open.state.ledger_seed().unwrap();
        let signer = SigningKey::from_seed(&open.notary.origin, &seed).unwrap();
        let checkpoints = evidence.folder("checkpoints");
        let (mut frontier, mut full) = (Frontier::default(), Vec::new());
        for size in 0..=leaves.len() {
            let origin = open.notary.origin.clone();
            let checkpoint = Checkpoint { origin, size: frontier.size(), root: frontier.root() };
            let note = sign(&checkpoint.to_text(), std::slice::from_ref(&signer));
            fs::write(checkpoints.join(format!("{size:05}")), note).unwrap();
            leaves.get(size).into_iter().for_each(|leaf| frontier.push(*leaf, &mut full));
        }
        let published = Published::open(&evidence.house.root()).unwrap().unwrap();
        let proofs = evidence.folder("proofs");
        for number in (0..=ENTRIES).step_by(41).chain([255, 256, 511, 512, 1023, 1024, ENTRIES]) {
            let proof = published.prove(number, std::slice::from_ref(&key)).unwrap();
            fs::write(proofs.join(format!("{number}.tlog-proof")), proof.to_text()).unwrap();
        }
        evidence
    }

    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.house.folder.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Runs a verifier over all of it.
    fn shown_to(&self, mut program: Command) -> Output {
        let arguments = [self.house.file(""), self.folder("checkpoints"), self.folder("proofs")];
        program.arg(&self.vkey).args(arguments).output().unwrap()
    }

    /// A verifier agrees with what is there, and sees each way in which it can be other.
    fn is_judged_by(&self, program: impl Fn() -> Command) {
        let said = self.shown_to(program());
        assert!(said.status.success(), "{}{}", text(&said.stdout), text(&said.stderr));
        assert!(text(&said.stdout).contains("1030 entries"), "{}", text(&said.stdout));
        for path in ["checkpoint", "tile/0/001", "tile/0/004.p/6", "tile/1/000.p/4", "tile/entries/002"] {
            let file = self.house.file(path);
            let whole = fs::read(&file).unwrap();
            let mut bent = whole.clone();
            let at = bent.len() / 3;
            bent[at] ^= 1;
            fs::remove_file(&file).unwrap();
            fs::write(&file, bent).unwrap();
            assert!(!self.shown_to(program()).status.success(), "a bit of {path} was changed");
            fs::write(&file, whole).unwrap();
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof/notary").join(name)
}

fn is_there(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|said| said.status.success())
}

#[tokio::test]
async fn go_agrees_on_every_size_every_entry_and_every_proof() {
    // As Debian packages it: no module proxy is asked.
    let environment = [("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOFLAGS", "")];
    let built = tempfile::tempdir().unwrap();
    let program = built.path().join("check");
    let mut build = Command::new("go");
    build.envs(environment).env("GOCACHE", built.path().join("cache"));
    match build.args(["build", "-o"]).arg(&program).arg(source("check.go")).output() {
        Ok(said) if said.status.success() => {}
        Ok(said) => return println!("skipped: Go lacks x/mod: {}", text(&said.stderr)),
        Err(_) => return println!("skipped: there is no Go here"),
    }
    Evidence::new().await.is_judged_by(|| Command::new(&program));
}

#[tokio::test]
async fn python_agrees_on_every_size_every_entry_and_every_proof() {
    let python = std::env::var("CALLVAULT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if !is_there(&python, &["-c", "import aics_tlog"]) {
        return println!("skipped: there is no Python with aics-tlog here (CALLVAULT_PYTHON)");
    }
    Evidence::new().await.is_judged_by(|| {
        let mut program = Command::new(&python);
        program.arg(source("check.py"));
        program
    });
}

#[tokio::test]
async fn openssl_believes_the_signature_of_the_checkpoint_and_of_bytes() {
    if !is_there("openssl", &["version"]) {
        return println!("skipped: there is no openssl here");
    }
    let house = House::new();
    let open = house.open().await;
    open.append(3).await;
    let sealed = open.notary.seal(NOW).await.unwrap().unwrap();
    let folder = house.folder.path();
    let key = open.notary.key().await;
    let pem = house.file(&format!("keys/{}.pem", key.id()));
    let verifies = |bytes: &[u8], signature: &[u8]| {
        fs::write(folder.join("signed"), bytes).unwrap();
        fs::write(folder.join("signature"), signature).unwrap();
        let mut openssl = Command::new("openssl");
        openssl.current_dir(folder).args(["pkeyutl", "-verify", "-rawin", "-pubin", "-in", "signed"]);
        openssl.args(["-sigfile", "signature", "-inkey"]).arg(&pem).output().unwrap().status.success()
    };
    let (body, signatures) = sealed.note.rsplit_once("\n\n").unwrap();
    let signature = BASE64.decode(signatures.trim_end().rsplit(' ').next().unwrap()).unwrap();
    let body = format!("{body}\n");
    assert!(verifies(body.as_bytes(), &signature[4..]));
    assert!(!verifies(body.replace("\n4\n", "\n5\n").as_bytes(), &signature[4..]));
    assert!(verifies(b"a certificate", &open.notary.sign(b"a certificate").await));
}
