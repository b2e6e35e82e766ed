//! How a received recording takes its place, whatever stands there already. Nothing is overwritten or deleted.
//!
//! What stands there is believed to be ours if the catalog knows it, or if this state [vouches](super::VouchKey) for its
//! sidecar and that fits the audio. Anything else may have been put there by anybody, and goes to quarantine: the PBX has
//! just delivered what belongs there.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;

use rustix::io::Errno;

use super::archived_file::{Incoming, Received, SidecarEntry, StoredSidecar};
use super::directory::{Directory, Entry};
use super::durable::{move_no_replace, publish};
use super::reader::Content;
use super::temporary::{Synced, Temporary};
use super::{Archive, ArchiveError, ArchivedFile, Destination, Key};
use crate::base::digest::Digest;
use crate::formats::sidecar::{FileFacts, Sidecar};

/// A recording that is in the archive, and what had to be done for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub file: ArchivedFile,
    pub outcome: Outcome,
    /// What was moved aside for it; each is a finding.
    pub quarantined: Vec<Quarantined>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was written.
    New,
    /// The same bytes were there; the sidecar too, or it was added.
    AlreadyThere,
    /// Another file of ours has its place; it was kept beside, under a name with its hash. A finding.
    Conflict {
        /// The path that is taken, relative to the root.
        occupied: String,
    },
}

/// A file of the recording that is archived already, as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cataloged {
    pub path: String,
    pub sha256: Digest,
    pub sidecar_sha256: Digest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Nothing,
    /// The same audio, or a sidecar of ours about it.
    Same,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// What is there stays and is ours.
    Adopt,
    /// The name is free.
    Write,
    /// What is there moves to quarantine first.
    MoveAside,
}

/// What to do with audio and sidecar, in this order; `None` if the place is that of something else of ours.
fn plan(is_taken: bool, audio: There, sidecar: There) -> Option<(Step, Step)> {
    let step = |there| match there {
        There::Nothing => Step::Write,
        There::Same => Step::Adopt,
        There::Other => Step::MoveAside,
    };
    (!is_taken).then(|| (step(audio), step(sidecar)))
}

/// A received recording on its way to a place, durable but for its name.
struct Arrival<'a> {
    directory: Directory,
    audio: Synced,
    size_bytes: u64,
    sha256: Digest,
    sidecar: Sidecar,
    cataloged: &'a [Cataloged],
}

struct Standing {
    audio: There,
    sidecar: There,
    /// The sidecar, if it can be read.
    stored: Option<StoredSidecar>,
    /// Whether it is other audio of ours, or that of another recording.
    is_taken: bool,
}

impl Archive {
    /// Gives a received recording its place in the archive, with its sidecar; `cataloged` is what the catalog knows of the
    /// same recording.
    ///
    /// On return audio, sidecar and their names are on disk. The `file` member of the sidecar is set to what was
    /// really written where, and its tag with it.
    /// On error nothing of this recording was acknowledged, and the download is gone: take a new one.
    /// After a crash there is nothing, the sidecar alone, or both; [`Archive::adopt`] and this function continue. The sidecar
    /// gets its name first: so no crash leaves audio without anything that vouches for it.
    pub fn keep(
        &self,
        received: Received,
        sidecar: Sidecar,
        cataloged: &[Cataloged],
    ) -> Result<Kept, ArchiveError> {
        let (size_bytes, sha256) = (received.size_bytes(), received.sha256());
        let Incoming { place, directory, mut temporary, held, .. } = received.incoming;
        held.iter().try_for_each(|bytes| temporary.write(bytes))?;
        let audio = temporary.sync()?;
        let mut arrival = Arrival { directory, audio, size_bytes, sha256, sidecar, cataloged };
        if let Some(kept) = self.settle(&place, &mut arrival)? {
            return Ok(kept);
        }
        let beside = place.conflict(&sha256);
        let Some(kept) = self.settle(&beside, &mut arrival)? else {
            return Err(ArchiveError::Occupied { path: arrival.directory.file_path(beside.file_name()) });
        };
        Ok(Kept { outcome: Outcome::Conflict { occupied: place.path() }, ..kept })
    }

    /// Puts the arrival at `place`; `None` if that belongs to other audio of ours.
    fn settle(&self, place: &Destination, arrival: &mut Arrival<'_>) -> Result<Option<Kept>, ArchiveError> {
        let there = self.look(place, arrival)?;
        let Some((audio_step, sidecar_step)) = plan(there.is_taken, there.audio, there.sidecar) else {
            return Ok(None);
        };
        let mut quarantined = Vec::new();
        if audio_step == Step::MoveAside {
            quarantined.push(self.quarantine(&place.into(), &arrival.directory)?);
        }
        if sidecar_step == Step::MoveAside {
            quarantined.push(self.quarantine(&place.sidecar(), &arrival.directory)?);
        }
        let adopted = there.stored.filter(|_| sidecar_step == Step::Adopt);
        let stored = self.publish_arrival(place, arrival, audio_step, adopted)?;
        let outcome = if audio_step == Step::Adopt { Outcome::AlreadyThere } else { Outcome::New };
        let file = ArchivedFile::new(place, arrival.size_bytes, arrival.sha256, stored);
        Ok(Some(Kept { file, outcome, quarantined }))
    }

