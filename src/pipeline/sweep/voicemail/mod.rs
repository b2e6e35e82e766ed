//! Polling a PBX's voicemail boxes: what is new comes into the queue, what is back is owed again.
//!
//! That a message is gone is not concluded here: its worker looks into the box right before it asks for the audio, and
//! counts the looks that did not find it (`worker::judge`).

mod boxes;
mod fill;
mod page;

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

pub use fill::FullestBox;

use super::Sweeper;
use super::range::{TRIES, WAITS};
use crate::base::times::{OffsetResolver, parse_local};
use crate::pbx::{PbxError, Policy, Reason, UnreadableMessage, VoicemailList, VoicemailMessage};
use crate::pipeline::gate::Item;
use crate::store::findings::{self, FindingKind};
use crate::store::fleet;
use crate::store::intake::{self, Added, IntakeSlowed};
use crate::store::sql::Ms;
use crate::store::voicemail::{self, Poll};
use boxes::{ByBox, note_unreadable};
use fill::Fill;
use page::{Alike, Page, Stored, pages};

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
    /// Boxes that are nearly full: findings. If there are any, the next poll should come sooner than usual.
    pub nearly_full: u64,
}

impl VoicemailPoll {
    /// Whether the next poll should come sooner than usual: the device deletes the oldest of a full box.
    pub fn should_come_sooner(&self) -> bool {
        self.nearly_full > 0
    }
}

/// Polls all boxes of the sweeper's PBX once.
///
/// A device without voicemail is asked again after a day. An error of the PBX is told to its access; if it does not
/// pass, the poll is not `whole`, and nothing is concluded from it.
pub async fn poll_voicemail(sweeper: &Sweeper<'_>) -> anyhow::Result<VoicemailPoll> {
    let now = sweeper.clock.now();
    let before = voicemail::remembered(&mut *sweeper.db.read().await?, &sweeper.pbx.id).await?;
    if before.unsupported_at_ms.is_some_and(|Ms(at)| now.duration_since(at).abs() < PROBE_EVERY) {
        return Ok(VoicemailPoll { unsupported: true, ..VoicemailPoll::default() });
    }
    let had_messages = before.listed_at_ms.is_some();
    match sweeper.list_voicemail().await? {
        Listed::Whole(list) => sweeper.store_list(list, now).await,
        // A device does not lose a part of its API: it is the list that it cannot tell.
        Listed::Unsupported if had_messages => {
            let what = "it says that it has no voicemail API, though it listed messages before";
            let error = PbxError::new(&sweeper.pbx.id, Policy::Retry, Reason::Unsupported, what);
            let boxes = sweeper.list_each_box(error).await?;
            sweeper.store_boxes(boxes, now).await
        }
        Listed::Unsupported => sweeper.note_unsupported(before.unsupported_at_ms.is_none(), now).await,
        Listed::Stopped => Ok(VoicemailPoll::default()),
        Listed::Failed(error) => {
            let boxes = sweeper.list_each_box(error).await?;
            sweeper.store_boxes(boxes, now).await
        }
    }
}

enum Listed {
    Whole(VoicemailList),
    Unsupported,
    Failed(PbxError),
    /// The PBX was given up, or the run ends.
    Stopped,
}

