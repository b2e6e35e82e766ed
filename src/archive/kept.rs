//! How a received recording takes its place, whatever stands there already. Nothing is overwritten or deleted.

use std::fs::File;
use std::io::Seek;

use super::archived_file::{SidecarEntry, StoredSidecar};
use super::directory::{Directory, Entry, hash, settle_on_disk};
use super::durable::{Published, publish};
use super::incoming::Received;
use super::quarantine::Quarantined;
use super::sidecar::{FileFacts, Sidecar};
use super::temporary::{Synced, Temporary};
use super::{Archive, ArchiveError, ArchivedFile, Destination};
use crate::digest::Digest;

/// A recording that is in the archive, and what had to be done for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The proof.
    pub file: ArchivedFile,
    /// How it came to be there.
    pub outcome: Outcome,
    /// What was moved aside for it; each is a finding.
    pub quarantined: Vec<Quarantined>,
}

/// How a recording came to be in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was written.
    New,
    /// The same bytes were there; the sidecar too, or it was added.
    AlreadyThere,
    /// Something else holds its place; it was kept beside, under a name that tells its hash. A finding.
    Conflict {
        /// The path that is taken, relative to the root.
        occupied: String,
    },
}

/// What stands at the place of the audio, compared with what was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AudioThere {
    Nothing,
    Same,
    OtherAudio,
    NoAudio,
}

/// What stands at the place of the sidecar, compared with what was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SidecarThere {
    Nothing,
    /// It names this recording and this hash.
    Ours,
    /// It is a sidecar of something else.
    Others,
    Invalid,
}

/// What to do with one of the two names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// What is there stays and is ours.
    Adopt,
    /// The name is free.
    Write,
    /// What is there moves to quarantine first.
    MoveAside,
}

/// What to do with audio and sidecar, in this order; `None` if the place belongs to something else.
fn plan(audio: AudioThere, sidecar: SidecarThere) -> Option<(Step, Step)> {
    let sidecar_step = match sidecar {
        SidecarThere::Others => return None,
        SidecarThere::Ours => Step::Adopt,
        SidecarThere::Nothing => Step::Write,
        SidecarThere::Invalid => Step::MoveAside,
    };
    let audio_step = match audio {
        AudioThere::OtherAudio => return None,
        AudioThere::Same => Step::Adopt,
        AudioThere::Nothing => Step::Write,
        // Beside a sidecar of ours it is our own file, damaged: the sidecar says what it was, and we have that.
        AudioThere::NoAudio => Step::MoveAside,
    };
    Some((audio_step, sidecar_step))
}

/// A received recording on its way to a place, durable but for its name.
struct Arrival {
    audio: Synced,
    size_bytes: u64,
    sha256: Digest,
    sidecar: Sidecar,
}

impl Archive {
    /// Gives a received recording its place in the archive, with its sidecar.
    ///
    /// On return audio, sidecar and their names are on disk. The `file` member of the sidecar is set to what was
    /// really written where. `is_audio` judges a file that stands in the way; its cursor is at the start.
    /// On error nothing of this recording was acknowledged, and the download is gone: take a new one.
    /// After a crash there is nothing, the audio alone, or both; [`Archive::adopt`] and this function continue.
    pub fn keep(
        &self,
        received: Received,
        sidecar: Sidecar,
        is_audio: impl Fn(&File) -> bool,
    ) -> Result<Kept, ArchiveError> {
        let (size_bytes, sha256) = (received.size_bytes(), received.sha256());
        let Received { place, directory, temporary, .. } = received;
        let mut arrival = Arrival { audio: temporary.sync()?, size_bytes, sha256, sidecar };
        if let Some(kept) = self.settle(&place, &directory, &mut arrival, &is_audio)? {
            return Ok(kept);
        }
        let beside = place.conflict(&sha256);
        let kept = self.settle(&beside, &directory, &mut arrival, &is_audio)?;
        let kept =
            kept.ok_or_else(|| ArchiveError::Occupied { path: directory.file_path(beside.file_name()) })?;
        Ok(Kept { outcome: Outcome::Conflict { occupied: place.path() }, ..kept })
    }

    /// Puts the arrival at `place`; `None` if that belongs to something else.
    fn settle(
        &self,
        place: &Destination,
        directory: &Directory,
        arrival: &mut Arrival,
        is_audio: &dyn Fn(&File) -> bool,
    ) -> Result<Option<Kept>, ArchiveError> {
        let audio_there = arrival.compare_audio(directory, place.file_name(), is_audio)?;
        let sidecar_entry = SidecarEntry::examine(directory, &place.sidecar_name())?;
        let sidecar_there = arrival.compare_sidecar(&sidecar_entry);
        let Some((audio_step, sidecar_step)) = plan(audio_there, sidecar_there) else { return Ok(None) };
        let mut quarantined = Vec::new();
        if audio_step == Step::MoveAside {
            quarantined.push(self.quarantine(place.folder(), directory, place.file_name())?);
        }
        if sidecar_step == Step::MoveAside {
            quarantined.push(self.quarantine(place.folder(), directory, &place.sidecar_name())?);
        }
        let adopted = match sidecar_entry {
            SidecarEntry::Valid(stored) => Some(*stored),
            SidecarEntry::Vacant | SidecarEntry::Invalid => None,
        };
        let stored = self.publish_arrival(place, directory, arrival, audio_step, adopted)?;
        let outcome = if audio_step == Step::Adopt { Outcome::AlreadyThere } else { Outcome::New };
        let file = ArchivedFile::new(place, arrival.size_bytes, arrival.sha256, stored);
        Ok(Some(Kept { file, outcome, quarantined }))
    }

