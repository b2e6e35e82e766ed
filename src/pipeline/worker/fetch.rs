//! Fetching one recording: the ticket dance, the download, and the judgement of the audio.

use super::receive::{Doubt, Transfer, receive};
use super::told::Told;
use super::turn::Turn;
use super::{Worker, judge, sidecar};
use crate::archive::{
    ArchiveError, ArchivedFile, Cataloged, Destination, Incoming, Kept, Outcome, Quarantined, Received,
};
use crate::base::blocking::on_thread;
use crate::base::digest::Digest;
use crate::base::message::Message;
use crate::base::recording::{RecordingKind, RecordingName};
use crate::formats::audio::{Audio, AudioError, Suspicion};
use crate::formats::sidecar::{Sidecar, SidecarOrigin};
use crate::pbx::{PbxError, Policy, Reason, Slot};
use crate::pipeline::gate::Item;
use crate::store::catalog;
use crate::store::queue::{Job, RecordingState};

/// The reason of what the PBX does not have, while a file that nobody vouches for stands at its place.
pub(super) const FOUND: &str = "found";

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
    #[error("{gone}, and a file that callvault did not write stands at its place")]
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
    pub(super) file: ArchivedFile,
    pub(super) origin: Origin,
    pub(super) conflict: Option<String>,
    pub(super) quarantined: Vec<Quarantined>,
}

/// Where an archived file came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Delivered,
    /// A run of this state left it that died before it could say so; the PBX was not asked.
    Adopted,
    /// It was found at its place, and a person took it for the recording.
    Accepted,
}

impl Fetched {
    pub(super) fn left(file: ArchivedFile, origin: Origin) -> Self {
        Self { file, origin, conflict: None, quarantined: Vec::new() }
    }
}

/// Audio that arrived whole and may be kept.
pub(super) struct Arrived {
    received: Received,
    audio: Audio,
    suspect: Vec<&'static str>,
    /// The folder that a voicemail message was fetched from.
    pub(super) status: Option<String>,
}

