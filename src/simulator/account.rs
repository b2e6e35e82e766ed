//! What has left the device: the rows that it listed and the files that it served, by recording.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::audio::SimAudio;
use super::retention::{Loss, Overwritten, Store};
use crate::base::digest::Digest;

/// A recording that was in a CDR reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: Vec<u8>,
    /// When it was first listed, by the device's clock.
    pub at: Timestamp,
    /// The SHA-256 of the file that the device had under the name then; `None` if it had none.
    pub sha256: Option<Digest>,
    /// The size of that file.
    pub size_bytes: u64,
}

/// What was sent of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Served {
    /// Bytes of bodies, faulty ones too.
    pub bytes: u64,
    /// How often it was sent whole and without a fault.
    pub whole: u64,
}

/// The account of a device.
#[derive(Debug, Default)]
pub(super) struct Account {
    listed: BTreeMap<Vec<u8>, (Timestamp, Option<SimAudio>)>,
    served: BTreeMap<Vec<u8>, Served>,
}

/// A recording as it goes out in a CDR reply, with the audio that the device has for it.
pub(super) type Naming = (Vec<u8>, Option<SimAudio>);

impl Account {
    /// Notes the recordings of a CDR reply that was sent whole.
    pub(super) fn list(&mut self, namings: &[Naming], at: Timestamp) {
        for (name, audio) in namings {
            let entry = self.listed.entry(name.clone()).or_insert_with(|| (at, audio.clone()));
            // A name can be listed before there is a file.
            if entry.1.is_none() {
                entry.1.clone_from(audio);
            }
        }
    }

    /// Notes bytes of a recording, and whether they complete it.
    pub(super) fn serve(&mut self, name: &[u8], bytes: u64, is_whole: bool) {
        let served = self.served.entry(name.to_vec()).or_default();
        served.bytes += bytes;
        served.whole += u64::from(is_whole);
    }

    /// Every recording that was listed, and the audio to be hashed.
    pub(super) fn listed(&self) -> Vec<(Vec<u8>, Timestamp, Option<SimAudio>)> {
        self.listed.iter().map(|(name, (at, audio))| (name.clone(), *at, audio.clone())).collect()
    }

    /// What was sent of each recording.
    pub(super) fn served(&self) -> BTreeMap<Vec<u8>, Served> {
        self.served.clone()
    }

    /// Whether a loss is of something that nobody had yet.
    pub(super) fn is_untold(&self, loss: &Loss) -> bool {
        match loss.store {
            Store::Cdr => !self.listed.contains_key(&loss.name),
            Store::Recordings => self.served.get(&loss.name).is_none_or(|served| served.whole == 0),
        }
    }
}

impl Listed {
    /// With the hash of its audio.
    pub(super) fn of((name, at, audio): (Vec<u8>, Timestamp, Option<SimAudio>)) -> Self {
        let sha256 = audio.as_ref().map(SimAudio::sha256);
        Self { name, at, sha256, size_bytes: audio.map_or(0, |audio| audio.len()) }
    }
}

impl Overwritten {
    /// With the hash of its audio.
    pub(super) fn of(Loss { name, store, at, audio }: Loss) -> Self {
        Self { name, store, at, sha256: audio.as_ref().map(SimAudio::sha256) }
    }
}
