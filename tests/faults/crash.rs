//! `kill -9` at random moments: nothing is lost, nothing doubled, no partial file is visible, nothing stray stays.
//!
//! `CALLVAULT_FULL=1` kills 200 times instead of 25. `CALLVAULT_SEED` chooses other moments.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use callvault::base::digest::Digest;
use callvault::simulator::{SimVoicemail, SimulatorOptions};
use jiff::ToSpan as _;
use rustix::process::Signal;
use sqlx::Row as _;

use crate::support::program::{Folder, Pbx, eventually};

const RECORDINGS: u64 = 300;
/// Voicemail messages, fetched beside them.
const MESSAGES: usize = 100;
/// Kills of one installation; the full run does it with more of them.
const KILLS: u64 = 25;
/// Requests that a run may see before it is killed: so many that the last runs have little left to do.
const REQUESTS_MAX: u64 = 120;

/// What a run is noted as that was over before its moment came.
const NOT_KILLED: &str = "ended by itself";

/// Reproducible numbers (`SplitMix64`, <https://prng.di.unimi.it/splitmix64.c>).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// When a run is killed: some time after it was started, or after so many requests of it were seen.
struct Moment {
    requests: u64,
    later: Duration,
}

impl Moment {
    fn draw(chance: &mut Chance) -> Self {
        match chance.below(5) {
            0 => Self { requests: 0, later: Duration::from_micros(chance.below(40_000)) },
            _ => Self {
                requests: 1 + chance.below(REQUESTS_MAX),
                later: Duration::from_micros(chance.below(6_000)),
            },
        }
    }
}

/// How far the runs got, and what they left behind.
#[derive(Default)]
struct Histogram {
    runs: BTreeMap<&'static str, u64>,
    left: BTreeMap<&'static str, u64>,
}

impl Histogram {
    fn note(&mut self, phase: &'static str) {
        *self.runs.entry(phase).or_default() += 1;
    }

    fn note_left(&mut self, folder: &Folder) {
        let files: BTreeSet<_> =
            if folder.path("archive").exists() { folder.files("archive") } else { vec![] }
                .into_iter()
                .collect();
        let is_audio =
            |file: &&std::path::PathBuf| file.extension().is_some_and(|extension| extension == "wav");
        let sidecar = |file: &Path| file.with_added_extension("json");
        let bare = files.iter().filter(is_audio).any(|file| !files.contains(&sidecar(file)));
        let unlisted = files.iter().filter(is_audio).any(|file| !is_in_sums(file));
        for (what, is_left) in [("audio without its sidecar", bare), ("files not in SHA256SUMS", unlisted)] {
            *self.left.entry(what).or_default() += u64::from(is_left);
        }
    }

    fn print(&self) {
        println!("killed: {:?}\nleft behind: {:?}", self.runs, self.left);
    }
}

fn is_in_sums(file: &Path) -> bool {
    let sums = fs::read_to_string(file.with_file_name("SHA256SUMS")).unwrap_or_default();
    let name = file.file_name().unwrap().to_str().unwrap();
    sums.lines().any(|line| line.ends_with(name))
}

/// The days that have calls: reading the empty ones before them would take most of the time.
fn backfill(pbx: &Pbx) -> [String; 5] {
    let from = pbx.world(|world| world.today()).checked_sub(3.days()).unwrap();
    ["backfill", "--json", "--voicemail", "--from", &from.to_string()].map(str::to_owned)
}

/// Starts a backfill, kills it, and tells how far it was.
fn kill_one(folder: &Folder, pbx: &Pbx, moment: &Moment) -> &'static str {
    let before = pbx.counters();
    let mut running = folder.start(folder.command(backfill(pbx)));
    eventually("the moment has come", || {
        pbx.counters().requests >= before.requests + moment.requests || running.has_ended()
    });
    let reached = Instant::now();
    eventually("it is a little later", || reached.elapsed() >= moment.later);
    if running.has_ended() {
        running.wait().exits(0);
        return NOT_KILLED;
    }
    let after = pbx.counters();
    running.signal(Signal::KILL);
    let said = running.wait();
    assert!(said.code == 128 + 9 || said.code == 0, "{said:?}");
    let downloads = after.downloads_started - before.downloads_started;
    match (after.requests - before.requests, downloads) {
        (0, _) => "a before the first request",
        _ if after.downloads_ok >= RECORDINGS + MESSAGES as u64 => "f when all was downloaded",
        (_, 0) => "b in the sweep",
        (_, 1..=3) => "c in the first downloads",
        (_, 4..=15) => "d after 4 downloads",
        _ => "e after 16 downloads",
    }
}

/// The voicemail on the PBX, under the names that the archive's format gives it.
fn messages(pbx: &Pbx) -> Vec<(Vec<u8>, Digest)> {
    let named = |message: &SimVoicemail| {
        let date = message.date.in_tz("Europe/Berlin").unwrap().strftime("%Y-%m-%d %H:%M:%S");
        let name = format!("{}/{date}/{}/{}", message.extension, message.from, message.length_s);
        (name.into_bytes(), message.audio.sha256())
    };
    pbx.world(|world| world.voicemails().iter().map(named).collect())
}

