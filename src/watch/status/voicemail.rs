//! The voicemail of one PBX at one moment.

use jiff::Timestamp;
use serde::Serialize;

use super::NearlyFullBox;
use crate::base::counts::Counts;
use crate::pipeline::sweep::FullestBox;
use crate::store::queue::Reason;

/// The part of its cap from which on a box counts as nearly full, in hundredths.
const NEARLY_FULL_PERCENT: u64 = 80;

/// The state of a PBX's voicemail, as `status --json` prints it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VoicemailStatus {
    /// Messages that its boxes were ever seen to hold.
    pub known: i64,
    /// The same by state.
    #[serde(flatten)]
    pub counts: Counts,
    /// Bytes of audio in the archive.
    pub bytes: i64,
    /// Whether the device said that it has no voicemail API.
    pub unsupported: bool,
    /// The last complete look into all boxes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_poll: Option<Timestamp>,
    /// When the oldest message that is owed was left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_pending: Option<Timestamp>,
    /// The fullest box, and how many messages it holds at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fullest: Option<FullestBox>,
    /// Archived messages with something odd, by what is odd.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suspect: Vec<(String, i64)>,
    /// What is not archived, by state and reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

impl VoicemailStatus {
    /// Whether a message is not archived, and may be yet.
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
