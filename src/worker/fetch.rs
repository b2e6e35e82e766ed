//! Fetching one recording: the ticket dance, the download, and the judgement of the audio.

use std::fs::File;
use std::io::Read as _;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::turn::Turn;
use super::{Worker, judge};
use crate::archive::{
    ArchiveError, ArchivedFile, Destination, Incoming, Kept, Outcome, Quarantined, Received,
};
use crate::audio::{Audio, AudioError, AudioProbe, Suspicion, suspicions};
use crate::calls::CallOfRecording;
use crate::digest::Digest;
use crate::pbx::{Download, PbxError, Policy};
use crate::queue::{Job, RecordingState};

/// Tickets that one attempt may spend: an expired one costs another ticket, not an attempt.
const TICKETS_PER_ATTEMPT: u32 = 3;
/// Chunks on their way from the network to the disk.
const CHUNKS_AHEAD: usize = 8;
/// A body may exceed twice what its header declares by this much before it is cut off: enough to see that a header is
/// wrong, too little for an endless body to hurt.
const UNDECLARED_BYTES_MAX: u64 = 1 << 20;

/// Why an attempt did not end in the archive.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The PBX, or the way to it.
    #[error(transparent)]
    Pbx(#[from] PbxError),
    /// The audio is empty though somebody talked: the PBX may not have written it yet.
    #[error("the PBX gave an empty file for a call with talk time")]
    NotReady,
    /// The size that the header declares and the bytes received differ.
    #[error("the header declares another size than was received")]
    Misfit(Digest),
    /// It begins like audio, and is none.
    #[error("the reply is no audio: {0}")]
    NotAudio(AudioError),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Nothing was begun, for this run is ending.
    #[error("the run ends")]
    Stopped,
    /// This machine: a thread could not be run to its end.
    #[error("writing was interrupted")]
    Interrupted,
}

impl Failure {
    /// Whether the PBX says that it does not have the recording.
    pub(super) fn is_not_there(&self) -> bool {
        matches!(self, Self::Pbx(error) if error.policy() == Policy::NotThere)
    }

    /// The class, as the queue keeps it.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Pbx(error) if matches!(error.policy(), Policy::NewTicket | Policy::LogIn) => {
                "ticket".into()
            }
            Self::Pbx(error) => error.reason().to_string(),
            Self::NotReady => "not_ready".into(),
            Self::Misfit(_) => "truncated".into(),
            Self::NotAudio(_) => "not_audio".into(),
            Self::Archive(_) => "archive".into(),
            Self::Stopped | Self::Interrupted => "interrupted".into(),
        }
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
    /// The PBX delivered it.
    Delivered,
    /// A run left it that died before it could say so; the PBX was not asked.
    Adopted,
    /// The same, after the PBX said that it does not have it.
    Orphan,
}

impl Fetched {
    fn left(file: ArchivedFile, origin: Origin) -> Self {
        Self { file, origin, conflict: None, quarantined: Vec::new() }
    }
}

/// Audio that arrived whole and may be kept.
struct Arrived {
    received: Received,
    audio: Audio,
    suspect: Vec<&'static str>,
}

impl Worker {
    /// Fetches a claimed recording. When this returns `Ok`, audio and sidecar are on disk under their final names.
    pub(super) async fn fetch(&self, job: &Job, calls: &[CallOfRecording]) -> Result<Fetched, Failure> {
        let place = Destination::parse(&job.path)?;
        if let Some(file) = self.adopt(job, &place).await? {
            return Ok(Fetched::left(file, Origin::Adopted));
        }
        let arrived = match self.download(job, &place, talk_s(calls)).await {
            Err(failure) if failure.is_not_there() => {
                let orphan = self.adopt_orphan(job, &place, calls).await?;
                return orphan.map(|file| Fetched::left(file, Origin::Orphan)).ok_or(failure);
            }
            arrived => arrived?,
        };
        let sidecar = super::commit::sidecar(job, calls, &arrived.audio, &arrived.suspect, self.clock.now());
        let kept = self.keep(arrived.received, sidecar).await?;
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
        blocking(move || archive.adopt(&place, |sidecar| super::commit::is_of(sidecar, &job))).await
    }

    /// Takes audio that a run left which died before its sidecar had a name, now that the PBX does not have it any more.
    /// While the PBX has it, it is compared with that: nothing else tells whose it is.
    async fn adopt_orphan(
        &self,
        job: &Job,
        place: &Destination,
        calls: &[CallOfRecording],
    ) -> Result<Option<ArchivedFile>, Failure> {
        if job.state == RecordingState::Archived {
            return Ok(None);
        }
        let (archive, place, job, calls) = (self.archive.clone(), place.clone(), job.clone(), calls.to_vec());
        let now = self.clock.now();
        blocking(move || {
            let Some(orphan) = archive.audio_without_sidecar(&place)? else { return Ok(None) };
            let Some(audio) = whole_audio(&orphan).filter(|audio| !audio.empty) else { return Ok(None) };
            let suspect: Vec<_> =
                suspicions(&audio, talk_s(&calls)).into_iter().map(|odd| odd.as_str()).collect();
            archive.add_sidecar(&place, super::commit::sidecar(&job, &calls, &audio, &suspect, now))
        })
        .await
    }

    async fn keep(&self, received: Received, sidecar: crate::archive::Sidecar) -> Result<Kept, Failure> {
        let archive = self.archive.clone();
        blocking(move || archive.keep(received, sidecar, is_audio)).await
    }