    /// Looks at what stands at the place; what is the same as what arrived is made durable.
    fn look(&self, place: &Destination, arrival: &Arrival<'_>) -> Result<Standing, ArchiveError> {
        let cataloged = arrival.cataloged.iter().find(|known| known.path == place.path());
        let content = arrival.directory.content(place.file_name())?;
        let stored = match SidecarEntry::examine(&arrival.directory, &place.sidecar_name())? {
            SidecarEntry::Vacant => Ok(None),
            SidecarEntry::Valid(stored) => Ok(Some(*stored)),
            SidecarEntry::Invalid => Err(()),
        };
        let is_vouched = |stored: &StoredSidecar| {
            cataloged.is_some_and(|known| known.sidecar_sha256 == stored.sha256)
                || self.vouch_key.vouches_for(&place.path(), &stored.sidecar)
        };
        let vouched = stored.as_ref().ok().and_then(Option::as_ref).filter(|stored| is_vouched(stored));
        let is_ours = match content {
            Content::Bytes { sha256, .. } => {
                cataloged.is_some_and(|known| known.sha256 == sha256)
                    || vouched.is_some_and(|stored| stored.sidecar.file.sha256 == sha256)
            }
            _ => false,
        };
        let of_another = vouched.is_some_and(|stored| stored.sidecar.recording != arrival.sidecar.recording);
        let tells_arrival =
            vouched.is_some_and(|stored| stored.sidecar.file.sha256 == arrival.sha256) && !of_another;
        let arrived = Content::Bytes { size_bytes: arrival.size_bytes, sha256: arrival.sha256 };
        let audio = match content {
            Content::Nothing => There::Nothing,
            content if content == arrived => There::Same,
            _ => There::Other,
        };
        let sidecar = match &stored {
            Ok(None) => There::Nothing,
            _ if tells_arrival => There::Same,
            _ => There::Other,
        };
        let is_taken = is_ours && (audio != There::Same || of_another);
        Ok(Standing { audio, sidecar, stored: stored.ok().flatten(), is_taken })
    }

    /// Publishes what is not adopted; the names of both are on disk on return.
    fn publish_arrival(
        &self,
        place: &Destination,
        arrival: &mut Arrival<'_>,
        audio_step: Step,
        adopted: Option<StoredSidecar>,
    ) -> Result<StoredSidecar, ArchiveError> {
        let sidecar_name = place.sidecar_name();
        let (mut written, stored) = match adopted {
            Some(stored) => (None, stored),
            None => {
                let (sidecar, content) = (arrival.sidecar.clone(), (arrival.size_bytes, arrival.sha256));
                let (file, stored) = self.write_sidecar(place, &arrival.directory, sidecar, content)?;
                (Some(file), stored)
            }
        };
        let mut files = Vec::with_capacity(2);
        files.extend(written.as_mut().map(|file| (file, &*sidecar_name)));
        if audio_step != Step::Adopt {
            files.push((&mut arrival.audio, place.file_name()));
        }
        // The names were free a moment ago, and callvault is the only writer here.
        publish(&arrival.directory, &self.ways, &mut files)?.or_occupied(&arrival.directory)?;
        Ok(stored)
    }

    /// Takes audio that stands at `place` for the recording, on a person's word: `judge` looks at it and tells its sidecar, or
    /// nothing if it is no recording. A sidecar that stands there goes to quarantine, for nobody vouches for it.
    ///
    /// On return both and their names are on disk. `None` if no file stands there, or `judge` says so. After a crash the
    /// audio stands there alone.
    pub fn accept(
        &self,
        place: &Destination,
        judge: impl FnOnce(&mut dyn Read) -> Option<Sidecar>,
    ) -> Result<Option<Kept>, ArchiveError> {
        let Some(directory) = self.folder(place.folder())? else { return Ok(None) };
        let Entry::File(mut audio) = directory.entry(place.file_name())? else { return Ok(None) };
        let Some(sidecar) = judge(&mut audio) else { return Ok(None) };
        let Content::Bytes { size_bytes, sha256 } = directory.content(place.file_name())? else {
            return Ok(None);
        };
        let sidecar_name = place.sidecar_name();
        let mut quarantined = Vec::new();
        if !matches!(directory.entry(&sidecar_name)?, Entry::Vacant) {
            quarantined.push(self.quarantine(&place.sidecar(), &directory)?);
        }
        let (mut file, stored) = self.write_sidecar(place, &directory, sidecar, (size_bytes, sha256))?;
        publish(&directory, &self.ways, &mut [(&mut file, &*sidecar_name)])?.or_occupied(&directory)?;
        let file = ArchivedFile::new(place, size_bytes, sha256, stored);
        Ok(Some(Kept { file, outcome: Outcome::AlreadyThere, quarantined }))
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
        self.vouch_key.sign(&place.path(), &mut sidecar);
        let bytes = sidecar.to_bytes();
        let mut temporary = Temporary::create(directory, &self.ways)?;
        temporary.write(&bytes)?;
        Ok((temporary.sync()?, StoredSidecar { sidecar, sha256: Digest::of(&bytes) }))
    }
}

