//! How long it takes: an archive of a great many recordings, made from one.
//!
//! `CALLVAULT_FULL=1` makes 1,000,000 instead of 3,000, and demands that they are rebuilt within 10 minutes.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use callvault::archive::{self, Area, AreaOwner, survey};
use callvault::base::digest::Digest;
use callvault::base::recording::{RecordingKind, RecordingName};
use callvault::base::salt::Salt;
use callvault::formats::cdr::CdrRow;
use callvault::formats::salted::Lines;
use callvault::formats::tlog::SigningKey;
use callvault::proof::notary::{FOLDER, Published};
use callvault::store::ledger::{self, ArchivedFacts, ListFacts, commitment};
use jiff::civil::{Date, date};
use jiff::{Timestamp, ToSpan as _};
use serde_json::Value;

use super::publishing::publish;
use crate::support::station::Station;

/// What is promised of a million.
const WITHIN: Duration = Duration::from_secs(600);
const PER_DAY: u32 = 1000;
/// The name in all that is copied.
const NAME: &str = "20240314-0000000.wav";
const FIRST_DAY: Date = date(2021, 1, 1);

/// What a recording leaves in the archive, as text to be copied.
struct Pattern {
    sidecar: String,
    salt: String,
    head: String,
    call: Value,
    sha256: Digest,
    sn: String,
}

impl Pattern {
    /// The day of the pattern, as it stands in paths.
    const FOLDER: &str = "2024/03/14";

    async fn of(station: &Station) -> Self {
        let audio = station.path_of(NAME);
        let sidecar = fs::read_to_string(audio.with_extension("wav.json")).unwrap();
        let told: Value = serde_json::from_str(&sidecar).unwrap();
        let list = fs::read_to_string(audio.with_file_name("calls-1.jsonl")).unwrap();
        let mut lines = list.lines().map(str::to_owned);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            salt: text(&told["salt"]),
            sha256: text(&told["file"]["sha256"]).parse().unwrap(),
            sn: text(&told["pbx"]["sn"]),
            head: lines.next().unwrap(),
            call: lines.find_map(|line| serde_json::from_str(&line).ok()).unwrap(),
            sidecar,
        }
    }

    /// Writes one day of recordings, and returns their entries.
    fn write_day(&self, root: &Path, day: Date, numbers: std::ops::Range<u32>) -> Vec<Vec<u8>> {
        let folder = day.strftime("%Y/%m/%d").to_string();
        let directory = root.join("hq").join(&folder);
        fs::create_dir_all(&directory).unwrap();
        let mut list = self.head.replace("2024-03-14", &day.to_string());
        let (mut sums, mut entries) = (String::new(), Vec::new());
        for number in numbers {
            let name = format!("{}-{number:07}.wav", day.strftime("%Y%m%d"));
            let salt = Salt::random();
            let sidecar = self.sidecar.replace(NAME, &name).replace(Self::FOLDER, &folder);
            let sidecar = sidecar.replace(&self.salt, serde_json::to_value(salt).unwrap().as_str().unwrap());
            let (sidecar_sha256, sha256) = (Digest::of(&sidecar), self.sha256);
            // The audio of a file that the ledger tells of is not read.
            fs::write(directory.join(&name), "").unwrap();
            fs::write(directory.join(format!("{name}.json")), sidecar).unwrap();
            write!(sums, "{sha256}  {name}\n{sidecar_sha256}  {name}.json\n").unwrap();
            write!(list, "\n{}", self.call_line(&name, &folder)).unwrap();
            let recording =
                commitment(&salt, RecordingKind::Call, "hq", &self.sn, &RecordingName::new(name).unwrap());
            let (pbx, size_bytes, gap) = ("hq", 44, None);
            let facts = ArchivedFacts {
                conflict: false,
                pbx,
                day,
                recording,
                sha256,
                sidecar_sha256,
                size_bytes,
                gap,
                came: None,
            };
            let at = Timestamp::from_millisecond(1_700_000_000_000 + i64::from(number)).unwrap();
            entries.push(ledger::archived(&facts, at).to_canonical_json().into_bytes());
        }
        list.push('\n');
        let (sha256, lines) = (Digest::of(&list), Lines::after_head(&list));
        let facts = ListFacts { pbx: "hq", day, number: 1, sha256, lines };
        entries.push(ledger::list(&facts, Timestamp::UNIX_EPOCH).to_canonical_json().into_bytes());
        writeln!(sums, "{sha256}  calls-1.jsonl").unwrap();
        fs::write(directory.join("calls-1.jsonl"), list).unwrap();
        fs::write(directory.join("SHA256SUMS"), sums).unwrap();
        entries
    }

    fn call_line(&self, name: &str, folder: &str) -> String {
        let mut call = self.call.clone();
        call["row"]["recording"] = name.into();
        call["recording"] = format!("hq/{folder}/{name}").into();
        let row = CdrRow::from_raw_json(&call["row"].to_string()).unwrap();
        call["identity"] = row.identity().to_string().into();
        call["version"] = row.version().to_string().into();
        call.to_string()
    }
}

