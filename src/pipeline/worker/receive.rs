//! Receiving a body into a file, and reading one back.
//!
//! What the file declares and what the transport announced are two accounts of one length. A file that declares exactly
//! what came is whole though its connection was reset afterwards: the reset is no news of the audio. But where the reply
//! announced more bytes than the file declares, one of the two is wrong, and nobody can tell which: a file may have
//! grown while it was sent. Then a second download is compared, as for every other length that does not fit.

use std::io::Read;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::fetch::Failure;
use super::turn::Turn;
use crate::archive::{ArchiveError, Incoming, Received};
use crate::formats::audio::{Audio, AudioError, AudioProbe, SizeMismatchKind};
use crate::pbx::Audio as AudioStream;

/// Chunks on their way from the network to the disk.
const CHUNKS_AHEAD: usize = 8;
/// A body may exceed twice what its header declares by this much before it is cut off: enough to see that a header is
/// wrong, too little for an endless body to hurt.
const UNDECLARED_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) received: Received,
    /// What it is by its own account.
    pub(super) verdict: Result<Audio, AudioError>,
    /// Whether the reply announced more bytes than came.
    pub(super) was_longer: bool,
}

/// Why a transfer does not prove that its audio is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Less came than was declared: it may have been cut off.
    Cut,
    /// Its header declares what cannot be, or never was filled in.
    Header,
    Untold,
}

impl Transfer {
    /// What is to be doubted of audio; nothing of what is none.
    pub(super) fn doubt(&self) -> Option<Doubt> {
        match &self.verdict {
            Ok(_) => self.was_longer.then_some(Doubt::Cut),
            Err(AudioError::Size(misfit)) => Some(match misfit.kind {
                SizeMismatchKind::Untold => Doubt::Untold,
                // Whatever the transport says: a file that is still being written looks the same.
                SizeMismatchKind::Truncated => Doubt::Cut,
                SizeMismatchKind::Longer | SizeMismatchKind::Placeholder | SizeMismatchKind::Impossible => {
                    Doubt::Header
                }
            }),
            Err(_) => None,
        }
    }
}

/// Receives a body into a file. The bytes are looked at on their way; hashing and writing happen on a thread.
pub(super) async fn receive(
    mut download: Box<dyn AudioStream>,
    incoming: Incoming,
    turn: &mut Turn,
) -> Result<Transfer, Failure> {
    let (chunks, writer) = write_on_a_thread(incoming);
    let mut probe = AudioProbe::new();
    let mut broken = None;
    loop {
        let bytes = match turn.lend_if_slow(download.next()).await {
            Ok(None) => break,
            Ok(Some(bytes)) => bytes,
            Err(error) if error.may_follow_the_end() => {
                broken = Some(error);
                break;
            }
            Err(error) => return Err(error.into()),
        };
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
    let verdict = probe.finish();
    if let Some(error) = broken
        && !verdict.as_ref().is_ok_and(Audio::is_whole_by_its_own_account)
    {
        return Err(error.into());
    }
    let was_longer = download.content_length().is_some_and(|announced| announced > received.size_bytes());
    Ok(Transfer { received, verdict, was_longer })
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

/// The audio of a file of which nothing is missing, as far as the file itself tells, and whether its sizes fit.
pub(super) fn whole_audio(file: &mut dyn Read) -> Option<(Audio, bool)> {
    without_loss(judged(file)?)
}

/// What a file holds, unless it shows that something is missing at its end. Files in the archive were whole when they got
/// their names: a header that never fits, or a container that does not tell its length, is what the PBX gave.
fn without_loss(verdict: Result<Audio, AudioError>) -> Option<(Audio, bool)> {
    match verdict {
        Ok(audio) => Some((audio, true)),
        Err(AudioError::Size(misfit)) => match misfit.kind {
            SizeMismatchKind::Truncated => None,
            SizeMismatchKind::Untold => Some((*misfit.audio, true)),
            _ => Some((*misfit.audio, false)),
        },
        Err(_) => None,
    }
}

/// Judges a file from its start; `None` if it cannot be read.
fn judged(file: &mut dyn Read) -> Option<Result<Audio, AudioError>> {
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