impl Sweeper<'_> {
    async fn list_voicemail(&self) -> anyhow::Result<Listed> {
        let mut tries = 0;
        while !self.stop.is_cancelled() && !self.gate.given_up().is_cancelled() {
            let error = match self.client.voicemail().await {
                Ok(list) => {
                    self.gate.worked(&Item::Boxes).await?;
                    return Ok(list.map_or(Listed::Unsupported, Listed::Whole));
                }
                Err(error) => error,
            };
            self.gate.troubled(&Item::Boxes, &error).await?;
            if error.policy().concerns_pbx() {
                continue;
            }
            tries += 1;
            if tries == TRIES {
                warn!(pbx = %self.pbx.id, "The voicemail of pbx `{}` could not be listed: {error}", self.pbx.id);
                return Ok(Listed::Failed(error));
            }
            tokio::time::sleep(WAITS.after(tries - 1)).await;
        }
        Ok(Listed::Stopped)
    }

    async fn note_unsupported(&self, is_news: bool, now: Timestamp) -> anyhow::Result<VoicemailPoll> {
        let pbx = self.pbx.id.clone();
        if is_news {
            info!(pbx = %pbx, "Pbx `{pbx}` has no voicemail API; it is asked again once a day");
        }
        self.db.write(async move |tx| voicemail::note_unsupported(tx, &pbx, now).await).await?;
        Ok(VoicemailPoll { unsupported: true, ..VoicemailPoll::default() })
    }

    async fn store_list(&self, list: VoicemailList, now: Timestamp) -> anyhow::Result<VoicemailPoll> {
        let fill = Fill::of(&list.messages, self.pbx.voicemail.per_extension);
        let mut report = VoicemailPoll {
            whole: true,
            boxes: fill.by_extension.len() as u64,
            messages: list.messages.len() as u64,
            unreadable: list.unreadable.len() as u64,
            fullest: fill.fullest(),
            nearly_full: fill.nearly_full().count() as u64,
            ..VoicemailPoll::default()
        };
        self.store_all(list.messages, &mut report, now).await?;
        self.note_poll(&report, fill, list.unreadable, now).await?;
        Ok(report)
    }

    /// Stores what was read of some boxes. Of the others nothing is known, so the poll is not whole.
    async fn store_boxes(&self, boxes: ByBox, now: Timestamp) -> anyhow::Result<VoicemailPoll> {
        let fill = Fill::of(&boxes.list.messages, self.pbx.voicemail.per_extension);
        let mut report = VoicemailPoll {
            boxes: fill.by_extension.len() as u64,
            messages: boxes.list.messages.len() as u64,
            unreadable: boxes.list.unreadable.len() as u64,
            fullest: fill.fullest(),
            nearly_full: fill.nearly_full().count() as u64,
            ..VoicemailPoll::default()
        };
        self.store_all(boxes.list.messages.clone(), &mut report, now).await?;
        if self.stop.is_cancelled() || self.gate.given_up().is_cancelled() {
            // Why the others were not read is told by the PBX's own trouble.
            return Ok(report);
        }
        let pbx = self.pbx.id.clone();
        self.db
            .write(async move |tx| {
                boxes.note(tx, &pbx, now).await?;
                note_unreadable(tx, &pbx, &boxes.list.unreadable, false, now).await
            })
            .await?;
        Ok(report)
    }

    async fn store_all(
        &self,
        messages: Vec<VoicemailMessage>,
        report: &mut VoicemailPoll,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        for page in pages(messages) {
            if let Err(error) = self.may_add().await {
                // What is not stored is still in its box at the next poll.
                self.note_slowed(Some(&error.downcast::<IntakeSlowed>()?)).await?;
                report.whole = false;
                break;
            }
            let stored = self.store_messages(page, now).await?;
            report.messages_new += stored.new;
            report.messages_back += stored.back;
        }
        Ok(())
    }

    async fn store_messages(&self, page: Vec<Alike>, now: Timestamp) -> anyhow::Result<Stored> {
        let (pbx, zone) = (self.pbx.id.clone(), self.pbx.timezone.clone());
        let rules = Arc::clone(&self.rules);
        self.db
            .write(async move |tx| {
                let remembered = fleet::remembered(tx, &pbx).await?;
                let mut resolver = resolver(zone, remembered.utc_offset_s, now);
                let sn = remembered.sn.unwrap_or_default();
                let mut unit = Page { pbx: &pbx, sn: &sn, rules: &rules, now, stored: Stored::default() };
                for alike in &page {
                    let local = parse_local(&alike.message.date);
                    let resolved = resolver.resolve(&[(None, local)]).remove(0);
                    unit.store(tx, alike, resolved).await?;
                }
                let rows = unit.stored.new;
                intake::note(tx, &pbx, Added { rows, bytes: rows * MESSAGE_BYTES }, now).await?;
                Ok(unit.stored)
            })
            .await
    }

    async fn note_poll(
        &self,
        report: &VoicemailPoll,
        fill: Fill,
        unreadable: Vec<UnreadableMessage>,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let (pbx, report) = (self.pbx.id.clone(), report.clone());
        self.db
            .write(async move |tx| {
                let fullest = report.fullest.map(|fullest| (fullest.extension, fullest.messages));
                let poll = Poll { boxes: report.boxes, messages: report.messages, fullest };
                voicemail::note_poll(tx, &pbx, &poll, now).await?;
                fill.note(tx, &pbx, now).await?;
                findings::close(tx, &pbx, FindingKind::VoicemailUnlisted, now).await?;
                note_unreadable(tx, &pbx, &unreadable, true, now).await
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
}
