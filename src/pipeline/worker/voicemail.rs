//! Fetching one voicemail message, whose name on the PBX is a place that others may take at any moment.
//!
//! ```text
//! look into the box → ticket for the place → download → look again: did the place hold still? → judge the audio
//! ```

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use tokio::sync::{Mutex, MutexGuard};

use super::Worker;
use super::fetch::{Arrived, Failure, TICKETS_PER_ATTEMPT};
use super::told::Told;
use crate::archive::Destination;
use crate::base::digest::Digest;
use crate::base::message::Message;
use crate::pbx::{Policy, VoicemailList, VoicemailMessage};
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
        let (mut tickets, mut renumberings) = (1, 0);
        let (mut at, mut others) = (0, twins.to_vec());
        loop {
            match self.download_one_alike(job, place, told, message, at).await {
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
                Err(Failure::Pbx(error))
                    if matches!(error.policy(), Policy::NewTicket | Policy::LogIn)
                        && tickets < TICKETS_PER_ATTEMPT =>
                {
                    tickets += 1;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Downloads the `at`-th of the messages alike from where it is now. What came is believed only if it was there all
    /// the time.
    async fn download_one_alike(
        &self,
        job: &Job,
        place: &Destination,
        told: &Told,
        message: &Message,
        at: usize,
    ) -> Result<Arrived, Failure> {
        let (mut slot, mut turn) = self.take_slot_and_turn().await?;
        let incoming = self.prepare(place).await?;
        let before = slot.voicemail_of(&message.extension).await?;
        let found = find(&before, message, at, self.pbx.voicemail.sends_status)?;
        let outcome = match slot.voicemail_ticket(found).await {
            Ok(ticket) => match turn.lend_if_slow(slot.download(ticket)).await {
                Ok(download) => self.receive(job, download, incoming, &mut turn).await,
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        };
        // That nothing is there may be because it has just moved; other failures are no matter of places.
        let outcome = match outcome {
            Err(failure) if !failure.is_not_there() => return Err(failure),
            outcome => outcome,
        };
        let after = slot.voicemail_of(&message.extension).await?;
        drop(slot);
        if !held_still(found, &before, &after) {
            return Err(Failure::Renumbered);
        }
        let mut arrived = self.judge_audio(job, outcome?, told)?;
        arrived.status.clone_from(&found.status);
        Ok(arrived)
    }
}

/// The place of the `at`-th of the messages alike.
fn find<'a>(
    list: &'a VoicemailList,
    message: &Message,
    at: usize,
    by_folder: bool,
) -> Result<&'a VoicemailMessage, Failure> {
    let Some(found) = list.messages.iter().filter(|listed| listed.message == *message).nth(at) else {
        return Err(match list.unreadable.is_empty() {
            true => Failure::Deleted { beside_others: !list.messages.is_empty() },
            false => Failure::Unreadable,
        });
    };
    let is_same_place = |other: &&VoicemailMessage| {
        other.file == found.file && (!by_folder || other.status.is_none() || other.status == found.status)
    };
    match list.messages.iter().filter(is_same_place).count() {
        1 => Ok(found),
        _ => Err(Failure::Ambiguous),
    }
}

/// Whether the folder was the same before and after, from its first message to the one that was `found`.
///
/// That the place shows the same message twice is not enough: a deletion and a message marked as read may have moved it
/// there and back. Those behind it do not matter.
fn held_still(found: &VoicemailMessage, before: &VoicemailList, after: &VoicemailList) -> bool {
    up_to(found, before) == up_to(found, after)
}

fn up_to<'a>(found: &VoicemailMessage, list: &'a VoicemailList) -> Vec<(usize, &'a str, &'a Message)> {
    let place = |listed: &'a VoicemailMessage| (listed.file.len(), listed.file.as_str(), &listed.message);
    let of_folder = list.messages.iter().filter(|listed| listed.status == found.status).map(place);
    let end = (found.file.len(), found.file.as_str());
    let mut places: Vec<_> = of_folder.filter(|(length, file, _)| (*length, *file) <= end).collect();
    places.sort();
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::recording::RecordingName;
    use crate::pbx::UnreadableMessage;
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

    fn message(caller: &str) -> Message {
        let [extension, date, length] = ["1003", "2024-03-01 12:11:40", "9"].map(str::to_owned);
        Message { extension, date, caller: caller.to_owned(), length }
    }

    /// A box from `unread/0=A`, a message by its caller.
    fn list(places: &[&str]) -> VoicemailList {
        let place = |text: &&str| {
            let (place, caller) = text.split_once('=').unwrap();
            let (status, file) = place.split_once('/').unwrap();
            let status = (!status.is_empty()).then(|| status.to_owned());
            VoicemailMessage { file: format!("msg{file}.wav"), status, message: message(caller) }
        };
        VoicemailList { messages: places.iter().map(place).collect(), unreadable: Vec::new() }
    }

    #[test]
    fn a_place_is_believed_only_if_nothing_before_it_moved() {
        let before = list(&["unread/0=A", "unread/1=B", "unread/2=C", "read/0=X", "read/1=Y"]);
        let table: [(&str, &[&str], bool); 7] = [
            ("B", &["unread/0=A", "unread/1=B", "unread/2=C", "read/0=X", "read/1=Y"], true),
            // A new one behind, a deleted one behind, and the other folder do not matter.
            ("B", &["unread/0=A", "unread/1=B", "unread/2=D", "unread/3=E", "read/0=Y"], true),
            ("B", &["unread/0=A", "unread/1=B", "read/0=X", "read/1=C"], true),
            ("B", &["unread/0=B", "unread/1=C"], false),
            ("B", &["unread/0=A", "unread/1=C", "read/0=B"], false),
            // X was deleted and another one took its place: Y is where it was, and was elsewhere meanwhile.
            ("Y", &["read/0=C", "read/1=Y"], false),
            ("B", &[], false),
        ];
        for (caller, after, still) in table {
            let found = find(&before, &message(caller), 0, true).unwrap();
            assert_eq!(held_still(found, &before, &list(after)), still, "{caller} {after:?}");
        }
    }

    #[test]
    fn a_message_is_found_by_what_it_is_or_said_to_be_gone() {
        let box_ = list(&["unread/0=A", "read/0=B", "unread/1=A"]);
        assert_eq!(find(&box_, &message("A"), 1, true).unwrap().file, "msg1.wav");
        let gone = find(&box_, &message("C"), 0, true).unwrap_err();
        assert!(matches!(gone, Failure::Deleted { beside_others: true }));
        let gone = find(&list(&[]), &message("C"), 0, true).unwrap_err();
        assert!(matches!(gone, Failure::Deleted { beside_others: false }));
        let unreadable = vec![UnreadableMessage { extension: Some("1003".to_owned()), entry: 2 }];
        let odd = VoicemailList { unreadable, ..list(&["unread/0=A"]) };
        assert!(matches!(find(&odd, &message("C"), 0, true).unwrap_err(), Failure::Unreadable));
    }

    #[test]
    fn a_name_that_two_messages_have_names_neither() {
        let two_folders = list(&["unread/0=A", "read/0=B"]);
        assert!(find(&two_folders, &message("A"), 0, true).is_ok());
        assert!(matches!(find(&two_folders, &message("A"), 0, false).unwrap_err(), Failure::Ambiguous));
        let no_folders = list(&["/0=A", "/0=B"]);
        assert!(matches!(find(&no_folders, &message("A"), 0, true).unwrap_err(), Failure::Ambiguous));
    }
}
