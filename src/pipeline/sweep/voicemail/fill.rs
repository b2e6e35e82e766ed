//! How full the boxes are: a device deletes the oldest messages of a full one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use crate::base::recording::printable;
use crate::pbx::VoicemailMessage;
use crate::store::findings::{self, Finding, FindingKind};

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
    pub(super) async fn note(
        &self,
        tx: &mut SqliteConnection,
        pbx: &str,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let mut subjects = Vec::new();
        for (extension, messages) in self.nearly_full() {
            let subject = printable(extension.as_bytes());
            let detail = format!(
                "the voicemail box of extension {subject} holds {messages} messages, and the PBX keeps {} before it \
                 deletes the oldest: delete old ones there, or raise the PBX's limit and `voicemail_per_extension`",
                self.cap
            );
            subjects.push(subject.clone());
            findings::record(
                tx,
                pbx,
                &Finding { kind: FindingKind::VoicemailNearlyFull, subject, detail },
                now,
            )
            .await?;
        }
        let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
        findings::close_others(tx, pbx, FindingKind::VoicemailNearlyFull, &subjects, now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::message::Message;

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
