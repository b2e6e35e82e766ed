//! Fetching one recording: the ticket dance, the download, and the judgement of the audio. Only their audio tells voicemail
//! messages apart that are alike.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use anyhow::Result;
use tokio::sync::{Mutex, MutexGuard};

use super::claims::Claimed;
use super::receive::{Doubt, Transfer, Turn, receive};
use super::sidecar::{self, Evidence};
use super::{Worker, judge};
use crate::archive::{Archive, ArchiveError, ArchivedFile, Destination, Kept, Outcome, Received};
use crate::base::blocking::on_thread;
use crate::base::digest::Digest;
use crate::base::message::Message;
use crate::base::recording::{RecordingKind, RecordingName};
use crate::formats::audio::{Audio, AudioError, Suspicion};
use crate::formats::sidecar::SidecarOrigin;
use crate::pbx::{PbxError, Policy, Reason, Slot};
use crate::pipeline::gate::Item;
use crate::store::queue::{Job, RecordingState};

/// The reason of what the PBX does not have, while a file that nobody vouches for stands at its place.
const FOUND: &str = "found";

/// Why an attempt did not end in the archive.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Pbx(PbxError),
    /// The audio is empty though somebody talked: the PBX may not have written it yet.
    #[error("the PBX gave an empty file for a call with talk time")]
    NotReady,
    /// The voicemail message is not in its box any more.
    #[error("the message is not in its box any more")]
    Deleted {
        /// Whether the box holds others: then it is the message that is gone, and not the store.
        beside_others: bool,
    },
    #[error("the voicemail box changed during each download")]
    Renumbered,
    /// Audio that one download does not prove to be whole.
    #[error("{}", doubted(*doubt))]
    Misfit {
        sha256: Digest,
        /// Why it is not proven.
        doubt: Doubt,
    },
    #[error("the reply is no audio: {0}")]
    NotAudio(AudioError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The PBX does not have it, and a file stands at its place for which nobody vouches.
    #[error("{gone}, and a file that callvault did not write is in its place")]
    Found { gone: Box<Failure> },
    /// Nothing was begun, for this run is ending.
    #[error("the run ends")]
    Stopped,
    /// This machine: a thread could not be run to its end.
    #[error("writing was interrupted")]
    Interrupted,
}

impl From<PbxError> for Failure {
    fn from(error: PbxError) -> Self {
        match error.reason() {
            Reason::Deleted { beside_others } => Self::Deleted { beside_others },
            Reason::Renumbered => Self::Renumbered,
            _ => Self::Pbx(error),
        }
    }
}

impl Failure {
    /// Whether the PBX says that it does not have the recording.
    pub(super) fn is_not_there(&self) -> bool {
        match self {
            Self::Pbx(error) => error.policy() == Policy::NotThere,
            Self::Found { gone } => gone.is_not_there(),
            _ => false,
        }
    }

    /// Whether the PBX has nothing to compare a file with that stands at the recording's place.
    fn is_gone(&self) -> bool {
        self.is_not_there() || matches!(self, Self::Deleted { .. })
    }

    pub(super) fn reason(&self) -> String {
        match self {
            Self::Pbx(error) => error.reason().to_string(),
            Self::NotReady => "not_ready".into(),
            Self::Deleted { .. } => "deleted".into(),
            Self::Renumbered => "renumbered".into(),
            Self::Misfit { doubt: Doubt::Cut, .. } => "truncated".into(),
            Self::Misfit { doubt: Doubt::Header, .. } => "header_size".into(),
            Self::Misfit { doubt: Doubt::Untold, .. } => "unknown_length".into(),
            Self::NotAudio(_) => "not_audio".into(),
            Self::Found { .. } => FOUND.into(),
            Self::Archive(_) => "archive".into(),
            Self::Stopped | Self::Interrupted => "interrupted".into(),
        }
    }
}

fn doubted(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::Cut => "less was received than was declared",
        Doubt::Header => "the header declares another size than was received",
        Doubt::Untold => "nothing in the audio tells where it ends",
    }
}

/// A recording that is durable in the archive, not yet in the catalog.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) kept: Kept,
    pub(super) origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Delivered,
    /// A run of this state left it that died before it could say so; the PBX was not asked.
    Adopted,
    /// It was found at its place, and a person took it for the recording.
    Accepted,
}

impl Fetched {
    /// A file that stood at its place.
    pub(super) fn left(file: ArchivedFile, origin: Origin) -> Self {
        Self { kept: Kept { file, outcome: Outcome::AlreadyThere, quarantined: Vec::new() }, origin }
    }

    /// The path that other audio holds, which this was kept beside.
    pub(super) fn occupied(&self) -> Option<&str> {
        match &self.kept.outcome {
            Outcome::Conflict { occupied } => Some(occupied),
            Outcome::New | Outcome::AlreadyThere => None,
        }
    }
}

