//! Polling a PBX's voicemail boxes: what is new or back comes into the queue.
//!
//! That a message is gone is not concluded here: its worker looks into the box right before it asks for the audio, and
//! counts the looks that did not find it (`worker::judge`).

mod boxes;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

pub use boxes::FullestBox;

use super::Sweeper;
use super::range::{TRIES, WAITS};
use crate::archive::Folder;
use crate::base::message::Message;
use crate::base::recording::RecordingKind;
use crate::base::safe_name::with_stem;
use crate::base::times::{OffsetResolver, Resolved, parse_local};
use crate::config::ExclusionRule;
use crate::pbx::{PbxError, Policy, Reason, VoicemailList, VoicemailMessage};
use crate::pipeline::exclusion::judge_exclusion;
use crate::pipeline::gate::Item;
use crate::store::findings::{self, FindingKind};
use crate::store::fleet;
use crate::store::intake::{self, Added, IntakeSlowed};
use crate::store::queue::{self, NewRecording, RecordingState};
use crate::store::sql::{Conn, Ms};
use crate::store::voicemail::{self, KeptMessage, Poll, Twin};
use boxes::{Fill, note_unreadable};

/// What findings about the list concern.
const SUBJECT: &str = "the list of voicemail";
/// About what a message adds to the database.
const MESSAGE_BYTES: u64 = 500;
/// A device without voicemail may get other firmware: it is asked again after this.
const PROBE_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// What a poll of all boxes of one PBX came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoicemailPoll {
    /// Whether the device was found to have no voicemail API, now or within the last day.
    pub unsupported: bool,
    pub whole: bool,
    pub boxes: u64,
    pub messages: u64,
    pub messages_new: u64,
    /// Messages that had been missing and are there again.
    pub messages_back: u64,
    /// Entries that could not be read: findings.
    pub unreadable: u64,
    /// The fullest box, if any holds a message.
    pub fullest: Option<FullestBox>,
    /// Boxes that are nearly full: findings. If there are any, the next poll should come sooner than usual, for the device
    /// deletes the oldest message of a full box.
    pub nearly_full: u64,
}

enum Listed {
    Whole(VoicemailList),
    Unsupported,
    Failed(PbxError),
    /// The PBX was given up, or the run ends.
    Stopped,
}

impl Sweeper<'_> {
    /// Polls all boxes of the PBX once.
    ///
    /// A device without voicemail is asked again after a day. If an error of the PBX does not pass, the poll is not `whole`, and
    /// nothing is concluded from it.
    pub(crate) async fn poll_voicemail(&self) -> Result<VoicemailPoll> {
        let (pbx, now) = (self.site.id().to_owned(), self.site.now());
        let before = voicemail::remembered(&mut *self.site.db().read().await?, &pbx).await?;
        let unsupported = VoicemailPoll { unsupported: true, ..VoicemailPoll::default() };
        if before.unsupported_at_ms.is_some_and(|Ms(at)| now.duration_since(at).abs() < PROBE_EVERY) {
            return Ok(unsupported);
        }
        let (list, boxes) = match self.list_voicemail(before.listed_at_ms.is_some()).await? {
            Listed::Whole(list) => (list, None),
            Listed::Failed(error) => {
                let (list, boxes) = self.list_each_box(error).await?;
                (list, Some(boxes))
            }
            Listed::Stopped => return Ok(VoicemailPoll::default()),
            Listed::Unsupported => {
                if before.unsupported_at_ms.is_none() {
                    info!(pbx, "Pbx `{pbx}` has no voicemail API; it is asked again once a day");
                }
                let db = self.site.db();
                db.write(async move |tx| voicemail::note_unsupported(tx, &pbx, now).await).await?;
                return Ok(unsupported);
            }
        };
        let fill = Fill::of(&list.messages, self.site.pbx.voicemail.per_extension);
        let mut report = VoicemailPoll {
            whole: boxes.is_none(),
            boxes: fill.by_extension.len() as u64,
            messages: list.messages.len() as u64,
            unreadable: list.unreadable.len() as u64,
            fullest: fill.fullest(),
            nearly_full: fill.nearly_full().count() as u64,
            ..VoicemailPoll::default()
        };
        self.store_all(list.messages, &mut report, now).await?;
        if boxes.is_some() && self.site.is_over() {
            // The PBX's own trouble says why the others were not read.
            return Ok(report);
        }
        let found = report.clone();
        let note = async move |tx: &mut _| {
            match &boxes {
                Some(boxes) => boxes.note(tx, &pbx, now).await?,
                None => {
                    let fullest = found.fullest.map(|fullest| (fullest.extension, fullest.messages));
                    let poll = Poll { boxes: found.boxes, messages: found.messages, fullest };
                    voicemail::note_poll(tx, &pbx, &poll, now).await?;
                    fill.note(tx, &pbx, now).await?;
                    findings::close(tx, &pbx, FindingKind::VoicemailUnlisted, now).await?;
                }
            }
            note_unreadable(tx, &pbx, &list.unreadable, boxes.is_none(), now).await
        };
        self.site.db().write(note).await?;
        Ok(report)
    }

    async fn list_voicemail(&self, had_messages: bool) -> Result<Listed> {
        let (id, gate, mut tries) = (self.site.id(), &self.site.gate, 0);
        while !self.site.is_over() {
            let error = match self.site.client().voicemail().await {
                Ok(list) => {
                    gate.worked(&Item::Boxes).await?;
                    return Ok(match list {
                        Some(list) => Listed::Whole(list),
                        None if !had_messages => Listed::Unsupported,
                        // A device does not lose a part of its API: it cannot give the list.
                        None => {
                            let what =
                                "it says that it has no voicemail API, though it listed messages before";
                            Listed::Failed(PbxError::new(id, Policy::Retry, Reason::Unsupported, what))
                        }
                    });
                }
                Err(error) => error,
            };
            gate.troubled(&Item::Boxes, &error).await?;
            if error.policy().concerns_pbx() {
                continue;
            }
            tries += 1;
            if tries == TRIES {
                warn!(pbx = id, "The voicemail of pbx `{id}` could not be listed: {error}");
                return Ok(Listed::Failed(error));
            }
            tokio::time::sleep(WAITS.after(tries - 1)).await;
        }
        Ok(Listed::Stopped)
    }

    async fn store_all(
        &self,
        messages: Vec<VoicemailMessage>,
        report: &mut VoicemailPoll,
        now: Timestamp,
    ) -> Result<()> {
        for page in pages(messages) {
            if let Err(error) = self.may_add().await {
                // What is not stored is still in its box at the next poll.
                self.note_slowed(Some(&error.downcast::<IntakeSlowed>()?)).await?;
                report.whole = false;
                break;
            }
            let (new, back) = self.store_messages(page, now).await?;
            report.messages_new += new;
            report.messages_back += back;
        }
        Ok(())
    }

    /// Stores a page. How many of its messages are new, and how many had been missing.
    async fn store_messages(&self, page: Vec<Alike>, now: Timestamp) -> Result<(u64, u64)> {
        let (pbx, zone) = (self.site.id().to_owned(), self.site.pbx.timezone.clone());
        let rules = Arc::clone(&self.rules);
        let db = self.site.db();
        db.write(async move |tx| {
            let remembered = fleet::remembered(tx, &pbx).await?;
            let mut resolver = resolver(zone, remembered.utc_offset_s, now);
            let sn = remembered.sn.unwrap_or_default();
            let mut unit = Page { pbx: &pbx, sn: &sn, rules: &rules, now, new: 0, back: 0 };
            for alike in &page {
                let local = parse_local(&alike.message.date);
                let resolved = resolver.resolve(&[(None, local)]).remove(0);
                unit.store(tx, alike, resolved).await?;
            }
            let rows = unit.new;
            intake::note(tx, &pbx, Added { rows, bytes: rows * MESSAGE_BYTES }, now).await?;
            Ok((unit.new, unit.back))
        })
        .await
    }
}

