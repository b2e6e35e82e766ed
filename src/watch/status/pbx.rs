//! The state of one PBX.

use jiff::Timestamp;
use serde::Serialize;

use crate::base::counts::Counts;
use crate::pipeline::forecast::Forecast;
use crate::pipeline::gate::Trouble;
use crate::pipeline::sweep::FullestBox;
use crate::store::certificates::DaysStanding;
use crate::store::evidence::Verdicts;
use crate::store::findings::{FindingKind, FindingRow};
use crate::store::queue::Reason;

/// As `status --json` prints it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PbxStatus {
    /// Call recordings that it listed.
    pub listed: i64,
    #[serde(flatten)]
    pub counts: Counts,
    /// None if its boxes were never read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voicemail: Option<VoicemailStatus>,
    pub bytes: i64,
    pub calls: i64,
    pub answered_without_recording: i64,
    pub days: DaysStanding,
    /// How reliable the lists of its days are.
    pub verdicts: Verdicts,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suspect: Vec<(String, i64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_pending: Option<Timestamp>,
    /// How many seconds the PBX will probably keep everything still to be archived; negative when it is too late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safety_margin_s: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// How long unread CDR rows will last, in words; none while that is long enough.
    #[serde(skip)]
    pub cdr_near: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nearly_full_boxes: Vec<NearlyFullBox>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sweep: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_delivery: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_since: Option<Timestamp>,
    /// What is not archived, by state and reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    pub findings: Vec<(FindingKind, i64)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub latest_findings: Vec<FindingRow>,
    /// Why nothing is asked of it at present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Trouble>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_since: Option<Timestamp>,
}

/// A voicemail box near its limit, beyond which its oldest message is overwritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NearlyFullBox {
    pub extension: String,
    pub messages: u64,
    pub messages_max: u64,
}

impl PbxStatus {
    /// Whether something listed is not archived, or the list is not known.
    pub fn owes(&self) -> bool {
        self.last_sweep.is_none()
            || self.counts.owed() > 0
            || self.voicemail.as_ref().is_some_and(VoicemailStatus::owes)
    }

    /// Whether the PBX will overwrite a recording still to be archived within `warn_margin_h`.
    pub fn is_overwrite_near(&self) -> bool {
        self.forecast.as_ref().is_some_and(|forecast| forecast.at_risk > 0)
    }

    /// Whether a list may lack calls, or could not be read.
    pub fn may_lack_calls(&self) -> bool {
        let leaves_doubt = |(kind, _): &(FindingKind, i64)| kind.is_about_lists();
        self.verdicts.not_whole() > 0 || self.findings.iter().any(leaves_doubt)
    }

    /// Why it needs a person, in a few words.
    ///
    /// What is pending is on its way, and nobody can bring back what is missing for good: neither is a reason.
    pub fn cause(&self) -> Option<String> {
        let stuck = self.counts.stuck + self.voicemail.as_ref().map_or(0, |voicemail| voicemail.counts.stuck);
        let finding = self.findings.iter().find(|(kind, _)| kind.needs_a_person());
        let is_at_risk =
            self.is_overwrite_near() || self.cdr_near.is_some() || !self.nearly_full_boxes.is_empty();
        match (&self.error, finding) {
            (Some(error), _) => Some(words(&error.reason)),
            _ if is_at_risk => Some("about to overwrite".to_owned()),
            _ if stuck > 0 => Some(format!("{stuck} stuck")),
            _ if self.verdicts.not_whole() > 0 => Some(lists_in_doubt(self.verdicts.not_whole())),
            (_, Some((kind, _))) => Some(words(kind.as_str())),
            // Whoever paused it knows why it is not read.
            _ if self.last_sweep.is_none() && self.paused_since.is_none() => {
                Some("never read completely".to_owned())
            }
            _ => None,
        }
    }
}

fn lists_in_doubt(days: i64) -> String {
    match days {
        1 => "the call list of 1 day may lack calls".to_owned(),
        _ => format!("the call lists of {days} days may lack calls"),
    }
}

fn words(class: &str) -> String {
    class.replace('_', " ")
}

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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_poll: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_pending: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fullest: Option<FullestBox>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suspect: Vec<(String, i64)>,
    /// What is not archived, by state and reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

impl VoicemailStatus {
    /// Whether a message is not archived, and may still be.
    pub fn owes(&self) -> bool {
        self.counts.awaited() > 0
    }

    /// The fullest box, if it is about to lose its oldest message.
    pub fn nearly_full(&self) -> Option<NearlyFullBox> {
        let fullest = self.fullest.as_ref()?;
        let is_near = fullest.messages * 100 >= fullest.cap * NEARLY_FULL_PERCENT;
        is_near.then(|| NearlyFullBox {
            extension: fullest.extension.clone(),
            messages: fullest.messages,
            messages_max: fullest.cap,
        })
    }
}
