use jiff::Timestamp;
use serde::Serialize;

use super::NearlyFullBox;
use crate::base::counts::Counts;
use crate::pipeline::sweep::FullestBox;
use crate::store::queue::Reason;

/// In percent of the cap of a box.
const NEARLY_FULL_PERCENT: u64 = 80;

/// As `status --json` prints it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VoicemailStatus {
    /// Messages that its boxes were ever seen to hold.
    pub known: i64,
    #[serde(flatten)]
    pub counts: Counts,
    pub bytes: i64,
    /// Whether the device said that it has no voicemail API.
    pub unsupported: bool,
    /// The last complete reading of all boxes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_poll: Option<Timestamp>,
    /// When the oldest message still to be archived was left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_pending: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fullest: Option<FullestBox>,
    /// Archived messages with unusual audio, by what is unusual.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suspect: Vec<(String, i64)>,
    /// What is not archived, by state and reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

impl VoicemailStatus {
    /// Whether a message is not archived, and may still be.
    pub fn owes(&self) -> bool {
        let Counts { pending, stuck, missing, missing_final, .. } = self.counts;
        pending + stuck + missing - missing_final > 0
    }

    /// The fullest box, if it is about to lose its oldest message.
    pub fn nearly_full(&self) -> Option<NearlyFullBox> {
        let fullest = self.fullest.as_ref()?;
        let is_near = fullest.messages * 100 >= fullest.cap * NEARLY_FULL_PERCENT;
        is_near.then(|| NearlyFullBox {
            extension: fullest.extension.clone(),
            messages: i64::try_from(fullest.messages).unwrap_or(i64::MAX),
            messages_max: i64::try_from(fullest.cap).unwrap_or(i64::MAX),
        })
    }
}
