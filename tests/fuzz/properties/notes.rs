//! Texts that vouch for the ledger: each reads what it wrote and nothing else, and nothing altered is believed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use callvault::base::digest::Digest;
use callvault::formats::tlog::{
    Checkpoint, Note, SigningKey, TlogProof, VerifyingKey, WitnessKey, leaf_hash, node_hash, sign,
};

use super::{altered, assert_words};

/// The log whose notes are among the seeds.
const LOG: &str = "example.com/log";
const WITNESS: &str = "witness.example/w1";

pub(crate) fn hold(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    read(&text);
    vouch_for_notes(&text);
    vouch_for_entries(input);
    vouch_as_witness(&text);
}

fn key(name: &str) -> SigningKey {
    SigningKey::from_seed(name, &[1; 32]).expect("it can be a key's name")
}

/// Whatever can be read is written the same way again.
fn read(text: &str) {
    match Checkpoint::parse(text) {
        Ok(checkpoint) => assert!(text.starts_with(&checkpoint.to_text()), "{checkpoint:?}"),
        Err(error) => assert_words(&error.to_string()),
    }
    if let Ok(proof) = TlogProof::parse(text) {
        assert_eq!(proof.to_text(), text);
    }
    if let Ok(key) = VerifyingKey::from_vkey(text) {
        assert_eq!(key.to_vkey(), text);
    }
    if let Ok(witness) = WitnessKey::from_vkey(text) {
        assert!(text.starts_with(&format!("{}+{}+", witness.name(), witness.id())));
    }
    if let Ok(note) = Note::parse(text) {
        assert!(text.starts_with(note.text()) && note.text().ends_with('\n'));
        // Without the key nobody makes a signature: what is believed has the one line that the key would write.
        if let Ok(believed) = note.verify(&[key(LOG).verifying_key()]) {
            let genuine = sign(believed, &[key(LOG)]);
            let line = genuine.lines().last().expect("it has a signature");
            assert!(text.lines().any(|other| other == line), "believed without a signature");
        }
    }
}

/// A text that the log signed is believed, and with any change it is not.
fn vouch_for_notes(text: &str) {
    let text: String = text.chars().filter(|c| !c.is_control() || *c == '\n').chain(['\n']).collect();
    let (key, note) = (key(LOG), sign(&text, &[key(LOG)]));
    let keys = [key.verifying_key()];
    assert_eq!(Note::parse(&note).expect("it has the form").verify(&keys), Ok(&*text));
    let altered = altered(&note);
    let believed = Note::parse(&altered).is_ok_and(|note| note.verify(&keys).is_ok());
    assert!(!believed || altered == note, "{altered:?}");
    let mut lines = text.split('\n').filter(|line| !line.is_empty());
    let origin = lines.next().unwrap_or(LOG).to_owned();
    let size = lines.next().map_or(0, |line| line.len() as u64);
    let checkpoint = Checkpoint { origin, size, root: Digest::of(&text) };
    assert_eq!(Checkpoint::parse(&checkpoint.to_text()), Ok(checkpoint));
}

/// The proof of an entry holds for this entry, and with any change for none.
fn vouch_for_entries(input: &[u8]) {
    let (entry, sibling) = input.split_at(input.len() / 2);
    let (leaf, other) = (leaf_hash(entry), leaf_hash(sibling));
    let index = u64::from(input.first().is_some_and(|byte| byte & 1 == 1));
    let root = if index == 0 { node_hash(&leaf, &other) } else { node_hash(&other, &leaf) };
    let checkpoint = Checkpoint { origin: LOG.to_owned(), size: 2, root };
    let signed = sign(&checkpoint.to_text(), &[key(LOG)]);
    let proof = TlogProof { entry: entry.to_vec(), index, hashes: vec![other], checkpoint: signed };
    let text = proof.to_text();
    assert_eq!(TlogProof::parse(&text), Ok(proof.clone()));
    let keys = [key(LOG).verifying_key()];
    assert_eq!(proof.verify(&keys), Ok(checkpoint));
    let altered = altered(&text);
    let believed = TlogProof::parse(&altered).is_ok_and(|proof| proof.verify(&keys).is_ok());
    assert!(!believed || altered == text, "{altered:?}");
}

/// A witness's line is its word on this text, and with any change on none.
fn vouch_as_witness(text: &str) {
    let key = key(WITNESS);
    let public = &key.verifying_key().to_der()[12..];
    let id = Digest::of([WITNESS.as_bytes(), &[b'\n', 4], public].concat());
    let id = &id.as_bytes()[..4];
    let vkey =
        format!("{WITNESS}+{}+{}", callvault::base::digest::hex(id), BASE64.encode([&[4], public].concat()));
    let witness = WitnessKey::from_vkey(&vkey).expect("it is the key of a witness");
    let time = text.len() as u64;
    let signature = key.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
    let word = BASE64.encode([id, &time.to_be_bytes(), &signature].concat());
    let line = format!("\u{2014} {WITNESS} {word}\n");
    assert_eq!(witness.cosignatures(&line, text), Ok(line.clone()));
    let altered = altered(&line);
    if let Ok(kept) = witness.cosignatures(&altered, text) {
        assert_eq!(kept, line, "{altered:?}");
    }
    let _ = witness.cosignatures(text, text);
}
