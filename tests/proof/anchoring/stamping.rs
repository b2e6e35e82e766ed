//! Time-stamp authorities: tokens that openssl accepts, and authorities that give none.

use std::fs;
use std::time::Duration;

use callvault::config::AnchorsConfig;
use jiff::SignedDuration;

use super::house::{House, rewrite};
use crate::support::authority::{Authority, Manner, ca_file, openssl_accepts};

#[tokio::test]
async fn a_token_lies_beside_the_ledger_and_openssl_accepts_it_and_no_other_bytes() {
    let house = House::new();
    let authority = Authority::start_by(&house.clock, Manner::Honest).await;
    let open = house.open(&authority.section("tsa")).await;
    let sealed = open.grow(5).await;
    open.anchorer.take_stock().await.unwrap();
    open.round().await;
    assert_eq!(house.anchors(), ["6.checkpoint", "6.tsa.tsr", "tsa.ca.pem"]);
    assert_eq!(open.rows().await, [("tsa".to_owned(), 6, "anchor/6.tsa.tsr".to_owned())]);
    let file = |name: &str| house.file("anchor").join(name);
    let (data, token, ca) = (file("6.checkpoint"), file("6.tsa.tsr"), file("tsa.ca.pem"));
    assert_eq!(fs::read_to_string(&data).unwrap(), sealed.note);
    assert!(openssl_accepts(&data, &token, &ca));
    let mut altered = sealed.note.into_bytes();
    altered[20] ^= 1;
    rewrite(&data, &altered);
    assert!(!openssl_accepts(&data, &token, &ca));
    assert_eq!(house.damages(), Vec::<String>::new());
}

#[tokio::test]
async fn an_authority_is_asked_once_an_hour_and_only_when_there_is_something_new() {
    let house = House::new();
    let authority = Authority::start_by(&house.clock, Manner::Honest).await;
    let open = house.open(&authority.section("tsa")).await;
    open.round().await;
    assert_eq!(authority.requests(), 0, "nothing was sealed yet");
    open.grow(1).await;
    for _ in 0..3 {
        open.round().await;
    }
    open.grow(1).await;
    house.pass(30);
    open.round().await;
    assert_eq!(authority.requests(), 1);
    house.pass(31);
    open.round().await;
    assert_eq!(authority.requests(), 2);
    house.pass(600);
    open.round().await;
    assert_eq!(authority.requests(), 2, "nothing is new");
    let standing = open.standing().await;
    assert_eq!((standing.entries, standing.unanchored_since, standing.error), (3, None, None));
    let age = house.clock.now().duration_since(standing.last.unwrap());
    assert!((SignedDuration::from_hours(10)..SignedDuration::from_hours(11)).contains(&age), "{age}");
    // The clock was ahead, and is put back: what it noted then keeps nobody from being asked.
    open.grow(1).await;
    house.pass(-6000);
    open.round().await;
    assert_eq!(open.rows().await.len(), 3);
}

#[tokio::test]
async fn every_way_of_not_answering_is_told_with_a_remedy_and_healed_by_an_answer() {
    let house = House::new();
    let authority = Authority::start_by(&house.clock, Manner::Honest).await;
    let open = house.open(&authority.section("tsa")).await;
    open.anchorer.take_stock().await.unwrap();
    let table = [
        (Manner::Broken, "answered with HTTP status 503"),
        (Manner::Garbage, "is not a time-stamp reply in DER"),
        (Manner::Json, "did not answer with a time-stamp reply"),
        (Manner::Huge, "answered with more than 64 KiB"),
        (Manner::WrongImprint, "is a token over other bytes than ours"),
        (Manner::WrongNonce, "does not carry the nonce of our request"),
        (Manner::Refusing, "is a refusal (status 2; "),
        (Manner::Elsewhere, "answered with HTTP status 302"),
    ];
    let mut stamped = Vec::new();
    for (manner, words) in table {
        authority.behave(manner);
        let sealed = open.grow(1).await;
        house.pass(61);
        open.round().await;
        let error = open.error().await;
        assert!(error.starts_with("authority `tsa`: ") && error.contains(words), "{manner:?}: {error}");
        assert!(error.contains("; ") && !error.contains("/tsr"), "{error}");
        assert!(!house.anchors().contains(&format!("{}.checkpoint", sealed.size)), "{manner:?}");
        let standing = open.standing().await;
        assert!(standing.error_since.is_some() && standing.unanchored_since.is_some());

        authority.behave(Manner::Honest);
        house.pass(61);
        open.round().await;
        let standing = open.standing().await;
        assert_eq!((standing.entries, standing.error, standing.error_since), (sealed.size, None, None));
        stamped.push(sealed.size);
    }
    for size in stamped {
        let file = |name: String| house.file("anchor").join(name);
        assert!(openssl_accepts(
            &file(format!("{size}.checkpoint")),
            &file(format!("{size}.tsa.tsr")),
            &ca_file()
        ));
    }
}