/// The promises, checked from outside.
fn check(folder: &Folder, pbx: &Pbx) {
    let mut truth: BTreeMap<Vec<u8>, Digest> =
        pbx.truth().into_iter().map(|recording| (recording.name, recording.sha256)).collect();
    truth.extend(messages(pbx));
    // In some worlds two calls were given one name.
    assert!(truth.len() + 2 > usize::try_from(RECORDINGS).unwrap() + MESSAGES);
    let rows = catalog(folder);
    assert_eq!(rows.len(), truth.len(), "nothing is doubled");
    let files: BTreeSet<_> = folder.recordings().into_iter().collect();
    let named: BTreeSet<_> = rows.iter().map(|row| folder.path("archive").join(&row.path)).collect();
    assert_eq!(files, named, "files on disk are those of the catalog");
    for row in &rows {
        let bytes = fs::read(folder.path("archive").join(&row.path)).unwrap();
        assert_eq!(
            (Some(&Digest::of(bytes)), Some(&row.sha256)),
            (truth.get(&row.name), truth.get(&row.name))
        );
    }
    for file in folder.files("archive") {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(!name.ends_with(".part") && !name.starts_with(".callvault-"), "{name} stays");
        assert!(!name.ends_with(".wav") || file.with_added_extension("json").exists());
    }
    let claims = "select count(*) from recordings where run_id is not null or state <> 'archived'";
    assert_eq!(folder.number(claims), 0);
    check_ledger(folder, truth.len());
    check_sums(folder, truth.len());
}

fn check_ledger(folder: &Folder, recordings: usize) {
    let gaps = "select coalesce(max(number) + 1 - count(*), -1) + coalesce(min(number), 0) from ledger";
    assert_eq!(folder.number(gaps), 0, "the ledger is contiguous");
    let archived = "select count(distinct json_extract(entry, '$.recording')) from ledger where number in
                    (select ledger_number from archived_files)";
    assert_eq!(folder.number(archived), i64::try_from(recordings).unwrap());
    let doubled = "select count(*) - count(distinct json_extract(entry, '$.recording')) from ledger
                   where json_extract(entry, '$.recording') is not null";
    assert_eq!(folder.number(doubled), 0, "the ledger tells of each once");
}

/// Other people's tool agrees, and every file is on its list.
fn check_sums(folder: &Folder, recordings: usize) {
    let mut listed = 0;
    for sums in folder.files("archive").into_iter().filter(|file| file.ends_with("SHA256SUMS")) {
        let mut sha256sum = Command::new("sha256sum");
        sha256sum.args(["-c", "--strict", "--quiet", "SHA256SUMS"]).current_dir(sums.parent().unwrap());
        assert!(sha256sum.status().unwrap().success());
        listed += fs::read_to_string(&sums).unwrap().lines().filter(|line| line.ends_with(".wav")).count();
    }
    assert_eq!(listed, recordings);
}

struct CatalogRow {
    name: Vec<u8>,
    path: String,
    sha256: Digest,
}

fn catalog(folder: &Folder) -> Vec<CatalogRow> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = callvault::store::db::open_read_only(&folder.path("state")).await.unwrap().unwrap();
        let select =
            "select name, a.path, sha256 from archived_files a join recordings r on r.id = recording_id";
        let rows = sqlx::query(select).fetch_all(&pool).await.unwrap();
        let row = |row: sqlx::sqlite::SqliteRow| CatalogRow {
            name: row.get("name"),
            path: row.get("path"),
            sha256: Digest::try_from(row.get::<&[u8], _>("sha256")).unwrap(),
        };
        rows.into_iter().map(row).collect()
    })
}

#[test]
fn kills_at_random_moments_lose_nothing_and_double_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = if number("CALLVAULT_FULL") == Some(1) { 8 } else { 1 };
    let seed = number("CALLVAULT_SEED").unwrap_or(2);
    let mut histogram = Histogram::default();
    for round in 0..rounds {
        let mut chance = Chance(seed.wrapping_add(round));
        let options = SimulatorOptions {
            seed: seed + round,
            latency: Duration::from_millis(2),
            days: 3,
            voicemails: MESSAGES,
            ..Pbx::options(RECORDINGS)
        };
        let pbx = Pbx::start(options);
        let folder = Folder::for_pbx(&pbx.url());
        let mut kills = 0;
        while kills < KILLS {
            let phase = kill_one(&folder, &pbx, &Moment::draw(&mut chance));
            kills += u64::from(phase != NOT_KILLED);
            histogram.note(phase);
            histogram.note_left(&folder);
        }
        let archived_by_then = folder.recordings().len();
        let said = folder.start(folder.command(backfill(&pbx))).wait().exits(0);
        println!(
            "round {round}: {archived_by_then} files after {KILLS} kills; the last run says {}",
            said.stdout
        );
        check(&folder, &pbx);
        let counters = pbx.counters();
        assert_eq!((counters.tickets_reused, counters.tickets_expired, counters.logins_refused), (0, 0, 0));
    }
    histogram.print();
    let while_downloading: u64 = histogram.runs.range("c".."f").map(|(_, count)| count).sum();
    assert!(while_downloading * 3 >= rounds * KILLS, "too few kills hit a download");
}
