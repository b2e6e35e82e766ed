//! Witnesses: their word on the published checkpoint, and ledgers that they do not vouch for.

use std::fs;

use super::house::House;
use super::witness::Witness;
use crate::support::authority::{Authority, Manner, ca_file, openssl_accepts};

#[tokio::test]
async fn a_witness_follows_the_ledger_and_its_word_is_published_and_stamped() {
    let (house, witness) = (House::new(), Witness::start().await);
    let authority = Authority::start_by(&house.clock, Manner::Honest).await;
    let open = house.open(&(witness.section() + &authority.section("tsa"))).await;
    witness.inner.lock().unwrap().trusted = vec![open.notary.key().await];
    for count in [1, 254, 1, 1, 300, 700] {
        let sealed = open.grow(count).await;
        open.round().await;
        assert_eq!(witness.answers(), [200], "{count}");
        let published = fs::read_to_string(house.file("checkpoint")).unwrap();
        assert!(published.starts_with(&sealed.note) && witness.has_signed(&published));
        let stamped = house.file("anchor").join(format!("{}.checkpoint", sealed.size));
        assert_eq!(fs::read_to_string(&stamped).unwrap(), published);
        let token = house.file("anchor").join(format!("{}.tsa.tsr", sealed.size));
        assert!(openssl_accepts(&stamped, &token, &ca_file()));
        assert_eq!(house.damages(), Vec::<String>::new());
        house.pass(60);
    }
    // Its word stays when there is nothing new.
    open.notary.seal(house.clock.now()).await.unwrap();
    assert!(witness.has_signed(&fs::read_to_string(house.file("checkpoint")).unwrap()));
    let names: Vec<String> = open.status().await.anchors.into_iter().map(|anchor| anchor.name).collect();
    assert_eq!(names, ["tsa", "witness.example/w1"]);
}

#[tokio::test]
async fn a_witness_that_has_seen_another_size_is_shown_a_proof_from_there() {
    let (house, witness) = (House::new(), Witness::start().await);
    let open = house.open(&witness.section()).await;
    witness.inner.lock().unwrap().trusted = vec![open.notary.key().await];
    let first = open.grow(9).await;
    open.round().await;
    open.grow(20).await;
    house.pass(60);
    // It has lost what it saw since: or we have, which is the other way round.
    witness.inner.lock().unwrap().seen = None;
    witness.answers();
    open.round().await;
    assert_eq!(witness.answers(), [409, 200]);
    open.grow(20).await;
    house.pass(60);
    witness.inner.lock().unwrap().seen = Some((first.size, first.root));
    open.round().await;
    assert_eq!((witness.answers(), open.error().await), (vec![409, 200], String::new()));
    assert_eq!(open.standing().await.entries, 50);
}

#[tokio::test]
async fn why_a_witness_does_not_vouch_is_told_with_a_remedy() {
    let (house, witness) = (House::new(), Witness::start().await);
    let open = house.open(&witness.section()).await;
    let sealed = open.grow(9).await;
    let error = async || {
        open.round().await;
        house.pass(60);
        open.error().await
    };
    let words = error().await;
    assert!(words.contains("does not know this ledger") && words.contains("`callvault ledger`"), "{words}");
    let stranger =
        callvault::formats::tlog::SigningKey::from_seed("stranger", &[3; 32]).unwrap().verifying_key();
    witness.inner.lock().unwrap().trusted = vec![stranger];
    assert!(error().await.contains("does not trust the key"));
    witness.inner.lock().unwrap().trusted = vec![open.notary.key().await];
    witness.inner.lock().unwrap().seen = Some((5, callvault::base::digest::Digest::of("other")));
    assert!(error().await.contains("our ledger does not continue"));
    witness.inner.lock().unwrap().seen = Some((sealed.size, callvault::base::digest::Digest::of("other")));
    assert!(error().await.contains("another ledger of this name and size"));
    witness.inner.lock().unwrap().seen = Some((1000, sealed.root));
    let words = error().await;
    assert!(words.contains("has seen 1000 entries") && words.contains("restore the newest"), "{words}");
    witness.inner.lock().unwrap().seen = None;
    witness.inner.lock().unwrap().lies = true;
    assert!(error().await.contains("its signature is not over our checkpoint"));
    assert_eq!(
        fs::read_to_string(house.file("checkpoint")).unwrap(),
        sealed.note,
        "and none of it was published"
    );
    witness.inner.lock().unwrap().lies = false;
    assert_eq!(error().await, "");
    assert!(witness.has_signed(&fs::read_to_string(house.file("checkpoint")).unwrap()));
}
