//! Receiving a body into a file, and reading one back.

use std::fs::File;
use std::io::Read as _;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::fetch::Failure;
use super::turn::Turn;
use crate::archive::{ArchiveError, Incoming, Received};
use crate::audio::{Audio, AudioError, AudioProbe};
use crate::pbx::Download;

/// Chunks on their way from the network to the disk.
const CHUNKS_AHEAD: usize = 8;
/// A body may exceed twice what its header declares by this much before it is cut off: enough to see that a header is
/// wrong, too little for an endless body to hurt.
const UNDECLARED_BYTES_MAX: u64 = 1 << 20;

/// Receives a body into a file. The bytes are looked at on their way; hashing and writing happen on a thread.
pub(super) async fn receive(
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

/// Whether a file that stands in the way is a recording, to be kept, or something else, to be moved aside.
pub(super) fn is_audio(file: &File) -> bool {
    // What cannot be read is kept where it is: moving it would lose it.
    judged(file).is_none_or(|audio| audio.is_ok())
}

/// The audio of a file whose size fits its header.
pub(super) fn whole_audio(file: &File) -> Option<Audio> {
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
