//! Boxes one by one, where the list of all cannot be read: one bad box must not hide the others.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::SUBJECT;
use crate::base::recording::printable;
use crate::pbx::{PbxError, UnreadableMessage, VoicemailList, VoicemailMessage};
use crate::pipeline::gate::Item;
use crate::pipeline::sweep::Sweeper;
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::sql::Conn;
use crate::store::{calls, voicemail};

/// Boxes in a row that fail before no further one is asked for.
const FAILED_MAX: usize = 5;
/// Unreadable entries of one box that a finding names; the rest is only counted.
const ENTRIES_NAMED: usize = 10;

/// What was read of the boxes that are known.
#[derive(Debug)]
pub(super) struct ByBox {
    known: usize,
    read: usize,
    /// Those that could not be, and why. After several in a row the others are not asked for.
    failed: Vec<(String, PbxError)>,
    /// Why the list of all could not be read.
    why: PbxError,
}

impl Sweeper<'_> {
    /// Asks for each box that is known: from earlier lists, and from calls that left a message. Which others there are is
    /// not known, so nothing is concluded from what is not listed.
    pub(super) async fn list_each_box(&self, why: PbxError) -> Result<(VoicemailList, ByBox)> {
        let extensions = self.known_extensions().await?;
        let mut list = VoicemailList::default();
        let mut boxes = ByBox { known: extensions.len(), read: 0, failed: Vec::new(), why };
        let mut in_a_row = 0;
        for extension in &extensions {
            if in_a_row == FAILED_MAX || self.site.is_over() {
                break;
            }
            let item = Item::Mailbox(extension.clone());
            match self.site.client().slot().await.mailbox(extension).await {
                Ok(of_box) => {
                    self.site.gate.worked(&item).await?;
                    in_a_row = 0;
                    boxes.read += 1;
                    list.messages.extend(of_box.messages);
                    list.unreadable.extend(of_box.unreadable);
                }
                Err(error) => {
                    self.site.gate.troubled(&item, &error).await?;
                    in_a_row += 1;
                    warn!(
                        pbx = self.site.id(),
                        "The voicemail box of extension {} could not be listed: {error}",
                        printable(extension.as_bytes())
                    );
                    boxes.failed.push((extension.clone(), error));
                }
            }
        }
        Ok((list, boxes))
    }

    /// Whose boxes are known, in a fixed order.
    async fn known_extensions(&self) -> Result<Vec<String>> {
        let mut db = self.site.db().read().await?;
        let mut extensions: BTreeSet<String> =
            voicemail::extensions(&mut db, self.site.id()).await?.into_iter().collect();
        let called = calls::left_messages(&mut db, self.site.id()).await?;
        extensions.extend(called.iter().filter_map(|callee| extension_of(callee)).map(str::to_owned));
        Ok(extensions.into_iter().collect())
    }
}

/// The extension in a callee's name: `1105` of `1105`, and of `6704(1105)` where a queue had passed the call on.
fn extension_of(callee: &str) -> Option<&str> {
    let callee = callee.trim();
    let inner = callee.strip_suffix(')').and_then(|callee| callee.rsplit_once('('));
    let extension = inner.map_or(callee, |(_, inner)| inner.trim());
    let is_one = !extension.is_empty() && extension.bytes().all(|byte| byte.is_ascii_digit());
    is_one.then_some(extension)
}

impl ByBox {
    /// Keeps a finding for the list and for each box that could not be read, and closes those of boxes that were.
    pub(super) async fn note(&self, tx: &mut Conn, pbx: &str, now: Timestamp) -> Result<()> {
        let kind = FindingKind::VoicemailUnlisted;
        let mut found = vec![Finding { kind, subject: SUBJECT.to_owned(), detail: self.detail() }];
        found.extend(self.failed.iter().map(|(extension, error)| {
            let subject = mailbox(extension);
            let detail =
                format!("{subject} could not be listed, so new messages in it are not known: {error}");
            Finding { kind, subject, detail }
        }));
        findings::record_all(tx, pbx, kind, &found, now).await
    }

    fn detail(&self) -> String {
        let Self { known, read, why, .. } = self;
        match read {
            0 => format!("the voicemail could not be listed, so new messages are not known: {why}"),
            _ => format!(
                "the list of all voicemail boxes could not be read, so each box that is known was asked for by itself: {read} \
                 of {known} were read; messages in other boxes are not known: {why}"
            ),
        }
    }
}

fn mailbox(extension: &str) -> String {
    format!("the voicemail box of extension {}", printable(extension.as_bytes()))
}

/// Keeps a finding for each box with entries that cannot be read, until they can be. `is_whole` if all boxes were listed:
/// of a box that was not, the finding stays.
pub(super) async fn note_unreadable(
    tx: &mut Conn,
    pbx: &str,
    unreadable: &[UnreadableMessage],
    is_whole: bool,
    now: Timestamp,
) -> Result<()> {
    let found = unreadable_of_each_box(unreadable);
    if is_whole {
        return findings::record_all(tx, pbx, FindingKind::BadMessage, &found, now).await;
    }
    for finding in &found {
        findings::record(tx, pbx, finding, now).await?;
    }
    Ok(())
}

fn unreadable_of_each_box(unreadable: &[UnreadableMessage]) -> Vec<Finding> {
    let mut sorted = unreadable.to_vec();
    sorted.sort();
    let boxes = sorted.chunk_by(|one, other| one.extension == other.extension);
    boxes.map(|entries| unreadable_of(entries[0].extension.as_deref(), entries)).collect()
}