/// Proofs, from opening the ledger to a proof that was checked, each of another place in it.
const PROOFS: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_million_recordings_are_rebuilt_within_minutes() {
    let is_full = std::env::var("CALLVAULT_FULL").is_ok_and(|full| full == "1");
    let recordings: u32 = if is_full { 1_000_000 } else { 3_000 };
    let mut station = Station::followed(0).await;
    station.add_call(NAME, 0);
    station.backfill().await;
    let pattern = Pattern::of(&station).await;
    let root = station.archive().to_owned();
    let owner = survey::owner(&*archive::require(&root).unwrap(), "hq").unwrap().unwrap();
    station.lose_state().await;
    fs::remove_dir_all(root.join(FOLDER)).unwrap();
    fs::remove_dir_all(root.join("hq/2024")).unwrap();

    let began = Instant::now();
    let mut entries = Vec::new();
    for (number, day) in (0..recordings / PER_DAY).zip(FIRST_DAY.series(1.day())) {
        entries.extend(pattern.write_day(&root, day, number * PER_DAY..(number + 1) * PER_DAY));
    }
    let of =
        AreaOwner { archive_id: &owner.archive_id, state_id: &owner.state_id, now: Timestamp::UNIX_EPOCH };
    let key = SigningKey::from_seed("callvault/million", &[7; 32]).unwrap();
    publish(&Area::open(&root, FOLDER, of).unwrap(), &key, &entries);
    drop(entries);
    println!("{recordings} recordings written in {:.1} s", began.elapsed().as_secs_f64());

    let began = Instant::now();
    let report = station.rebuild().await;
    let elapsed = began.elapsed();
    println!("{recordings} recordings, their calls and entries rebuilt in {:.1} s", elapsed.as_secs_f64());
    let expected = i64::from(recordings);
    assert_eq!((report.damaged, &report.damage), (0, &vec![]));
    let published = expected + i64::from(recordings / PER_DAY);
    assert_eq!((report.ledger.published, report.ledger.appended, report.ledger.lost), (published, 0, 0));
    assert_eq!((report.pbx["hq"].counts.archived, report.pbx["hq"].calls), (expected, expected));
    assert!(!is_full || elapsed <= WITHIN, "{elapsed:?}");

    let began = Instant::now();
    for at in 0..PROOFS {
        let published = Published::open(&root).unwrap().unwrap();
        let keys = published.keys().unwrap();
        published.prove(u64::from(recordings) * at / PROOFS, &keys).unwrap();
    }
    let each_ms = began.elapsed().as_secs_f64() * 1000.0 / PROOFS as f64;
    println!("one of {recordings} entries proven in {each_ms:.2} ms, the mean of {PROOFS}");
}
