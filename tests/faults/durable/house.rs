//! A PBX, and installations of it as they are before a work begins.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use callvault::base::clock::Clock;
use callvault::simulator::SimulatorOptions;
use callvault::store::db::{database_file, is_outdated};
use jiff::ToSpan as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use super::work::{Base, Work};
use crate::support::acknowledged::{Acknowledged, Losses, Place};
use crate::support::program::folder::Running;
use crate::support::program::{Folder, PASSWORD, Said};
use crate::support::station::{Station, small};

const DAYS: u32 = 3;
/// The days settle, as if they had been read again half a day after their end.
const SETTLE: &str = "update days set state = 'settled', settled_at_ms = last_read_at_ms, revision = 1";

/// One PBX, and where its installation lies.
pub(crate) struct House {
    /// Archive, state and exports, in memory if that can be; and copies of them.
    room: TempDir,
    folder: Folder,
    station: Station,
    place: Place,
    names: usize,
    bases: HashMap<Base, Acknowledged>,
}

impl House {
    /// A PBX of this seed.
    pub(crate) async fn new(seed: u64) -> Self {
        let room = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
        // The service covers the days before the present one, so the calls lie there.
        let today = Clock::system().now().in_tz("Europe/Berlin").unwrap().date();
        let options = SimulatorOptions {
            seed,
            password: PASSWORD.to_owned(),
            size_bytes: (500, 3_000),
            now: None,
            today: Some(today.checked_sub(1.day()).unwrap()),
            days: DAYS,
            voicemails: 2,
            ..small(4 + seed % 4)
        };
        let mut station = Station::with_voicemail(options).await;
        station.config.archive.path = room.path().join("archive");
        station.config.state.path = room.path().join("state");
        let messages = station.pbx.world(|world| world.voicemails().clone());
        let truth = station.pbx.truth();
        let hashes = truth.iter().map(|truth| truth.sha256);
        let truths = hashes.chain(messages.iter().map(|message| message.audio.sha256())).collect();
        let names: BTreeSet<&[u8]> = truth.iter().map(|truth| &truth.name[..]).collect();
        let names = names.len() + messages.len();
        let folder = Folder::for_pbx(&station.pbx.url());
        for name in ["archive", "state"] {
            let (old, new) = (folder.path(name).display().to_string(), room.path().join(name));
            folder.edit(|text| text.replace(&old, new.to_str().unwrap()));
        }
        folder.edit(|text| format!("{text}timezone = \"Europe/Berlin\"\n[web]\nlisten = \"off\"\n"));
        let place = Place {
            archive: station.config.archive.path.clone(),
            state: station.config.state.path.clone(),
            truths,
        };
        Self { room, folder, station, place, names, bases: HashMap::new() }
    }

    /// How many recordings and messages there are to be archived.
    pub(crate) fn names(&self) -> usize {
        self.names
    }

    /// A path beside archive and state.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    /// The program, about to do a work.
    pub(crate) fn command(&self, work: Work) -> Command {
        let (from, to) = (self.station.days.0.to_string(), self.station.days.1.to_string());
        let out = self.path("out/export");
        let out = out.to_str().unwrap();
        let args: &[&str] = match work {
            Work::First | Work::Later | Work::Settled => {
                &["backfill", "--voicemail", "--from", &from, "--to", &to]
            }
            Work::Retry => &["retry", "--pbx", "hq"],
            Work::Verify => &["verify", "--full"],
            Work::RotateKey => &["ledger", "rotate-key"],
            Work::Export => &["export", "--voicemail", "--out", out],
            Work::ExportZip => &["export", "--voicemail", "--zip", "--out", out],
            Work::Backup => &["backup", out],
            Work::Rebuild => &["rebuild"],
            Work::Service => &["run"],
        };
        self.folder.command(args)
    }

    /// Starts the program, which may log in once.
    pub(crate) fn start(&mut self, command: Command) -> Running {
        self.station.expect_login();
        self.folder.start(command)
    }

    /// Does a work to its end, undisturbed.
    pub(crate) fn run(&mut self, work: Work) -> Said {
        let command = self.command(work);
        self.start(command).wait()
    }

    /// Puts the installation as it is before a work begins, and tells what of it is acknowledged.
    pub(crate) async fn lay(&mut self, base: Base) -> Acknowledged {
        if !self.bases.contains_key(&base) {
            let acknowledged = self.make(base).await;
            fs::create_dir_all(self.path(&format!("bases/{base:?}"))).unwrap();
            for part in ["archive", "state"] {
                copy(&self.path(part), &self.path(&format!("bases/{base:?}/{part}")));
            }
            self.bases.insert(base, acknowledged);
        }
        self.clear();
        for part in ["archive", "state"] {
            copy(&self.path(&format!("bases/{base:?}/{part}")), &self.path(part));
        }
        self.bases[&base].clone()
    }