/// The folder in that of the PBX. No safe name begins with a dot.
pub(super) const QUARANTINE: &str = ".quarantine";

/// More files of one name than this were never quarantined by us.
const COPIES_MAX: u32 = 10_000;

/// A file that was moved aside. The caller makes it a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Where it stood, relative to the root.
    pub from: String,
    /// Where it is now, relative to the root.
    pub to: String,
}

impl Archive {
    /// Moves what stands under `key` to the same path below `.quarantine`; `None` if it is gone.
    ///
    /// Nothing is read, replaced or deleted. On return both folders are on disk.
    pub fn set_aside(&self, key: &Key) -> Result<Option<Quarantined>, ArchiveError> {
        let directory = match self.area_of(key)?.folder(&key.folder()) {
            Ok(Some(directory)) => directory,
            // What stands in the way of a folder is set aside by itself.
            Ok(None) | Err(ArchiveError::Planted { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match self.quarantine(key, &directory) {
            Err(ArchiveError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            moved => moved.map(Some),
        }
    }

    /// Moves what stands under `key`, in `directory`, to the same path below `.quarantine`, numbered if that is taken.
    ///
    /// On return both folders are on disk. A crash leaves the file in one of them, or under both names.
    pub(super) fn quarantine(&self, key: &Key, directory: &Directory) -> Result<Quarantined, ArchiveError> {
        let mut aside = self.area_of(key)?.directory().enter_durably(QUARANTINE)?;
        let folder = key.folder();
        for component in folder.components().skip(1) {
            aside = aside.enter_durably(component)?;
        }
        let new_name = self.move_aside(directory, key.os_name(), &aside)?;
        aside.sync()?;
        directory.sync()?;
        let mut to = folder.components().take(1).fold(Key::ROOT, |to, pbx| to.join(pbx.as_bytes()));
        to = to.join(QUARANTINE.as_bytes());
        to = folder.components().skip(1).fold(to, |to, component| to.join(component.as_bytes()));
        let moved = Quarantined { from: key.to_string(), to: to.join(new_name.as_bytes()).to_string() };
        tracing::warn!(file.from = moved.from, file.to = moved.to, "Moved `{}` to quarantine", moved.from);
        Ok(moved)
    }

    fn move_aside(&self, from: &Directory, name: &OsStr, to: &Directory) -> Result<OsString, ArchiveError> {
        for copy in 0..COPIES_MAX {
            let mut new_name = name.to_owned();
            if copy > 0 {
                new_name.push(format!(".{copy}"));
            }
            match move_no_replace(from, name, to, &new_name, &self.ways) {
                Ok(()) => return Ok(new_name),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(ArchiveError::io("quarantine", &from.file_path(name), errno)),
            }
        }
        Err(ArchiveError::Occupied { path: to.file_path(name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_meeting_has_its_plan() {
        use Step::{Adopt, MoveAside, Write};
        use There::{Nothing, Other, Same};
        let table = [
            (false, Nothing, Nothing, Some((Write, Write))),
            (false, Nothing, Same, Some((Write, Adopt))),
            (false, Nothing, Other, Some((Write, MoveAside))),
            (false, Same, Nothing, Some((Adopt, Write))),
            (false, Same, Same, Some((Adopt, Adopt))),
            (false, Same, Other, Some((Adopt, MoveAside))),
            (false, Other, Nothing, Some((MoveAside, Write))),
            (false, Other, Same, Some((MoveAside, Adopt))),
            (false, Other, Other, Some((MoveAside, MoveAside))),
            (true, Other, Other, None),
            (true, Other, Nothing, None),
            (true, Same, Other, None),
        ];
        for (is_taken, audio, sidecar, expected) in table {
            assert_eq!(plan(is_taken, audio, sidecar), expected, "{is_taken} {audio:?}, {sidecar:?}");
        }
    }
}
