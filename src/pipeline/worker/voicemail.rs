//! Fetching one voicemail message: messages that are alike are told apart by their audio alone.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use tokio::sync::{Mutex, MutexGuard};

use super::Worker;
use super::fetch::{Arrived, Failure, Wanted};
use super::told::Told;
use crate::archive::Destination;
use crate::base::digest::Digest;
use crate::base::message::Message;
use crate::store::queue::Job;

/// How often one attempt begins anew because the box changed under it.
const RENUMBERINGS_MAX: u32 = 8;
/// Locks that messages share: enough that workers seldom wait for a message that is not alike.
const LOCKS: u64 = 64;

/// Keeps messages that are alike from being fetched at one time: only the audio of those archived tells them apart.
#[derive(Debug)]
pub struct TwinLocks(Vec<Mutex<()>>);

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
    pub(super) async fn download_message(
        &self,
        job: &Job,
        place: &Destination,
        told: &Told,
        message: &Message,
        twins: &[Digest],
    ) -> Result<Arrived, Failure> {
        let mut renumberings = 0;
        let (mut at, mut others) = (0, twins.to_vec());
        loop {
            match self.download_once(job, place, told, Wanted::Message(message, at)).await {
                Ok(arrived) => match others.iter().position(|sha256| *sha256 == arrived.sha256()) {
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
    use crate::pipeline::worker::example::job;

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
