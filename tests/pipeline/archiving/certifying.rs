//! Certificates of completeness: what they say, when they are issued, and that they are issued once.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use callvault::base::clock::Clock;
use callvault::base::counts::Counts;
use callvault::config::ExclusionRule;
use callvault::proof::sealed_vault::SealedVault;
use callvault::proof::verify::{Class, Damage, Report, Request, Scope, Verification};
use callvault::watch::status::{Reader, Status};
use serde_json::Value;

use super::reconciling::{account, counts, one_of_each, tamper};
use crate::support::station::{NONE, Station, TODAY};

/// A file of the certificate of the last day.
fn file(station: &Station, revision: u32, extension: &str) -> PathBuf {
    station.path_of(&format!("certificate-{revision}.{extension}"))
}

fn certificate(station: &Station, revision: u32) -> Value {
    serde_json::from_slice(&fs::read(file(station, revision, "json")).unwrap()).unwrap()
}

/// What the companion of a certificate of the last day names, one line of this type each.
fn names(station: &Station, revision: u32, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(file(station, revision, "names.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["type"] == kind).collect()
}

/// The station's days settle: nothing new comes with another reading.
async fn settle(station: &mut Station) {
    station.backfill().await;
    station.backfill().await;
}

async fn open_findings(station: &Station, kind: &'static str) -> i64 {
    let db = station.database().await;
    let open = "select count(*) from findings where kind = ? and closed_at_ms is null";
    sqlx::query_scalar(open).bind(kind).fetch_one(&db).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_settles_gets_one_certificate_with_all_that_an_auditor_needs() {
    let mut station = Station::new(0).await;
    station.add_call("a.wav", 0);
    station.add_call("b.wav", 1);
    station.backfill().await;
    assert!(!file(&station, 1, "json").exists(), "it has not settled");
    station.backfill().await;
    let told = certificate(&station, 1);
    assert_eq!(told["pbx"], serde_json::json!({"id": "hq", "sn": "369392500001"}));
    assert_eq!(
        (&told["day"], &told["revision"], &told["former"]),
        (&"2024-03-14".into(), &1.into(), &Value::Null)
    );
    assert_eq!(told["complete"], true);
    assert_eq!(told["evidence"]["verdict"], "whole", "{told}");
    let page = fs::read_to_string(file(&station, 1, "html")).unwrap();
    for part in [
        "whole: no sign that a call is missing",
        "the API, over plain HTTP",
        told["names"]["root"].as_str().unwrap(),
    ] {
        let page = page.replace(' ', "");
        assert!(page.contains(&part.replace(' ', "")), "{part}: {page}");
    }
    assert_eq!(told["readings"]["whole"], 2);
    assert_eq!(told["utc_offsets_s"], serde_json::json!([3600]));
    let list = fs::read_to_string(file(&station, 1, "sha256")).unwrap();
    let names: Vec<&str> = list.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    assert_eq!(names, ["a.wav", "a.wav.json", "b.wav", "b.wav.json", "calls-1.jsonl"]);
    let archived: i64 =
        station.value("select count(*) from ledger where entry like '%\"type\":\"archived\"%'").await;
    assert!(told["ledger_size"].as_i64().unwrap() >= archived);
    station.backfill().await;
    assert!(!file(&station, 2, "json").exists(), "nothing new, no new certificate");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_of_others_check_it() {
    let mut station = Station::new(5).await;
    settle(&mut station).await;
    let folder = file(&station, 1, "json").parent().unwrap().to_owned();
    let sums = Command::new("sha256sum")
        .args(["-c", "--quiet", "--strict", "certificate-1.sha256"])
        .current_dir(&folder)
        .status();
    assert!(sums.unwrap().success());
    let page = fs::read_to_string(file(&station, 1, "html")).unwrap();
    let command = page.split("<pre>").nth(1).unwrap().split("\nsha256sum").next().unwrap();
    let verify = |of: &PathBuf| Command::new("sh").args(["-c", command]).current_dir(of).output();
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: no `openssl`; the signature is not checked by it");
        return;
    }
    let verified = verify(&folder).unwrap();
    assert!(verified.status.success(), "{command}: {verified:?}");
    // One digit changed is enough.
    let elsewhere = station.input().join("a/b/c/d");
    fs::create_dir_all(&elsewhere).unwrap();
    fs::create_dir_all(station.input().join("_ledger")).unwrap();
    for name in ["certificate-1.json", "certificate-1.json.sig"] {
        let bytes = fs::read(folder.join(name)).unwrap();
        fs::write(
            elsewhere.join(name),
            String::from_utf8(bytes.clone())
                .map_or(bytes, |text| text.replace("\"missing\":0", "\"missing\":1").into_bytes()),
        )
        .unwrap();
    }
    let copied = Command::new("cp")
        .arg("-r")
        .arg(station.archive().join("_ledger/keys"))
        .arg(station.input().join("_ledger"))
        .status();
    assert!(copied.unwrap().success());
    assert!(!verify(&elsewhere).unwrap().status.success(), "a changed certificate is accepted");
    station.check().await;
}

/// By the format's document alone, in Python.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_shares_no_code_with_us_checks_all_of_it() {
    let mut station = one_of_each().await;
    let mut short = station.call("short.wav", 21);
    (short.talk_duration_s, short.call_duration_s) = (600, 605);
    let mut unrecorded = station.call("", 22);
    unrecorded.audio = None;
    station.pbx.world(|world| [short, unrecorded].into_iter().for_each(|call| world.add_call(call)));
    settle(&mut station).await;
    station.add_call("late.wav", 23);
    settle(&mut station).await;
    assert_eq!(certificate(&station, 2)["former"]["revision"], 1);
    let check = || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proof/notary/documents.py");
        Command::new("python3").arg(script).arg(station.archive()).output()
    };
    let (Ok(said), true) = (check(), Command::new("openssl").arg("version").output().is_ok()) else {
        eprintln!("SKIPPED: no `python3` or no `openssl`; certificates and lists are not checked by them");
        return;
    };
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
    // One byte in each kind of file is enough.
    for name in [
        "calls-1.jsonl",
        "certificate-1.names.jsonl",
        "certificate-1.sha256",
        "certificate-1.html",
        "certificate-2.json",
    ] {
        let place = station.path_of(name);
        let whole = fs::read(&place).unwrap();
        let mut bytes = whole.clone();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::remove_file(&place).unwrap();
        fs::write(&place, bytes).unwrap();
        let said = check().unwrap();
        assert!(!said.status.success(), "{name}: {}", String::from_utf8_lossy(&said.stdout));
        fs::remove_file(&place).unwrap();
        fs::write(&place, whole).unwrap();
        fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o440)).unwrap();
    }
    station.check().await;
}

