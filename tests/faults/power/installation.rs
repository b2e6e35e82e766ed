//! An installation whose state and archive lie on a disk that is cut off, and the PBX that it archives.

use std::collections::BTreeSet;
use std::time::Duration;

use callvault::base::clock::Clock;
use callvault::simulator::SimulatorOptions;
use jiff::ToSpan as _;

use super::filesystem::Layout;
use super::lie::Lie;
use super::workshop::Workshop;
use crate::support::acknowledged::{Acknowledged, Losses, Place};
use crate::support::program::folder::Running;
use crate::support::program::{Folder, PASSWORD};
use crate::support::station::{Station, small};

/// Recordings of the PBX, and messages in its voicemail boxes.
const RECORDINGS: u64 = 120;
const MESSAGES: usize = 12;
const DAYS: u32 = 3;

/// What the program is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Backfill,
    Service,
    Rebuild,
    RotateKey,
}

impl Work {
    /// Whether it asks the PBX for anything.
    pub(crate) fn asks(self) -> bool {
        matches!(self, Self::Backfill | Self::Service)
    }
}

/// One installation.
pub(crate) struct Installation<'a> {
    workshop: &'a Workshop,
    layout: Layout,
    folder: Folder,
    station: Station,
    place: Place,
    /// Recordings and messages that there are, each name once.
    names: usize,
}

impl<'a> Installation<'a> {
    /// An installation with a PBX of this seed that takes at least `latency` for each answer.
    pub(crate) async fn new(workshop: &'a Workshop, layout: Layout, seed: u64, latency: Duration) -> Self {
        // The service covers the days before the present one, so the calls lie there.
        let today = Clock::system().now().in_tz("Europe/Berlin").unwrap().date();
        let options = SimulatorOptions {
            seed,
            latency,
            password: PASSWORD.to_owned(),
            size_bytes: (2_000, 60_000),
            now: None,
            today: Some(today.checked_sub(1.day()).unwrap()),
            days: DAYS,
            voicemails: MESSAGES,
            ..small(RECORDINGS)
        };
        let mut station = Station::with_voicemail(options).await;
        let messages = station.pbx.world(|world| world.voicemails().clone());
        let truth = station.pbx.truth();
        let hashes = truth.iter().map(|truth| truth.sha256);
        let truths = hashes.chain(messages.iter().map(|message| message.audio.sha256())).collect();
        let names: BTreeSet<&[u8]> = truth.iter().map(|truth| &truth.name[..]).collect();
        let names = names.len() + messages.len();
        let folder = Folder::for_pbx(&station.pbx.url());
        station.config.state.path = workshop.mount_point(0).join("state");
        station.config.archive.path = workshop.mount_point(layout.filesystems() - 1).join("archive");
        for (name, path) in [("state", &station.config.state.path), ("archive", &station.config.archive.path)]
        {
            let (old, new) = (folder.path(name).display().to_string(), path.display().to_string());
            folder.edit(|text| text.replace(&old, &new));
        }
        folder.edit(|text| format!("{text}timezone = \"Europe/Berlin\"\n[web]\nlisten = \"off\"\n"));
        let place = Place {
            archive: station.config.archive.path.clone(),
            state: station.config.state.path.clone(),
            truths,
        };
        Self { workshop, layout, folder, station, place, names }
    }

    /// Where it keeps what must not be lost.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// How many recordings and messages there are to be archived.
    pub(crate) fn names(&self) -> usize {
        self.names
    }

    /// Requests that the PBX has seen.
    pub(crate) fn requests(&self) -> u64 {
        self.station.pbx.counters().requests
    }

    /// Where it is made.
    pub(crate) fn workshop(&self) -> &'a Workshop {
        self.workshop
    }

    /// How its files are laid out.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Starts the program on what is mounted.
    pub(crate) fn start(&mut self, work: Work, lie: Option<&Lie>) -> Running {
        self.station.expect_login();
        let (from, to) = (self.station.days.0.to_string(), self.station.days.1.to_string());
        let args: &[&str] = match work {
            Work::Backfill => &["backfill", "--json", "--voicemail", "--from", &from, "--to", &to],
            Work::Service => &["run"],
            Work::Rebuild => &["rebuild"],
            Work::RotateKey => &["ledger", "rotate-key"],
        };
        let mut command = self.folder.command(args);
        if let Some(lie) = lie {
            lie.tell(&mut command, &self.station.config.state.path);
        }
        self.folder.start(command)
    }

    /// Loses the database, and has it made anew from what the cut has left of the archive. Returns what must still hold.
    pub(crate) fn rebuild(&mut self, acknowledged: &Acknowledged) -> Acknowledged {
        let must_hold = acknowledged.without_database(&self.place);
        for name in ["callvault.db", "callvault.db-wal", "callvault.db-shm"] {
            // Where the log was folded in, there is none.
            let _ = std::fs::remove_file(self.station.config.state.path.join(name));
        }
        self.start(Work::Rebuild, None).wait().exits(0);
        must_hold
    }

    /// Lets the program do what is left to be done, as after a start of the machine, and checks every promise, and that all
    /// that was acknowledged still holds.
    pub(crate) async fn finish(&mut self, acknowledged: &Acknowledged) {
        self.start(Work::Backfill, None).wait().exits(0);
        self.station.expect_call_lists();
        self.station.check().await;
        let losses = Losses::of(&self.place, acknowledged).await;
        assert!(losses.are_none(), "after the next run: {losses:?}");
        let published = self.place.published().unwrap().map_or(0, |(size, _)| size);
        assert!(published >= acknowledged.size(), "the ledger has shrunk");
    }
}
