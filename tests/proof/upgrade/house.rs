//! The installation that an earlier version left: its PBX, its configuration, and a copy of its archive and state.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use callvault::base::clock::Clock;
use callvault::config::ExclusionRule;
use callvault::pipeline::backfill::{BackfillReport, Request};
use callvault::simulator::{SimAudio, SimCall, SimulatorOptions};
use jiff::ToSpan as _;
use tempfile::TempDir;

use crate::support::station::{Station, small};

/// The clock of the machine when the state was made.
pub(crate) const MADE_AT: &str = "2024-03-15T12:00:00Z";
/// Rounds after which an absence is final, each with a delivery between.
const ROUNDS: u32 = 7;

/// An earlier version, and what it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Commit 3da1dfe.
    V0_1,
    /// What came before 0.2, commit 6141b10: with voicemail and a time stamp of the ledger.
    Before0_2,
}

impl Version {
    pub(crate) const ALL: [Self; 2] = [Self::V0_1, Self::Before0_2];

    /// A folder with the archive and the state; the second value removes what was unpacked.
    fn kept(self) -> (PathBuf, Option<TempDir>) {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof/upgrade");
        match self {
            Self::V0_1 => (here.join("0.1"), None),
            Self::Before0_2 => {
                let folder = tempfile::tempdir().unwrap();
                let mut tar = Command::new("tar");
                tar.arg("-xzf").arg(here.join("0.2.tar.gz")).arg("-C").arg(folder.path());
                assert!(tar.status().unwrap().success(), "tar cannot unpack it");
                (folder.path().to_owned(), Some(folder))
            }
        }
    }

    pub(crate) fn has_voicemail(self) -> bool {
        self == Self::Before0_2
    }
}

/// A clock that shows so many hours after the state was made.
pub(crate) fn hours_later(hours: i64) -> Clock {
    let made_at: jiff::Timestamp = MADE_AT.parse().unwrap();
    Clock::showing(made_at + hours.hours())
}

/// The PBX with the calls of the first day and of the second, and a callvault that knows nothing of them.
pub(crate) async fn new(version: Version) -> Station {
    let mut station = Station::of(SimulatorOptions { days: 2, ..small(0) }).await;
    station.config.queue.missing_final_after = Duration::from_millis(1);
    station.config.exclude = vec![ExclusionRule {
        name: "internal".into(),
        direction: vec!["internal".into()],
        ..ExclusionRule::default()
    }];
    if version.has_voicemail() {
        station.section().timezone = Some(jiff::tz::TimeZone::get("Europe/Berlin").unwrap());
        station.leave("1003", 0);
        station.leave("1003", 1);
    }
    let on_first_day = |mut call: SimCall| {
        if version == Version::Before0_2 {
            let (then, earlier) = (call.start.as_second(), (call.start - 24.hours()).as_second());
            call.callid = call.callid.replace(&then.to_string(), &earlier.to_string());
        }
        call.start -= 24.hours();
        call
    };
    let shared = station.call("shared.wav", 0);
    let mut leg = shared.clone();
    (leg.start, leg.callto, leg.call_type) = (shared.start + 9.seconds(), "1007".into(), "Transfer".into());
    let mut unrecorded = station.call("", 1);
    unrecorded.audio = None;
    let mut short = station.call("short.wav", 2);
    (short.talk_duration_s, short.call_duration_s) = (600, 605);
    let mut internal = station.call("internal.wav", 3);
    internal.call_type = "Internal".into();
    let gone = station.call("gone.wav", 4);
    let of_first_day = [shared, leg, unrecorded].map(on_first_day);
    station.pbx.world(|world| {
        of_first_day.into_iter().chain([short, internal, gone]).for_each(|call| world.add_call(call));
        world.delete_audio(b"gone.wav");
    });
    station
}

/// What happened on the PBX in one round: something new, so that what is missing counts as missing once more.
fn let_a_round_pass(station: &Station, round: u32) {
    let mut call = station.call(&format!("round-{round}.wav"), 10 + round);
    call.audio = Some(SimAudio::pcm(400, round.into()));
    station.pbx.world(|world| world.add_call(call));
}

/// A row of the second day changes, and a call appears late: the day is opened again.
fn let_more_happen(station: &Station) {
    station.pbx.world(|world| {
        world.rewrite(b"short.wav", |call| {
            call.talk_duration_s += 7;
            true
        });
    });
    station.add_call("late.wav", 30);
}

/// Does what the earlier version did: the first day settles and gets a certificate, one recording of the second is missing
/// for good, the second day settles too and is opened again.
pub(crate) async fn live(version: Version, station: &mut Station) {
    for round in 0..ROUNDS {
        let_a_round_pass(station, round);
        backfill(version, station, hours_later(0)).await;
    }
    backfill(version, station, hours_later(1)).await;
    let_more_happen(station);
    backfill(version, station, hours_later(2)).await;
}

/// The installation as the earlier version left it, in a folder of its own, beside the same PBX.
pub(crate) async fn left(version: Version) -> Station {
    let station = new(version).await;
    for round in 0..ROUNDS {
        let_a_round_pass(&station, round);
    }
    let_more_happen(&station);
    let (kept, _unpacked) = version.kept();
    copy(&kept.join("archive"), station.archive(), (0o750, 0o440));
    let state = &station.config.state.path;
    copy(&kept.join("state"), state, (0o700, 0o600));
    let unpacked = Command::new("gzip").arg("-d").arg(state.join("callvault.db.gz")).status().unwrap();
    assert!(unpacked.success(), "gzip cannot unpack the database");
    station
}

/// Runs a backfill over both days by this clock.
pub(crate) async fn backfill(version: Version, station: &mut Station, clock: Clock) -> BackfillReport {
    let request = Request { voicemail: version.has_voicemail(), ..station.request() };
    station.run_by(clock, request, Default::default(), async |_| {}).await.unwrap()
}

/// Copies a folder, with these modes of folders and of files.
pub(crate) fn copy(from: &Path, to: &Path, modes: (u32, u32)) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to, modes);
        } else {
            // Its bytes only: a checkout has other modes.
            fs::write(&to, fs::read(&from).unwrap()).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(modes.1)).unwrap();
        }
    }
    fs::set_permissions(to, fs::Permissions::from_mode(modes.0)).unwrap();
}