impl Arrived {
    pub(super) fn sha256(&self) -> Digest {
        self.received.sha256()
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted<'a> {
    Call(&'a RecordingName),
    /// Of the messages that are alike in all else, which one.
    Message(&'a Message, usize),
}

impl Worker {
    /// Fetches a claimed recording. When this returns `Ok`, audio and sidecar are on disk under their final names.
    pub(super) async fn fetch(&self, job: &Job, told: &Told) -> Result<Fetched, Failure> {
        let place = Destination::parse(&job.path)?;
        if let Some(file) = self.adopt(job, &place).await? {
            return Ok(Fetched::left(file, Origin::Adopted));
        }
        let arrived = match self.download(job, &place, told).await {
            Err(gone) if gone.is_gone() && self.is_taken(job, &place).await? => {
                return Err(Failure::Found { gone: Box::new(gone) });
            }
            arrived => arrived?,
        };
        let told = told.clone().seen_in(arrived.status);
        let sidecar = Sidecar {
            origin: Some(self.origin()),
            ..sidecar::of(job, &told, &arrived.audio, &arrived.suspect, self.clock.now())
        };
        let kept = self.keep(job, arrived.received, sidecar).await?;
        let conflict = match kept.outcome {
            Outcome::Conflict { occupied } => Some(occupied),
            Outcome::New | Outcome::AlreadyThere => None,
        };
        Ok(Fetched { file: kept.file, origin: Origin::Delivered, conflict, quarantined: kept.quarantined })
    }

    /// Takes what a run left that died between the file and the row. One that was archived is never asked for twice.
    async fn adopt(&self, job: &Job, place: &Destination) -> Result<Option<ArchivedFile>, Failure> {
        if job.state == RecordingState::Archived {
            return Ok(None);
        }
        let (archive, place, job) = (self.archive.clone(), place.clone(), job.clone());
        blocking(move || archive.adopt(&place, |found| sidecar::is_of(found, &job))).await
    }

    /// Whether a file stands at the place of a recording that is not archived: nobody vouches for it, or it had been adopted.
    async fn is_taken(&self, job: &Job, place: &Destination) -> Result<bool, Failure> {
        if job.state == RecordingState::Archived {
            return Ok(false);
        }
        let (archive, place) = (self.archive.clone(), place.clone());
        blocking(move || archive.is_taken(&(&place).into())).await
    }

    /// How the audio of this run comes. The archive tags it.
    fn origin(&self) -> SidecarOrigin {
        SidecarOrigin {
            run: self.run_id.clone(),
            transport: self.pbx.transport().as_str().to_owned(),
            key_sha256: self.pbx.tls_pin_sha256.map(|pin| pin.to_string()),
            tag: String::new(),
        }
    }

    async fn keep(&self, job: &Job, received: Received, sidecar: Sidecar) -> Result<Kept, Failure> {
        let known = async { catalog::files_of(&mut *self.db.read().await?, job.id).await };
        let known = known.await.map_err(|_| Failure::Interrupted)?;
        let archive = self.archive.clone();
        let known: Vec<Cataloged> = known
            .into_iter()
            .map(|file| Cataloged {
                path: file.path,
                sha256: file.sha256,
                sidecar_sha256: file.sidecar_sha256,
            })
            .collect();
        blocking(move || archive.keep(received, sidecar, &known)).await
    }

    async fn download(&self, job: &Job, place: &Destination, told: &Told) -> Result<Arrived, Failure> {
        match told {
            Told::Calls { .. } => self.download_once(job, place, told, Wanted::Call(&job.name)).await,
            Told::Message { kept, twins } => {
                self.download_message(job, place, told, &kept.message, twins).await
            }
        }
    }

    /// Slot, space and folder first, then the PBX's permission, then the download: it is asked for only to be used at once.
    pub(super) async fn download_once(
        &self,
        job: &Job,
        place: &Destination,
        told: &Told,
        wanted: Wanted<'_>,
    ) -> Result<Arrived, Failure> {
        let (slot, mut turn) = self.take_slot_and_turn().await?;
        let incoming = self.prepare(place).await?;
        let begun = match wanted {
            Wanted::Call(name) => slot.recording(name),
            Wanted::Message(message, nth) => slot.message(message, nth),
        };
        let audio = turn.lend_if_slow(begun).await?;
        let status = audio.folder().map(str::to_owned);
        let outcome = receive(audio, incoming, &mut turn).await;
        if matches!(outcome, Ok(_) | Err(Failure::Renumbered)) {
            self.gate.worked(&item_of(job)).await.map_err(|_| Failure::Interrupted)?;
        }
        let arrived = self.judge_audio(job, outcome?, told)?;
        Ok(Arrived { status, ..arrived })
    }

    /// The PBX's own slot comes first: one that waits for a slow PBX must not take a turn from the others.
    async fn take_slot_and_turn(&self) -> Result<(Box<dyn Slot>, Turn), Failure> {
        let mut slot = self.unless_ending(self.client.slot()).await?;
        let mut turn = self.unless_ending(Turn::take(&self.downloads)).await?;
        self.unless_ending(turn.lend_if_slow(slot.ready())).await?;
        Ok((slot, turn))
    }

    /// Waits for something that may take long, but not when this run ends or gives the PBX up.
    async fn unless_ending<T>(&self, wait: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Failure::Stopped),
            () = self.gate.given_up().cancelled() => Err(Failure::Stopped),
            done = wait => Ok(done),
        }
    }

    async fn prepare(&self, place: &Destination) -> Result<Incoming, Failure> {
        let (archive, place, min) = (self.archive.clone(), place.clone(), self.free_bytes_min);
        blocking(move || {
            archive.check_space(place.folder().pbx(), min)?;
            archive.begin(&place)
        })
        .await
    }

    fn judge_audio(&self, job: &Job, transfer: Transfer, told: &Told) -> Result<Arrived, Failure> {
        let (now, doubt) = (self.clock.now(), transfer.doubt());
        let Transfer { received, verdict, .. } = transfer;
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
        if audio.empty && !told.proves_no_talk() && !judge::empty_is_final(job, &self.queue, now) {
            return Err(Failure::NotReady);
        }
        let mut suspect = told.suspicions(&audio);
        if matches!(doubt, Some(Doubt::Cut | Doubt::Header)) {
            suspect.push(Suspicion::HeaderSize.as_str());
        }
        Ok(Arrived { received, audio, suspect, status: None })
    }
}

/// What a request for a recording is about.
pub(super) fn item_of(job: &Job) -> Item {
    match job.kind {
        RecordingKind::Call => Item::Recording(job.id),
        RecordingKind::Voicemail => Item::Message(job.id),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, Failure> {
    Ok(on_thread(work).await.map_err(|_| Failure::Interrupted)??)
}