    /// One attempt: up to three tickets, each spent at once.
    async fn download(
        &self,
        job: &Job,
        place: &Destination,
        talk_s: Option<u64>,
    ) -> Result<Arrived, Failure> {
        let mut tickets = 1;
        loop {
            match self.download_once(job, place, talk_s).await {
                Err(Failure::Pbx(error))
                    if matches!(error.policy(), Policy::NewTicket | Policy::LogIn)
                        && tickets < TICKETS_PER_ATTEMPT =>
                {
                    tickets += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Slot, space and folder first, then the ticket, then the download: a ticket is taken only to be spent at once.
    async fn download_once(
        &self,
        job: &Job,
        place: &Destination,
        talk_s: Option<u64>,
    ) -> Result<Arrived, Failure> {
        // The PBX's own slot first: one that waits for a slow PBX must not take a turn from the others.
        let mut slot = self.unless_ending(self.client.slot()).await?;
        let mut turn = self.unless_ending(Turn::take(&self.downloads)).await?;
        self.unless_ending(turn.lend_if_slow(slot.ready())).await?;
        let incoming = self.prepare(place).await?;
        let request = async {
            let ticket = slot.ticket(&job.name).await?;
            slot.download(ticket).await
        };
        let download = turn.lend_if_slow(request).await?;
        drop(slot);
        let (received, probe) = receive(download, incoming, &mut turn).await?;
        self.access.worked().await.map_err(|_| Failure::Interrupted)?;
        self.judge_audio(job, received, probe, talk_s)
    }

    /// Waits for something that may take long, but not when this run ends or gives the PBX up.
    async fn unless_ending<T>(&self, wait: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Failure::Stopped),
            () = self.access.given_up().cancelled() => Err(Failure::Stopped),
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

    fn judge_audio(
        &self,
        job: &Job,
        received: Received,
        probe: AudioProbe,
        talk_s: Option<u64>,
    ) -> Result<Arrived, Failure> {
        let now = self.clock.now();
        let (audio, sizes_fit) = match probe.finish() {
            Ok(audio) => (audio, true),
            Err(AudioError::Size(misfit)) if judge::is_all_there_is(job, received.sha256(), now) => {
                (*misfit.audio, false)
            }
            Err(AudioError::Size(_)) => return Err(Failure::Misfit(received.sha256())),
            Err(error) => return Err(Failure::NotAudio(error)),
        };
        let talked = talk_s.is_some_and(|seconds| seconds > 0);
        if audio.empty && talked && !judge::empty_is_final(job, &self.queue, now) {
            return Err(Failure::NotReady);
        }
        let mut suspect: Vec<_> = suspicions(&audio, talk_s).into_iter().map(|odd| odd.as_str()).collect();
        if !sizes_fit {
            suspect.push(Suspicion::HeaderSize.as_str());
        }
        Ok(Arrived { received, audio, suspect })
    }
}

/// Receives a body into a file. The bytes are looked at on their way; hashing and writing happen on a thread.
async fn receive(
    mut download: Download,
    incoming: Incoming,
    turn: &mut Turn,
) -> Result<(Received, AudioProbe), Failure> {
    let (chunks, writer) = write_on_a_thread(incoming);
    let mut probe = AudioProbe::new();
    while let Some(bytes) = turn.lend_if_slow(download.next()).await? {
        turn.moved(bytes.len()).await;
        probe.push(&bytes);
        if let Some(rejection) = probe.rejection() {
            return Err(Failure::NotAudio(rejection.clone()));
        }
        if let Some(declared) = probe.bound() {
            download.limit(declared.saturating_mul(2).saturating_add(UNDECLARED_BYTES_MAX));
        }
        if chunks.send(bytes).await.is_err() {
            break; // The writer failed; its own error says why.
        }
    }
    drop(chunks);
    let received = writer.await.map_err(|_| Failure::Interrupted)??;
    Ok((received, probe))
}

type Writing = tokio::task::JoinHandle<Result<Received, ArchiveError>>;

fn write_on_a_thread(mut incoming: Incoming) -> (mpsc::Sender<Bytes>, Writing) {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
    let writer = tokio::task::spawn_blocking(move || {
        while let Some(bytes) = receiver.blocking_recv() {
            incoming.write(&bytes)?;
        }
        Ok(incoming.finish())
    });
    (sender, writer)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, Failure> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| Failure::Interrupted)??)
}

/// The longest talk time of the rows that name the recording.
fn talk_s(calls: &[CallOfRecording]) -> Option<u64> {
    calls.iter().filter_map(|call| call.talk_s).max().and_then(|seconds| u64::try_from(seconds).ok())
}

/// Whether a file that stands in the way is a recording, to be kept, or something else, to be moved aside.
fn is_audio(file: &File) -> bool {
    // What cannot be read is kept where it is: moving it would lose it.
    judged(file).is_none_or(|audio| audio.is_ok())
}

/// The audio of a file whose size fits its header.
fn whole_audio(file: &File) -> Option<Audio> {
    judged(file)?.ok()
}

/// Judges a file from its start; `None` if it cannot be read.
fn judged(mut file: &File) -> Option<Result<Audio, AudioError>> {
    let mut probe = AudioProbe::new();
    let mut chunk = vec![0; 256 << 10];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Some(probe.finish()),
            Ok(count) => probe.push(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