/// Audio that arrived whole and may be kept.
struct Arrived {
    received: Received,
    audio: Audio,
    suspect: Vec<&'static str>,
    /// The folder that a voicemail message was fetched from.
    status: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Wanted<'a> {
    Call(&'a RecordingName),
    /// Of the messages that are alike in all else, which one.
    Message(&'a Message, usize),
}

impl Worker {
    /// Fetches a claimed recording. When this returns a file, audio and sidecar are on disk under their final names. An error
    /// is the database's.
    pub(super) async fn fetch(&self, claimed: &Claimed) -> Result<Result<Fetched, Failure>> {
        let read;
        let evidence = match &claimed.evidence {
            Some(evidence) => evidence,
            None => {
                read = Evidence::read(&mut *self.site.db().read().await?, &claimed.job).await?;
                &read
            }
        };
        Ok(self.fetch_with(claimed, evidence).await)
    }

    async fn fetch_with(&self, claimed: &Claimed, evidence: &Evidence) -> Result<Fetched, Failure> {
        let job = &claimed.job;
        let place = Destination::parse(&job.path)?;
        if claimed.may_be_left
            && let Some(file) = self.adopt(job, &place).await?
        {
            return Ok(Fetched::left(file, Origin::Adopted));
        }
        let arrived = match evidence {
            Evidence::Calls { .. } => self.download(job, &place, evidence, Wanted::Call(&job.name)).await,
            Evidence::Message { kept, twins } => {
                self.download_message(job, &place, evidence, &kept.message, twins).await
            }
        };
        let Arrived { received, audio, suspect, status } = match arrived {
            Err(gone) if gone.is_gone() && self.is_taken(job, &place).await? => {
                return Err(Failure::Found { gone: Box::new(gone) });
            }
            arrived => arrived?,
        };
        // The archive tags it.
        let origin = SidecarOrigin {
            run: self.site.vault.state.run_id.clone(),
            transport: self.site.pbx.transport().as_str().to_owned(),
            key_sha256: self.site.pbx.tls_pin_sha256.map(|pin| pin.to_string()),
            tag: String::new(),
        };
        let evidence = evidence.clone().seen_in(status);
        let sidecar = sidecar::of(job, &evidence, &audio, &suspect, origin, self.site.now());
        let known = claimed.cataloged.clone();
        let kept = self.on_archive(move |archive| archive.keep(received, sidecar, &known)).await?;
        Ok(Fetched { kept, origin: Origin::Delivered })
    }

    /// Takes what a run left that died between the file and the row.
    async fn adopt(&self, job: &Job, place: &Destination) -> Result<Option<ArchivedFile>, Failure> {
        let (place, job) = (place.clone(), job.clone());
        self.on_archive(move |archive| archive.adopt(&place, |found| sidecar::is_of(found, &job))).await
    }

    /// Whether a file stands at the place of a recording that is not archived: nobody vouches for it, or it had been adopted.
    async fn is_taken(&self, job: &Job, place: &Destination) -> Result<bool, Failure> {
        if job.state == RecordingState::Archived {
            return Ok(false);
        }
        let place = place.into();
        self.on_archive(move |archive| archive.is_taken(&place)).await
    }

    /// Calls of the archive block: they run on a thread.
    async fn on_archive<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Archive) -> Result<T, ArchiveError> + Send + 'static,
    ) -> Result<T, Failure> {
        let archive = self.site.vault.archive.clone();
        Ok(on_thread(move || work(&archive)).await.map_err(|_| Failure::Interrupted)??)
    }

    /// Slot, space and folder first, then the PBX's permission, then the download: it is asked for only to be used at once.
    async fn download(
        &self,
        job: &Job,
        place: &Destination,
        evidence: &Evidence,
        wanted: Wanted<'_>,
    ) -> Result<Arrived, Failure> {
        let (slot, mut turn) = self.take_slot_and_turn().await?;
        let (place, free_bytes_min) = (place.clone(), self.site.vault.config.archive.free_bytes_min);
        let incoming = self.on_archive(move |archive| {
            archive.check_space(place.folder().pbx(), free_bytes_min)?;
            archive.begin(&place)
        });
        let incoming = incoming.await?;
        let begun = match wanted {
            Wanted::Call(name) => slot.recording(name),
            Wanted::Message(message, nth) => slot.message(message, nth),
        };
        let audio = turn.lend_if_slow(begun).await?;
        let outcome = receive(audio, incoming, &mut turn).await;
        if matches!(outcome, Ok(_) | Err(Failure::Renumbered)) {
            self.site.gate.worked(&item_of(job)).await.map_err(|_| Failure::Interrupted)?;
        }
        self.judge_audio(job, outcome?, evidence)
    }