    fn clear(&self) {
        for part in ["archive", "state", "out", "notes", "looked"] {
            // Not there yet.
            drop(fs::remove_dir_all(self.path(part)));
        }
        for part in ["out", "notes"] {
            fs::create_dir(self.path(part)).unwrap();
        }
    }

    async fn make(&mut self, base: Base) -> Acknowledged {
        self.clear();
        match base {
            Base::Nothing => {}
            Base::OneDay => {
                let day = self.station.days.0.to_string();
                let command = self.folder.command(["backfill", "--from", &day, "--to", &day]);
                self.start(command).wait().exits(0);
            }
            Base::GivenUp => {
                let name = self.station.pbx.truth().swap_remove(0).name;
                self.station.pbx.world(|world| world.delete_audio(&name));
                self.run(Work::First).exits(3);
                self.station.pbx.world(|world| world.restore_audio(&name));
            }
            Base::Archived | Base::SettledDays | Base::LostDatabase => drop(self.run(Work::First).exits(0)),
        }
        if base == Base::SettledDays {
            self.write(SETTLE).await;
        }
        let mut acknowledged = Acknowledged::default();
        if base != Base::Nothing {
            acknowledged = self.look(&acknowledged, &self.place).await;
        }
        if base == Base::LostDatabase {
            for name in ["callvault.db", "callvault.db-wal", "callvault.db-shm"] {
                // Where the log was folded in, there is none.
                drop(fs::remove_file(self.path("state").join(name)));
            }
            acknowledged = acknowledged.without_database(&self.place);
        }
        acknowledged
    }

    async fn write(&self, sql: &'static str) {
        let mut db =
            SqliteConnectOptions::new().filename(database_file(&self.place.state)).connect().await.unwrap();
        sqlx::query(sql).execute(&mut db).await.unwrap();
        db.close().await.unwrap();
    }

    /// What is acknowledged in `place`, beside what was `before`.
    async fn look(&self, before: &Acknowledged, place: &Place) -> Acknowledged {
        let mut acknowledged = before.clone();
        let Some(db) = place.database().await.unwrap() else { return acknowledged };
        // Without all its tables it is still being made, and has acknowledged nothing.
        let is_whole =
            is_outdated(&mut db.acquire().await.unwrap()).await.is_ok_and(|is_outdated| !is_outdated);
        if is_whole {
            acknowledged.look(place, &db).await;
        }
        db.close().await;
        acknowledged
    }

    /// What is acknowledged after a work was broken off, and what of it is lost. Looks at a copy of the database: whoever opens it
    /// brings it in order.
    pub(crate) async fn examine(&self, before: &Acknowledged) -> (Acknowledged, Losses) {
        let looked = self.path("looked");
        drop(fs::remove_dir_all(&looked));
        copy(&self.place.state, &looked);
        let place = Place { state: looked, ..self.place.clone() };
        let acknowledged = self.look(before, &place).await;
        if database_file(&place.state).exists() {
            let losses = Losses::of(&place, &acknowledged).await;
            return (acknowledged, losses);
        }
        // Lost before, and not made anew yet.
        let files_alone = Acknowledged { leaves: Vec::new(), recordings: Vec::new(), ..acknowledged.clone() };
        let losses = Losses::of(&place, &Acknowledged { checkpoint: None, ..files_alone }).await;
        (acknowledged, losses)
    }

    /// How many recordings and messages lie in the archive.
    pub(crate) fn archived(&self) -> usize {
        let mut count = 0;
        let mut waiting = vec![self.place.archive.clone()];
        while let Some(folder) = waiting.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => waiting.push(entry.path()),
                    _ => count += usize::from(entry.path().extension().is_some_and(|word| word == "wav")),
                }
            }
        }
        count
    }

    /// Does what is left to be done, as when the machine starts again, and checks every promise, and that all that was
    /// acknowledged still holds.
    pub(crate) async fn finish(&mut self, acknowledged: &Acknowledged) {
        self.run(Work::Later).exits(0);
        self.station.expect_call_lists();
        self.station.check().await;
        assert_eq!(self.archived(), self.names, "all is archived, once");
        let losses = Losses::of(&self.place, acknowledged).await;
        assert!(losses.are_none(), "after the next run: {losses:?}");
        let published = self.place.published().unwrap().map_or(0, |(size, _)| size);
        assert!(published >= acknowledged.size(), "the ledger has shrunk");
        self.check_nothing_stray();
    }

    /// Promise 4, of the state folder: what was begun there is gone.
    fn check_nothing_stray(&self) {
        for entry in fs::read_dir(&self.place.state).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_stray = ["part", "tmp", "temp", "building"].iter().any(|word| name.contains(word));
            assert!(!is_stray, "the state folder keeps {name}");
        }
    }
}

/// Copies a folder with its permissions, if it is there.
fn copy(from: &Path, to: &Path) {
    if !from.exists() {
        return;
    }
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}