    /// Publishes what is not adopted; the names of both are on disk on return.
    fn publish_arrival(
        &self,
        place: &Destination,
        directory: &Directory,
        arrival: &mut Arrival,
        audio_step: Step,
        adopted: Option<StoredSidecar>,
    ) -> Result<StoredSidecar, ArchiveError> {
        let sidecar_name = place.sidecar_name();
        let mut written = None;
        let stored = match adopted {
            Some(stored) => stored,
            None => {
                let sidecar = arrival.sidecar.clone();
                let content = (arrival.size_bytes, arrival.sha256);
                let (file, stored) = self.write_sidecar(place, directory, sidecar, content)?;
                written = Some(file);
                stored
            }
        };
        let mut files = Vec::with_capacity(2);
        if audio_step != Step::Adopt {
            files.push((&mut arrival.audio, place.file_name()));
        }
        files.extend(written.as_mut().map(|file| (file, &*sidecar_name)));
        match publish(directory, self.ways(), &mut files)? {
            Published::New => Ok(stored),
            // It was free a moment ago, and callvault is the only writer here.
            Published::Exists(name) => Err(ArchiveError::Occupied { path: directory.file_path(&name) }),
        }
    }

    /// Gives audio that stands at `place` without a sidecar the one that it lacks: a run died between the two.
    ///
    /// On return both and their names are on disk. `None` if there is no such audio, or a sidecar after all.
    pub fn add_sidecar(
        &self,
        place: &Destination,
        sidecar: Sidecar,
    ) -> Result<Option<ArchivedFile>, ArchiveError> {
        let Some((directory, audio)) = self.orphan(place)? else { return Ok(None) };
        let path = directory.file_path(place.file_name());
        settle_on_disk(&audio, &path)?;
        let (size_bytes, sha256) = hash(&audio, &path)?;
        let (mut file, stored) = self.write_sidecar(place, &directory, sidecar, (size_bytes, sha256))?;
        match publish(&directory, self.ways(), &mut [(&mut file, &*place.sidecar_name())])? {
            Published::New => Ok(Some(ArchivedFile::new(place, size_bytes, sha256, stored))),
            Published::Exists(name) => Err(ArchiveError::Occupied { path: directory.file_path(&name) }),
        }
    }

    /// Writes the sidecar for this place to a temporary, durably.
    fn write_sidecar(
        &self,
        place: &Destination,
        directory: &Directory,
        mut sidecar: Sidecar,
        (size_bytes, sha256): (u64, Digest),
    ) -> Result<(Synced, StoredSidecar), ArchiveError> {
        sidecar.file = FileFacts { path: place.path(), size_bytes, sha256 };
        let bytes = sidecar.to_bytes();
        let mut temporary = Temporary::create(directory, self.ways())?;
        temporary.write(&bytes)?;
        Ok((temporary.sync()?, StoredSidecar { sidecar, sha256: Digest::of(&bytes) }))
    }
}

impl Arrival {
    /// Looks at what stands under the name of the audio; the same bytes are made durable.
    fn compare_audio(
        &self,
        directory: &Directory,
        name: &str,
        is_audio: &dyn Fn(&File) -> bool,
    ) -> Result<AudioThere, ArchiveError> {
        let mut file = match directory.entry(name)? {
            Entry::Vacant => return Ok(AudioThere::Nothing),
            Entry::Other => return Ok(AudioThere::NoAudio),
            Entry::File(file) => file,
        };
        let path = directory.file_path(name);
        settle_on_disk(&file, &path)?;
        if hash(&file, &path)? == (self.size_bytes, self.sha256) {
            return Ok(AudioThere::Same);
        }
        file.rewind().map_err(|error| ArchiveError::io("read", &path, error))?;
        Ok(if is_audio(&file) { AudioThere::OtherAudio } else { AudioThere::NoAudio })
    }

    fn compare_sidecar(&self, entry: &SidecarEntry) -> SidecarThere {
        match entry {
            SidecarEntry::Vacant => SidecarThere::Nothing,
            SidecarEntry::Invalid => SidecarThere::Invalid,
            SidecarEntry::Valid(stored) => {
                let is_ours = stored.sidecar.recording == self.sidecar.recording
                    && stored.sidecar.file.sha256 == self.sha256;
                if is_ours { SidecarThere::Ours } else { SidecarThere::Others }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_meeting_has_its_plan() {
        use AudioThere as A;
        use SidecarThere as S;
        use Step::{Adopt, MoveAside, Write};
        let table = [
            (A::Nothing, S::Nothing, Some((Write, Write))),
            (A::Nothing, S::Ours, Some((Write, Adopt))),
            (A::Nothing, S::Others, None),
            (A::Nothing, S::Invalid, Some((Write, MoveAside))),
            (A::Same, S::Nothing, Some((Adopt, Write))),
            (A::Same, S::Ours, Some((Adopt, Adopt))),
            (A::Same, S::Others, None),
            (A::Same, S::Invalid, Some((Adopt, MoveAside))),
            (A::OtherAudio, S::Nothing, None),
            (A::OtherAudio, S::Ours, None),
            (A::OtherAudio, S::Others, None),
            (A::OtherAudio, S::Invalid, None),
            (A::NoAudio, S::Nothing, Some((MoveAside, Write))),
            (A::NoAudio, S::Ours, Some((MoveAside, Adopt))),
            (A::NoAudio, S::Others, None),
            (A::NoAudio, S::Invalid, Some((MoveAside, MoveAside))),
        ];
        for (audio, sidecar, expected) in table {
            assert_eq!(plan(audio, sidecar), expected, "{audio:?}, {sidecar:?}");
        }
    }
}