fn unreadable_of(extension: Option<&str>, entries: &[UnreadableMessage]) -> Finding {
    let numbers: Vec<String> =
        entries.iter().take(ENTRIES_NAMED).map(|entry| entry.entry.to_string()).collect();
    let more = entries.len() - numbers.len();
    let noun = if entries.len() == 1 { "entry" } else { "entries" };
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let which = format!("{noun} {}{more}", numbers.join(", "));
    let (subject, detail) = match extension {
        Some(extension) => {
            let subject = mailbox(extension);
            let detail = format!(
                "{which} of {subject} cannot be read in the PBX's list, so these messages are not archived; the others of \
                 this box are. Look at the caller's name there: a quotation mark or a backslash in it breaks the list"
            );
            (subject, detail)
        }
        None => {
            let detail = format!(
                "{which} of the PBX's list of voicemail boxes cannot be read, so messages of those boxes are not archived"
            );
            (SUBJECT.to_owned(), detail)
        }
    };
    Finding { kind: FindingKind::BadMessage, subject, detail }
}

/// A box that is so full, in percent of what the device keeps, is nearly full.
const NEARLY_FULL_PERCENT: u64 = 80;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullestBox {
    pub extension: String,
    pub messages: u64,
    /// As many as the device keeps, as far as the configuration knows.
    pub cap: u64,
}

pub(super) struct Fill {
    pub(super) by_extension: BTreeMap<String, u64>,
    cap: u64,
}

impl Fill {
    pub(super) fn of(messages: &[VoicemailMessage], cap: u64) -> Self {
        let mut by_extension = BTreeMap::new();
        for listed in messages {
            *by_extension.entry(listed.message.extension.clone()).or_default() += 1;
        }
        Self { by_extension, cap }
    }

    pub(super) fn fullest(&self) -> Option<FullestBox> {
        let (extension, messages) = self.by_extension.iter().max_by_key(|(_, messages)| **messages)?;
        Some(FullestBox { extension: extension.clone(), messages: *messages, cap: self.cap })
    }

    pub(super) fn nearly_full(&self) -> impl Iterator<Item = (&String, u64)> {
        let full = self.by_extension.iter().map(|(extension, messages)| (extension, *messages));
        full.filter(|(_, messages)| messages * 100 >= self.cap * NEARLY_FULL_PERCENT)
    }

    /// Keeps a finding for each box that is nearly full, and closes those of the others.
    pub(super) async fn note(&self, tx: &mut Conn, pbx: &str, now: Timestamp) -> Result<()> {
        let kind = FindingKind::VoicemailNearlyFull;
        let found = self.nearly_full().map(|(extension, messages)| {
            let subject = printable(extension.as_bytes());
            let detail = format!(
                "the voicemail box of extension {subject} holds {messages} messages, and the PBX keeps {} before it \
                 deletes the oldest: delete old ones there, or raise the PBX's limit and `voicemail_per_extension`",
                self.cap
            );
            Finding { kind, subject, detail }
        });
        findings::record_all(tx, pbx, kind, &found.collect::<Vec<_>>(), now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::message::Message;

    #[test]
    fn the_extension_is_what_the_call_ended_at() {
        for (callee, extension) in [
            ("1105", Some("1105")),
            (" 6704(1105) ", Some("1105")),
            ("", None),
            ("callback", None),
            ("()", None),
        ] {
            assert_eq!(extension_of(callee), extension, "{callee}");
        }
    }

    #[test]
    fn the_sentence_names_the_box_and_the_places() {
        let entry = |extension: Option<&str>, entry| UnreadableMessage {
            extension: extension.map(str::to_owned),
            entry,
        };
        let found = unreadable_of_each_box(&[entry(Some("1004"), 5), entry(None, 3), entry(Some("1004"), 2)]);
        let found: Vec<(&str, &str)> =
            found.iter().map(|finding| (&*finding.subject, &*finding.detail)).collect();
        assert_eq!(found[0].0, SUBJECT);
        assert!(
            found[0].1.starts_with("entry 3 of the PBX's list of voicemail boxes cannot be read"),
            "{found:?}"
        );
        assert_eq!(found[1].0, "the voicemail box of extension 1004");
        let start = "entries 2, 5 of the voicemail box of extension 1004 cannot be read";
        assert!(found[1].1.starts_with(start), "{found:?}");
        let many: Vec<_> = (1..=13).map(|number| entry(Some("1004"), number)).collect();
        assert!(
            unreadable_of_each_box(&many)[0]
                .detail
                .starts_with("entries 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 3 more")
        );
    }

    fn listed(extension: &str, date: &str) -> VoicemailMessage {
        let [extension, date, file] = [extension, date, "msg0000.wav"].map(str::to_owned);
        let message = Message { extension, date, caller: String::new(), length: "9".to_owned() };
        VoicemailMessage { file, status: None, message }
    }

    #[test]
    fn a_box_is_nearly_full_from_four_fifths_on() {
        for (messages, nearly) in [(0, 0), (7, 0), (8, 1), (12, 1)] {
            let messages: Vec<_> = (0..messages).map(|_| listed("1003", "")).collect();
            assert_eq!(Fill::of(&messages, 10).nearly_full().count(), nearly, "{}", messages.len());
        }
    }
}
