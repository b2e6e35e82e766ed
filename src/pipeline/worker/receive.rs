//! Receiving a body into a file, within a turn among the downloads of all PBXs, and reading one back.
//!
//! What the file declares and what the transport announced are two accounts of one length. A file that declares exactly
//! what came is whole though its connection was reset afterwards: the reset is no news of the audio. But where the reply
//! announced more bytes than the file declares, one of the two is wrong, and nobody can tell which: a file may have
//! grown while it was sent. Then a second download is compared, as for every other length that does not fit.
//!
//! A turn that brings next to nothing is lent to others meanwhile: a PBX that is slow, hangs, or is asked slowly on purpose,
//! takes nothing from those that are well.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::fetch::Failure;
use crate::archive::{ArchiveError, Incoming, Received};
use crate::formats::audio::{Audio, AudioError, AudioProbe, SizeMismatchKind};
use crate::pbx::Audio as AudioStream;

/// What is collected before a thread is woken to hash and write it. A body that is shorter is written when it is kept: then no
/// thread waits for it.
const PART_BYTES: usize = 128 << 10;
/// Parts on their way from the network to the disk.
const PARTS_AHEAD: usize = 2;
/// A body may exceed twice what its header declares by this much before it is cut off: enough to see that a header is
/// wrong, too little for an endless body to hurt.
const UNDECLARED_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) received: Received,
    /// What it is by its own account.
    pub(super) verdict: Result<Audio, AudioError>,
    /// Whether the reply announced more bytes than came.
    was_longer: bool,
    /// The folder that a voicemail message came from.
    pub(super) folder: Option<String>,
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

/// Receives a body into a file. The bytes are looked at on their way; those of a long one are hashed and written on a thread
/// meanwhile.
pub(super) async fn receive(
    mut download: Box<dyn AudioStream>,
    incoming: Incoming,
    turn: &mut Turn,
) -> Result<Transfer, Failure> {
    let mut writing = Writing::of(incoming);
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
        if !writing.take(bytes).await {
            break;
        }
    }
    let received = writing.end().await?;
    let verdict = probe.finish();
    if let Some(error) = broken
        && !verdict.as_ref().is_ok_and(Audio::is_whole_by_its_own_account)
    {
        return Err(error.into());
    }
    let was_longer = download.content_length().is_some_and(|announced| announced > received.size_bytes());
    let folder = download.folder().map(str::to_owned);
    Ok(Transfer { received, verdict, was_longer, folder })
}

/// A body on its way to the disk.
struct Writing {
    /// Where it goes, as long as nothing is written.
    incoming: Option<Incoming>,
    /// Where it goes from then on.
    thread: Option<Thread>,
    /// What came and is not on its way yet.
    part: Vec<Bytes>,
    part_bytes: usize,
}

struct Thread {
    parts: mpsc::Sender<Vec<Bytes>>,
    writer: JoinHandle<Result<Incoming, ArchiveError>>,
}

impl Writing {
    fn of(incoming: Incoming) -> Self {
        Self { incoming: Some(incoming), thread: None, part: Vec::new(), part_bytes: 0 }
    }

    /// Takes what came. `false` if it cannot be written; [`Writing::end`] says why.
    async fn take(&mut self, bytes: Bytes) -> bool {
        self.part_bytes += bytes.len();
        self.part.push(bytes);
        if self.part_bytes < PART_BYTES {
            return true;
        }
        if let Some(incoming) = self.incoming.take() {
            self.thread = Some(Thread::of(incoming));
        }
        self.part_bytes = 0;
        let part = std::mem::take(&mut self.part);
        match &self.thread {
            Some(thread) => thread.parts.send(part).await.is_ok(),
            None => false,
        }
    }

    async fn end(self) -> Result<Received, Failure> {
        let incoming = match (self.incoming, self.thread) {
            (Some(incoming), _) => incoming,
            (None, Some(Thread { parts, writer })) => {
                drop(parts);
                writer.await.map_err(|_| Failure::Interrupted)??
            }
            (None, None) => return Err(Failure::Interrupted),
        };
        Ok(incoming.finish(self.part))
    }
}