#[tokio::test]
async fn who_is_not_there_or_silent_is_left_alone_for_a_while_and_keeps_nothing_from_being_sealed() {
    let house = House::new();
    let silent = Authority::start_by(&house.clock, Manner::Silent).await;
    let gone = silent.section("gone").replace(&silent.address.to_string(), "127.0.0.1:1");
    let config = house.config(&(silent.section("silent") + &gone));
    let anchors = AnchorsConfig { timeout: Duration::from_millis(300), ..config.anchors.clone() };
    let open = house.open_as(config, anchors).await;
    for asked in 1..4 {
        let sealed = open.grow(1).await;
        open.round().await;
        open.round().await;
        assert_eq!((silent.requests(), sealed.size), (asked, asked + 1));
        house.pass(61);
    }
    let errors: Vec<String> =
        open.status().await.anchors.into_iter().map(|anchor| anchor.error.unwrap_or_default()).collect();
    assert!(errors[0].contains("did not answer within 0.3 s"), "{errors:?}");
    assert!(errors[1].contains("cannot be reached"), "{errors:?}");
    assert_eq!((open.rows().await, house.anchors()), (vec![], vec![]));
}

#[tokio::test]
async fn a_day_without_an_answer_is_an_alert_until_there_is_one() {
    let house = House::new();
    let authority = Authority::start_by(&house.clock, Manner::Broken).await;
    let open = house.open(&authority.section("tsa")).await;
    open.grow(1).await;
    open.round().await;
    house.pass(25 * 60);
    assert_eq!(open.alerts().await, []);
    house.pass(2 * 60);
    let alerts = open.alerts().await;
    assert_eq!(alerts[0].key(), "anchor_overdue//authority tsa");
    insta::assert_snapshot!(alerts[0].message, @"the ledger has not been anchored for more than a day: authority `tsa`: 127.0.0.1 answered with HTTP status 503; compare the `url` of its [[anchor]] with the authority's documentation");
    authority.behave(Manner::Honest);
    open.round().await;
    assert_eq!(open.alerts().await, []);
    // Nothing new came since: an old token is no trouble.
    house.pass(100 * 24 * 60);
    assert_eq!(open.alerts().await, []);
    // Nobody was asked while the service was off: that is no trouble of the authority either.
    open.grow(1).await;
    house.pass(27 * 60);
    assert_eq!(open.alerts().await, []);
}

#[tokio::test]
async fn a_token_without_a_row_is_adopted_whether_the_run_died_or_the_database_was_lost() {
    let house = House::new();
    let authority = Authority::start_by(&house.clock, Manner::Honest).await;
    let open = house.open(&authority.section("tsa")).await;
    open.grow(3).await;
    open.round().await;
    let rows = open.rows().await;
    let forget = async || {
        let forget = sqlx::query("delete from anchors");
        let forget_standings = sqlx::query("delete from anchor_standings");
        open.state
            .db
            .write(async move |tx| {
                forget.execute(&mut *tx).await?;
                forget_standings.execute(tx).await?;
                Ok(())
            })
            .await
            .unwrap();
    };
    // It died between file and row, and the same checkpoint is still the latest.
    forget().await;
    open.round().await;
    assert_eq!((open.rows().await, authority.requests()), (rows.clone(), 1));
    // The next run begins with what is on disk, whatever else is there.
    forget().await;
    for (name, bytes) in [("9.tsa.tsr", "nothing"), ("4.other.tsr", "nothing"), ("note.txt", "hello")] {
        fs::write(house.file("anchor").join(name), bytes).unwrap();
    }
    open.anchorer.take_stock().await.unwrap();
    assert_eq!(open.rows().await, rows);
    let standing = open.standing().await;
    assert_eq!((standing.entries, standing.last.is_some()), (4, true));
    open.anchorer.take_stock().await.unwrap();
    assert_eq!(open.rows().await, rows);
}

#[tokio::test]
async fn a_file_in_the_place_of_a_token_is_told_and_left() {
    let house = House::new();
    let authority = Authority::start_by(&house.clock, Manner::Honest).await;
    let open = house.open(&authority.section("tsa")).await;
    open.grow(1).await;
    fs::create_dir(house.file("anchor")).unwrap();
    fs::write(house.file("anchor/2.tsa.tsr"), "something").unwrap();
    open.round().await;
    let error = open.error().await;
    assert!(error.contains("anchor/2.tsa.tsr") && error.contains("move it away"), "{error}");
    assert_eq!(fs::read_to_string(house.file("anchor/2.tsa.tsr")).unwrap(), "something");
    fs::remove_file(house.file("anchor/2.tsa.tsr")).unwrap();
    house.pass(1);
    open.round().await;
    assert_eq!(open.error().await, "");
}

#[tokio::test]
async fn two_authorities_stamp_the_same_bytes_and_former_certificates_stay() {
    let house = House::new();
    let one = Authority::start_by(&house.clock, Manner::Honest).await;
    let other = Authority::start_by(&house.clock, Manner::Honest).await;
    let lines = one.section("one") + &other.section("other");
    let open = house.open(&lines).await;
    open.grow(1).await;
    open.round().await;
    open.anchorer.take_stock().await.unwrap();
    for name in ["one", "other"] {
        let token = house.file("anchor").join(format!("2.{name}.tsr"));
        assert!(openssl_accepts(&house.file("anchor/2.checkpoint"), &token, &ca_file()), "{name}");
    }
    drop(open);
    let ours = fs::read_to_string(ca_file()).unwrap();
    let newer = house.folder.path().join("newer.pem");
    fs::write(&newer, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let lines = one.section("one").replace(ca_file().to_str().unwrap(), newer.to_str().unwrap());
    for _ in 0..2 {
        house.open(&lines).await.anchorer.take_stock().await.unwrap();
        let kept = fs::read_to_string(house.file("anchor/one.ca.pem")).unwrap();
        assert_eq!(kept, ours.clone() + &fs::read_to_string(&newer).unwrap());
    }
}