/// Messages may be older than the last change of the clock. A zone that agrees with what the CDR shows now knows of
/// that change; the offset learnt from the CDR does not.
fn resolver(zone: Option<TimeZone>, learnt: Option<i32>, now: Timestamp) -> OffsetResolver {
    let zone_offset_s = zone.as_ref().map(|zone| zone.to_offset(now).seconds());
    OffsetResolver::new(zone, learnt.filter(|learnt| Some(*learnt) != zone_offset_s))
}

/// Messages that are stored in one transaction, but for those alike, which stay together.
const MESSAGES_PER_PAGE: usize = 500;

/// Messages that are alike in all that is known of them, by the folders that they are in.
#[derive(Debug, PartialEq, Eq)]
struct Alike {
    message: Message,
    folders: Vec<Option<String>>,
}

/// The messages in pages; those alike stay together.
fn pages(messages: Vec<VoicemailMessage>) -> Vec<Vec<Alike>> {
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

/// A page on its way into the database.
struct Page<'a> {
    pbx: &'a str,
    sn: &'a str,
    rules: &'a [ExclusionRule],
    now: Timestamp,
    new: u64,
    back: u64,
}

impl Page<'_> {
    /// Stores messages that are alike. Which of them is which only their audio tells, so they are counted: those known
    /// and not archived are taken to be there before any is taken to be new.
    async fn store(&mut self, tx: &mut Conn, alike: &Alike, resolved: Resolved) -> Result<()> {
        let twins = voicemail::twins(tx, self.pbx, self.sn, &alike.message).await?;
        for twin in surely_there(&twins, alike.folders.len()) {
            if twin.state == RecordingState::Missing {
                queue::revive(tx, twin.id).await?;
                self.back += 1;
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

    async fn enqueue(&mut self, tx: &mut Conn, kept: &KeptMessage, left_at: Option<Timestamp>) -> Result<()> {
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
        self.new += 1;
        if self.rules.is_empty() {
            return Ok(());
        }
        judge_exclusion(tx, self.rules, self.pbx, enqueued.id, self.now).await
    }
}

/// Of `twins`, those not archived that must be there if `present` messages alike are: each archived one may be one of
/// these, and none may be two.
fn surely_there(twins: &[Twin], present: usize) -> impl Iterator<Item = &Twin> {
    let (archived, others): (Vec<_>, Vec<_>) =
        twins.iter().partition(|twin| twin.state == RecordingState::Archived);
    others.into_iter().take(present.saturating_sub(archived.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_from_before_a_change_of_the_clock_has_the_offset_of_then() {
        let now: Timestamp = "2024-04-02T12:00:00Z".parse().unwrap();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let in_winter = parse_local("2024-03-30 12:00:00");
        let table = [
            (Some(zone.clone()), Some(7200), 3600),
            (Some(zone.clone()), None, 3600),
            (Some(zone), Some(28_800), 28_800),
            (None, Some(7200), 7200),
        ];
        for (zone, learnt, offset_s) in table {
            let resolved = resolver(zone.clone(), learnt, now).resolve(&[(None, in_winter)]).remove(0);
            assert_eq!(resolved.utc_offset_s, offset_s, "{zone:?} {learnt:?}");
        }
    }

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