/// Nothing that a certificate consists of can be changed unseen, also where nobody asks for a full verification.
#[tokio::test(flavor = "multi_thread")]
async fn a_quick_verification_reads_every_file_of_a_certificate() {
    let mut station = Station::new(0).await;
    station.add_call("a.wav", 0);
    settle(&mut station).await;
    for extension in ["json", "json.sig", "names.jsonl", "html", "sha256"] {
        let place = file(&station, 1, extension);
        let whole = fs::read(&place).unwrap();
        let mut bytes = whole.clone();
        // As long as before: its size tells nothing.
        bytes[10] ^= 1;
        fs::remove_file(&place).unwrap();
        fs::write(&place, bytes).unwrap();
        let report = verify(&station).await;
        let damaged: Vec<_> =
            report.damaged.iter().map(|damage| (damage.class, damage.path.as_str())).collect();
        let path = format!("hq/2024/03/14/certificate-1.{extension}");
        assert_eq!(damaged, [(Class::Altered, path.as_str())], "{extension}");
        assert_eq!(open_findings(&station, "file_altered").await, 1);
        fs::remove_file(&place).unwrap();
        fs::write(&place, whole).unwrap();
        fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o440)).unwrap();
        let report = verify(&station).await;
        assert!(report.damaged.is_empty() && report.whole, "{extension}: {:?}", report.damaged);
        assert_eq!(open_findings(&station, "file_altered").await, 0);
    }
    // Whoever changes the database to match is contradicted by the ledger.
    tamper(&station, "update day_files set sha256 = zeroblob(32) where path like '%14/certificate-1.html'")
        .await;
    let report = verify(&station).await;
    let contradicted = |damage: &&Damage| damage.class == Class::LedgerMismatch;
    let contradicted: Vec<&str> =
        report.damaged.iter().filter(contradicted).map(|damage| damage.path.as_str()).collect();
    assert_eq!(contradicted, ["hq/2024/03/14/certificate-1.html"], "{:?}", report.damaged);
    tamper(
        &station,
        "update day_files set sha256 = (select unhex(entry ->> 'page_sha256') from ledger
             where entry ->> 'day' = '2024-03-14' and entry ->> 'page_sha256' is not null)
         where path like '%14/certificate-1.html'",
    )
    .await;
    assert!(verify(&station).await.damaged.is_empty());
    station.expect_unsealed();
    station.check().await;
}