impl Thread {
    fn of(mut incoming: Incoming) -> Self {
        let (parts, mut came) = mpsc::channel::<Vec<Bytes>>(PARTS_AHEAD);
        let writer = tokio::task::spawn_blocking(move || {
            while let Some(part) = came.blocking_recv() {
                part.iter().try_for_each(|bytes| incoming.write(bytes))?;
            }
            Ok(incoming)
        });
        Self { parts, writer }
    }
}

/// The audio of a file of which nothing is missing, as far as the file itself tells, and whether its sizes fit; `None` also if
/// it cannot be read.
///
/// Files in the archive were whole when they got their names: a header that never fits, or a container that does not tell its
/// length, is what the PBX gave.
pub(super) fn whole_audio(file: &mut dyn Read) -> Option<(Audio, bool)> {
    match judged(file)? {
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

/// A wait longer than this lends the turn; speed is looked at as often.
const PATIENCE: Duration = Duration::from_secs(1);
/// A download that is slower than this lends its turn until it is faster.
const SLOW_BYTES_S: f64 = 32.0 * 1024.0;

#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Semaphore>,
    /// `None` while it is lent.
    permit: Option<OwnedSemaphorePermit>,
    /// What came since when: the present speed.
    moved_bytes: usize,
    since: Instant,
}

impl Turn {
    /// Waits for a turn; served in order.
    pub(super) async fn take(turns: &Arc<Semaphore>) -> Self {
        let permit = permit(turns).await;
        Self { turns: Arc::clone(turns), permit, moved_bytes: 0, since: Instant::now() }
    }

    /// Waits for `work` of the PBX. If that takes long the turn is lent, and not taken back: a ticket must not wait.
    pub(super) async fn lend_if_slow<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if self.permit.is_some() {
            if let Ok(done) = timeout(PATIENCE, &mut work).await {
                return done;
            }
            self.permit = None;
        }
        work.await
    }

    /// Notes that so many bytes came, and lends the turn or takes it back as the speed demands.
    pub(super) async fn moved(&mut self, bytes: usize) {
        self.moved_bytes += bytes;
        let elapsed = self.since.elapsed();
        if elapsed < PATIENCE {
            return;
        }
        let is_slow = (self.moved_bytes as f64) < SLOW_BYTES_S * elapsed.as_secs_f64();
        match (is_slow, &self.permit) {
            (true, _) => self.permit = None,
            (false, None) => self.permit = permit(&self.turns).await,
            (false, Some(_)) => {}
        }
        (self.moved_bytes, self.since) = (0, Instant::now());
    }
}

async fn permit(turns: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Some(Arc::clone(turns).acquire_owned().await.expect("the semaphore is never closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_is_lent_while_nothing_comes_and_taken_back_when_much_does() {
        let turns = Arc::new(Semaphore::new(1));
        let mut turn = Turn::take(&turns).await;
        turn.lend_if_slow(async {}).await;
        assert_eq!(turns.available_permits(), 0);
        turn.lend_if_slow(tokio::time::sleep(PATIENCE * 2)).await;
        assert_eq!(turns.available_permits(), 1);
        turn.moved(10 << 20).await;
        assert_eq!(turns.available_permits(), 0);
        turn.since -= PATIENCE;
        turn.moved(1000).await;
        assert_eq!(turns.available_permits(), 1);
    }

    #[tokio::test]
    async fn nothing_is_said_of_the_speed_of_a_moment() {
        let turns = Arc::new(Semaphore::new(1));
        let mut turn = Turn::take(&turns).await;
        turn.moved(0).await;
        assert_eq!(turns.available_permits(), 0);
    }

    #[tokio::test]
    async fn slow_is_less_than_32_kib_in_each_second() {
        let turns = Arc::new(Semaphore::new(1));
        for (kib, lent) in [(31 * 4, 1), (64 * 4, 0)] {
            let mut turn = Turn::take(&turns).await;
            turn.since -= PATIENCE * 4;
            turn.moved(kib << 10).await;
            assert_eq!(turns.available_permits(), lent, "{kib} KiB in 4 s");
        }
    }
}
