//! A page of voicemail messages on its way into the database.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::archive::Folder;
use crate::base::message::Message;
use crate::base::recording::RecordingKind;
use crate::base::safe_name::with_stem;
use crate::base::times::{Resolved, parse_local};
use crate::config::ExclusionRule;
use crate::pbx::VoicemailMessage;
use crate::pipeline::sweep::page::judge_exclusion;
use crate::store::queue::{self, NewRecording, RecordingState};
use crate::store::voicemail::{self, KeptMessage, Twin};

/// Messages that are stored in one transaction, but for those alike, which stay together.
const MESSAGES_PER_PAGE: usize = 500;

/// Messages that are alike in all that is known of them, by the folders that they are in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Alike {
    pub(super) message: Message,
    pub(super) folders: Vec<Option<String>>,
}

/// The messages in pages; those alike stay together.
pub(super) fn pages(messages: Vec<VoicemailMessage>) -> Vec<Vec<Alike>> {
    let mut groups: BTreeMap<Message, Vec<Option<String>>> = BTreeMap::new();
    for VoicemailMessage { message, status, .. } in messages {
        groups.entry(message).or_default().push(status);
    }
    let mut pages = vec![Vec::new()];
    for (message, folders) in groups {
        if pages.last().is_some_and(|page| page.len() >= MESSAGES_PER_PAGE) {
            pages.push(Vec::new());
        }
        pages.last_mut().expect("there is a first page").push(Alike { message, folders });
    }
    pages
}

#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) new: u64,
    pub(super) back: u64,
}

/// A page on its way into the database.
pub(super) struct Page<'a> {
    pub(super) pbx: &'a str,
    pub(super) sn: &'a str,
    pub(super) rules: &'a [ExclusionRule],
    pub(super) now: Timestamp,
    pub(super) stored: Stored,
}

impl Page<'_> {
    /// Stores messages that are alike. Which of them is which only their audio tells, so they are counted: those known
    /// and not archived are taken to be there before any is taken to be new.
    pub(super) async fn store(
        &mut self,
        tx: &mut SqliteConnection,
        alike: &Alike,
        resolved: Resolved,
    ) -> anyhow::Result<()> {
        let twins = voicemail::twins(tx, self.pbx, self.sn, &alike.message).await?;
        for twin in surely_there(&twins, alike.folders.len()) {
            if twin.state == RecordingState::Missing {
                queue::revive(tx, twin.id).await?;
                self.stored.back += 1;
            }
        }
        for (twin, status) in twins.iter().zip(&alike.folders) {
            voicemail::note_seen(tx, twin.id, status.as_deref(), self.now).await?;
        }
        for at in twins.len()..alike.folders.len() {
            let kept = KeptMessage {
                message: alike.message.clone(),
                ordinal: u32::try_from(at + 1)?,
                utc_offset_s: resolved.utc_offset_s,
                offset_source: resolved.source.as_str().to_owned(),
                zone_offset_s: resolved.zone_offset_s,
                status: alike.folders[at].clone(),
            };
            self.enqueue(tx, &kept, resolved.at).await?;
        }
        Ok(())
    }

    async fn enqueue(
        &mut self,
        tx: &mut SqliteConnection,
        kept: &KeptMessage,
        left_at: Option<Timestamp>,
    ) -> anyhow::Result<()> {
        let name = kept.message.name(kept.ordinal);
        let offset = jiff::tz::Offset::from_seconds(kept.utc_offset_s).unwrap_or(jiff::tz::Offset::UTC);
        // A message whose date cannot be read is filed under the day on which it was first seen.
        let local = parse_local(&kept.message.date);
        let day = local.unwrap_or_else(|| offset.to_datetime(self.now)).date();
        let hhmmss = local.map_or("000000".to_owned(), |local| local.strftime("%H%M%S").to_string());
        let file_name = with_stem(&kept.message.stem(&hhmmss), &name, self.sn.as_bytes());
        let path = format!("{}/{}", Folder::voicemail_day(self.pbx, day)?, file_name.as_str());
        let recording = NewRecording {
            pbx: self.pbx,
            kind: RecordingKind::Voicemail,
            sn: self.sn,
            name: &name,
            day,
            started_at: left_at.unwrap_or(self.now),
            paths: &[path],
        };
        let enqueued = queue::enqueue(tx, &recording).await?;
        voicemail::keep(tx, enqueued.id, self.pbx, kept, self.now).await?;
        self.stored.new += 1;
        if self.rules.is_empty() {
            return Ok(());
        }
        judge_exclusion(tx, self.rules, self.pbx, enqueued.id, self.now).await
    }
}

/// Of `twins`, those not archived that must be there if `present` messages alike are: each archived one may be one of
/// these, and none may be two.
fn surely_there(twins: &[Twin], present: usize) -> impl Iterator<Item = &Twin> {
    let (archived, owed): (Vec<_>, Vec<_>) =
        twins.iter().partition(|twin| twin.state == RecordingState::Archived);
    owed.into_iter().take(present.saturating_sub(archived.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(extension: &str, date: &str) -> VoicemailMessage {
        let [extension, date, file] = [extension, date, "msg0000.wav"].map(str::to_owned);
        let message = Message { extension, date, caller: String::new(), length: "9".to_owned() };
        VoicemailMessage { file, status: None, message }
    }

    #[test]
    fn those_alike_stay_on_one_page() {
        let messages: Vec<_> = (0..1200).map(|at| listed("1003", &(at / 2).to_string())).collect();
        let pages = pages(messages);
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [500, 100]);
        assert!(pages.iter().flatten().all(|alike| alike.folders.len() == 2));
    }

    #[test]
    fn what_may_be_an_archived_one_is_not_taken_for_a_missing_one() {
        use RecordingState::{Archived, Missing, Pending};
        let table: [(&[RecordingState], usize, &[u32]); 6] = [
            (&[Missing], 1, &[1]),
            (&[Archived], 1, &[]),
            (&[Archived, Missing], 1, &[]),
            (&[Archived, Missing], 2, &[2]),
            (&[Missing, Pending], 1, &[1]),
            (&[Missing, Archived, Pending], 3, &[1, 3]),
        ];
        for (states, present, there) in table {
            let twin = |(at, state): (usize, &RecordingState)| {
                let ordinal = u32::try_from(at + 1).unwrap();
                Twin { id: i64::from(ordinal), ordinal, state: *state, sha256: None }
            };
            let twins: Vec<_> = states.iter().enumerate().map(twin).collect();
            let found: Vec<_> = surely_there(&twins, present).map(|twin| twin.ordinal).collect();
            assert_eq!(found, there, "{states:?} {present}");
        }
    }
}