async fn verify(station: &Station) -> Report {
    let opened = SealedVault::open(station.config.clone(), Clock::system()).await.unwrap();
    let request = Request::of(Scope::Quick);
    Verification::new(&opened, request, Default::default()).run().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_archived_is_named_with_its_reason_and_shown_on_the_page() {
    let mut station = one_of_each().await;
    station.add_call("<b>&.wav", 20);
    settle(&mut station).await;
    let told = certificate(&station, 1);
    assert_eq!((&told["complete"], &told["sums"]), (&false.into(), &true.into()));
    let named: Vec<String> = names(&station, 1, "unarchived")
        .iter()
        .map(|one| {
            format!(
                "{} {} {}",
                one["name"].as_str().unwrap(),
                one["state"].as_str().unwrap(),
                one["reason"].as_str().unwrap()
            )
        })
        .collect();
    insta::assert_snapshot!(named.join("\n"), @r"
    stuck.wav stuck html_body
    missing.wav missing missing
    pending.wav pending not_ready
    excluded.wav excluded agents
    ");
    // What is signed has their commitments, and the names of rules stand with the names.
    let signed: Vec<(&Value, &Value)> = told["unarchived"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["state"], &one["reason"]))
        .collect();
    assert_eq!(signed[3], (&"excluded".into(), &Value::Null));
    assert_eq!(signed[1], (&"missing".into(), &"missing".into()));
    let page = fs::read_to_string(file(&station, 1, "html")).unwrap();
    for part in [
        "Not complete",
        "Of 6 recordings that the PBX listed, 3 are not in the archive: 1 missing on the PBX, 1 still to be fetched, 1 \
         stuck after repeated failures.",
        "kept out by the rule `agents`",
        "the PBX lists them but says that it has no such file",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("<b>&"), "a name became markup");
    assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"));
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_opened_again_closes_with_a_revision_that_names_the_former() {
    let mut station = Station::new(0).await;
    station.add_call("first.wav", 0);
    settle(&mut station).await;
    station.add_call("late.wav", 1);
    station.backfill().await;
    assert!(!file(&station, 2, "json").exists(), "it is open");
    station.backfill().await;
    station.config.exclude = vec![ExclusionRule {
        name: "all".into(),
        extension: vec!["1003".into()],
        ..ExclusionRule::default()
    }];
    station.pbx.world(|world| world.delete_audio(b"gone.wav"));
    settle(&mut station).await;
    let (first, second) = (certificate(&station, 1), certificate(&station, 2));
    assert_eq!((&first["listed"], &second["listed"]), (&1.into(), &2.into()));
    assert_eq!(second["former"]["revision"], 1);
    assert!(!file(&station, 3, "json").exists(), "the rule concerns nothing that is not archived");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_retries_open_the_days_that_they_change() {
    let mut station = one_of_each().await;
    settle(&mut station).await;
    assert_eq!(certificate(&station, 1)["excluded"], 1);
    station.config.exclude.clear();
    settle(&mut station).await;
    let second = certificate(&station, 2);
    assert_eq!(
        (&second["excluded"], &second["archived"], &second["stuck"]),
        (&0.into(), &2.into(), &1.into())
    );
    station.check().await;

    station.retry().await;
    settle(&mut station).await;
    let last = certificate(&station, 3);
    assert_eq!((&last["stuck"], &last["archived"]), (&0.into(), &3.into()), "{last}");
    assert_eq!(last["former"]["revision"], 2);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_recordings_are_told_once_and_again_only_if_there_are_more() {
    let mut station = Station::new(0).await;
    for (minute, name) in (0..).zip(["here.wav", "gone.wav", "gone-too.wav"]) {
        station.add_call(name, minute);
    }
    station.pbx.world(|world| world.delete_audio(b"gone.wav"));
    settle(&mut station).await;
    assert_eq!(open_findings(&station, "day_incomplete").await, 1);
    // A person has seen it.
    tamper(&station, "update findings set closed_at_ms = 1").await;
    station.add_call("later.wav", 5);
    settle(&mut station).await;
    assert_eq!(certificate(&station, 2)["missing"], 1);
    assert_eq!(open_findings(&station, "day_incomplete").await, 0, "the same one is no news");
    station.add_call("lost.wav", 6);
    station.pbx.world(|world| world.delete_audio(b"lost.wav"));
    settle(&mut station).await;
    assert_eq!(open_findings(&station, "day_incomplete").await, 1, "another one is");
    station.pbx.world(|world| {
        world.restore_audio(b"gone.wav");
        world.restore_audio(b"lost.wav");
    });
    settle(&mut station).await;
    assert_eq!(open_findings(&station, "day_incomplete").await, 0, "all are there");
    assert_eq!(certificate(&station, 4)["complete"], true);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_does_not_add_up_is_certified_as_that() {
    let mut station = Station::new(0).await;
    station.add_call("a.wav", 0);
    station.add_call("b.wav", 1);
    station.backfill().await;
    tamper(
        &station,
        "update recordings set state = 'excluded', reason = 'x' where name = cast('a.wav' as blob)",
    )
    .await;
    station.backfill().await;
    // No rule excludes it: the next start would let it in again.
    let told = certificate(&station, 1);
    assert_eq!((&told["sums"], &told["complete"]), (&false.into(), &false.into()), "{told}");
    assert_eq!((&told["listed"], &told["archived"], &told["excluded"]), (&2.into(), &1.into(), &0.into()));
    assert_eq!(told["differences"], serde_json::json!({"count": 1, "by": {"file_without_archived": 1}}));
    assert_eq!(names(&station, 1, "difference")[0]["kind"], "file_without_archived");
    let page = fs::read_to_string(file(&station, 1, "html")).unwrap();
    assert!(page.contains("The numbers do not add up") && page.contains("\u{2260}"), "{page}");
    assert_eq!(open_findings(&station, "day_does_not_sum").await, 1);
    let status = status(&station).await;
    assert_eq!(status.pbx["hq"].days.not_summing, [TODAY]);
    assert_eq!(status.needs_attention, ["hq"]);
}

async fn status(station: &Station) -> Status {
    let db = station.database().await;
    let now = callvault::base::clock::now();
    Reader::new(&station.config).read(&mut db.acquire().await.unwrap(), now).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_how_the_days_stand() {
    let mut station = Station::new(9).await;
    let gone = station.pbx.truth()[0].name.clone();
    station.pbx.world(|world| world.delete_audio(&gone));
    settle(&mut station).await;
    station.add_call("late.wav", 1);
    station.backfill().await;
    let days = &status(&station).await.pbx["hq"].days;
    assert_eq!((days.open, days.settled, days.certified, days.incomplete), (1, 2, 3, 1), "{days:?}");
    let latest = days.latest.as_ref().unwrap();
    assert_eq!((latest.day, latest.revision, latest.complete), (TODAY, 1, true));
    assert!(days.not_summing.is_empty());
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_something_has_is_left_to_it() {
    let mut station = Station::new(0).await;
    station.add_call("a.wav", 0);
    station.backfill().await;
    let planted = file(&station, 1, "html");
    fs::write(&planted, "not ours").unwrap();
    station.backfill().await;
    assert_eq!(certificate(&station, 2)["revision"], 2);
    assert_eq!(station.value::<i64>("select revision from days where day = '2024-03-14'").await, 2);
    assert_eq!(fs::read_to_string(&planted).unwrap(), "not ours");
    assert!(!file(&station, 1, "json").exists());
    fs::remove_file(planted).unwrap();
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_issued_once_however_many_issue_them() {
    let mut station = Station::new(12).await;
    station.backfill().await;
    tamper(&station, "update days set state = 'settled', settled_at_ms = last_read_at_ms, revision = 1")
        .await;
    let opened = SealedVault::open(station.config.clone(), Clock::system()).await.unwrap();
    let pbx = &opened.vault.config.pbx[0];
    let issued = tokio::join!(
        async { opened.issuer().issue_due(pbx).await.unwrap() },
        async { opened.issuer().issue_due(pbx).await.unwrap() },
        async { opened.issuer().issue_due(pbx).await.unwrap() }
    );
    assert_eq!(issued.0 + issued.1 + issued.2, 3, "{issued:?}");
    opened.seal().await.unwrap();
    drop(opened);
    assert_eq!(station.value::<i64>("select count(*) from certificates").await, 3);
    assert_eq!(station.value::<i64>("select max(revision) from certificates").await, 1);
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn room_that_is_short_is_left_to_recordings() {
    let mut station = Station::new(0).await;
    station.add_call("a.wav", 0);
    station.backfill().await;
    tamper(&station, "update days set state = 'settled', settled_at_ms = last_read_at_ms, revision = 1")
        .await;
    let mut short = station.config.clone();
    short.archive.free_bytes_min = u64::MAX;
    let opened = SealedVault::open(short, Clock::system()).await.unwrap();
    let error = opened.issuer().issue_due(&opened.vault.config.pbx[0]).await.unwrap_err();
    assert!(error.to_string().contains("is full"), "{error:#}");
    drop(opened);
    assert_eq!(station.value::<i64>("select count(*) from certificate_drafts").await, 0);
    assert!(!file(&station, 1, "json").exists());
    station.backfill().await;
    assert!(file(&station, 1, "json").exists());
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_and_a_conflict_are_told_beside_the_numbers() {
    let mut station = Station::new(0).await;
    let mut short = station.call("short.wav", 0);
    (short.talk_duration_s, short.call_duration_s) = (600, 605);
    station.pbx.world(|world| world.add_call(short));
    settle(&mut station).await;
    let told = certificate(&station, 1);
    assert_eq!(told["suspect"]["by"], serde_json::json!({"short": 1}));
    assert_eq!(names(&station, 1, "suspect")[0]["talk_s"], 600);
    let entry = names(&station, 1, "suspect")[0]["entry"].as_i64().unwrap();
    assert_eq!(told["suspect"]["entries"], serde_json::json!([entry.to_string()]));
    assert!(account(&station, TODAY).await.needs_attention());
    assert_eq!(counts(&account(&station, TODAY).await), (1, Counts { archived: 1, ..NONE }));
    station.check().await;
}