    /// The PBX's own slot comes first: one that waits for a slow PBX must not take a turn from the others.
    async fn take_slot_and_turn(&self) -> Result<(Box<dyn Slot>, Turn), Failure> {
        let mut slot = self.unless_ending(self.site.client().slot()).await?;
        let mut turn = self.unless_ending(Turn::take(&self.site.downloads)).await?;
        self.unless_ending(turn.lend_if_slow(slot.ready())).await?;
        Ok((slot, turn))
    }

    /// Waits for something that may take long, but not when this run ends or gives the PBX up.
    async fn unless_ending<T>(&self, wait: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Failure::Stopped),
            () = self.site.gate.given_up().cancelled() => Err(Failure::Stopped),
            done = wait => Ok(done),
        }
    }

    fn judge_audio(&self, job: &Job, transfer: Transfer, evidence: &Evidence) -> Result<Arrived, Failure> {
        let (now, doubt) = (self.site.now(), transfer.doubt());
        let Transfer { received, verdict, folder, .. } = transfer;
        if let Some(doubt) = doubt
            && !judge::is_all_there_is(job, received.sha256(), now)
        {
            return Err(Failure::Misfit { sha256: received.sha256(), doubt });
        }
        let audio = match verdict {
            Ok(audio) => audio,
            Err(AudioError::Size(misfit)) => *misfit.audio,
            Err(error) => return Err(Failure::NotAudio(error)),
        };
        if audio.empty
            && !evidence.proves_no_talk()
            && !judge::empty_is_final(job, &self.site.vault.config.queue, now)
        {
            return Err(Failure::NotReady);
        }
        let mut suspect = evidence.suspicions(&audio);
        if matches!(doubt, Some(Doubt::Cut | Doubt::Header)) {
            suspect.push(Suspicion::HeaderSize.as_str());
        }
        Ok(Arrived { received, audio, suspect, status: folder })
    }
}

/// What a request for a recording is about.
pub(super) fn item_of(job: &Job) -> Item {
    match job.kind {
        RecordingKind::Call => Item::Recording(job.id),
        RecordingKind::Voicemail => Item::Message(job.id),
    }
}

/// How often one attempt begins anew because the box changed under it.
const RENUMBERINGS_MAX: u32 = 8;
/// Locks that messages share: enough that workers seldom wait for a message that is not alike.
const LOCKS: u64 = 64;

/// Keeps messages that are alike from being fetched at one time: only the audio of those archived tells them apart.
#[derive(Debug)]
pub(super) struct TwinLocks(Vec<Mutex<()>>);

impl Default for TwinLocks {
    fn default() -> Self {
        Self((0..LOCKS).map(|_| Mutex::default()).collect())
    }
}

impl TwinLocks {
    /// Waits until no message alike is being worked on.
    pub(super) async fn lock(&self, job: &Job) -> MutexGuard<'_, ()> {
        // Names of messages alike have the same four parts, and may have a fifth.
        let alike: Vec<_> = job.name.as_bytes().split(|byte| *byte == b'/').take(4).collect();
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(alike);
        let at = usize::try_from(hash % LOCKS).expect("there are few");
        self.0[at].lock().await
    }
}

impl Worker {
    /// One attempt at a message. Whatever the box shows of messages alike is fetched until one is found whose audio is
    /// not archived yet; a box that changes meanwhile costs no attempt, up to a number of times.
    async fn download_message(
        &self,
        job: &Job,
        place: &Destination,
        evidence: &Evidence,
        message: &Message,
        twins: &[Digest],
    ) -> Result<Arrived, Failure> {
        let mut renumberings = 0;
        let (mut at, mut others) = (0, twins.to_vec());
        loop {
            match self.download(job, place, evidence, Wanted::Message(message, at)).await {
                Ok(arrived) => match others.iter().position(|sha256| *sha256 == arrived.received.sha256()) {
                    Some(twin) => {
                        others.swap_remove(twin);
                        at += 1;
                    }
                    None => return Ok(arrived),
                },
                Err(Failure::Renumbered) if renumberings < RENUMBERINGS_MAX => {
                    renumberings += 1;
                    (at, others) = (0, twins.to_vec());
                }
                Err(failure) => return Err(failure),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::recording::RecordingName;
    use crate::pipeline::worker::example_tests::job;

    #[tokio::test]
    async fn only_messages_alike_wait_for_each_other() {
        let named = |name: &str| Job { name: RecordingName::new(name).unwrap(), ..job() };
        let (locks, of_lock) = (TwinLocks::default(), |lock: &TwinLocks| {
            lock.0.iter().filter(|lock| lock.try_lock().is_err()).count()
        });
        let _first = locks.lock(&named("1003/2024-03-01 12:11:40/A/9")).await;
        let _other = locks.lock(&named("1003/2024-03-01 12:11:40/B/9")).await;
        assert_eq!(of_lock(&locks), 2);
        let alike = named("1003/2024-03-01 12:11:40/A/9/2");
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(1), locks.lock(&alike)).await;
        assert!(waiting.is_err());
    }
}
