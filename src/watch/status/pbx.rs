//! One PBX at one moment.

use jiff::Timestamp;
use serde::Serialize;

use super::VoicemailStatus;
use crate::base::counts::Counts;
use crate::pipeline::forecast::Forecast;
use crate::pipeline::gate::Trouble;
use crate::proof::certificate::DaysStanding;
use crate::store::evidence::Verdicts;
use crate::store::findings::{FindingKind, FindingRow};
use crate::store::queue::Reason;

/// One PBX at one moment, as `status --json` prints it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PbxStatus {
    /// Call recordings that it listed.
    pub listed: i64,
    /// The same by state.
    #[serde(flatten)]
    pub counts: Counts,
    /// Its voicemail; none if its boxes were never asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voicemail: Option<VoicemailStatus>,
    /// Bytes of audio in the archive.
    pub bytes: i64,
    /// Calls that its CDR told.
    pub calls: i64,
    /// Of these, answered and without a recording.
    pub answered_without_recording: i64,
    /// Its days: settled, certified, complete.
    pub days: DaysStanding,
    /// How far the lists of its days can be believed.
    pub verdicts: Verdicts,
    /// Archived files with something odd, by what is odd.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suspect: Vec<(String, i64)>,
    /// When the oldest recording that is owed was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_pending: Option<Timestamp>,
    /// For how many seconds the PBX will most likely keep all that is owed; negative when it is too late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safety_margin_s: Option<i64>,
    /// What is to be expected of it; none before the first run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// How long CDR rows that were never read have, in words; none while that is long enough.
    #[serde(skip)]
    pub cdr_near: Option<String>,
    /// Voicemail boxes that are about to lose their oldest message.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nearly_full_boxes: Vec<NearlyFullBox>,
    /// The last complete reading of its CDR.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sweep: Option<Timestamp>,
    /// The last recording that it delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_delivery: Option<Timestamp>,
    /// Since when the operator wants it left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_since: Option<Timestamp>,
    /// What is not archived, by state and reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    /// Findings that were not mended, by kind.
    pub findings: Vec<(String, i64)>,
    /// The latest of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub latest_findings: Vec<FindingRow>,
    /// Why nothing is asked of it at present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Trouble>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_since: Option<Timestamp>,
}

/// A voicemail box near its device's limit, beyond which its oldest message is overwritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NearlyFullBox {
    /// Whose box.
    pub extension: String,
    /// Messages in it.
    pub messages: i64,
    /// Messages that it holds at most.
    pub messages_max: i64,
}

impl PbxStatus {
    /// Whether something listed is not archived, or nobody knows what is listed.
    pub fn owes(&self) -> bool {
        self.last_sweep.is_none()
            || self.counts.pending + self.counts.missing + self.counts.stuck > 0
            || self.voicemail.as_ref().is_some_and(VoicemailStatus::owes)
    }

    /// Whether the PBX overwrites a recording that is owed within its `warn_margin_h`.
    pub fn is_overwrite_near(&self) -> bool {
        self.forecast.as_ref().is_some_and(|forecast| forecast.at_risk > 0)
    }

    /// Whether anything is about to be lost.
    pub fn is_at_risk(&self) -> bool {
        self.is_overwrite_near() || self.cdr_near.is_some() || !self.nearly_full_boxes.is_empty()
    }

    /// Whether a list may lack calls, or could not be read.
    pub fn may_lack_calls(&self) -> bool {
        let leaves_doubt = |(kind, _): &(String, i64)| FindingKind::is_about_lists(kind);
        self.verdicts.not_whole() > 0 || self.findings.iter().any(leaves_doubt)
    }

    /// Why it needs a person, in a few words; none if it does not.
    ///
    /// What is pending is on its way, and what is missing for good nobody can bring back: neither is a reason.
    pub fn cause(&self) -> Option<String> {
        let stuck = self.counts.stuck + self.voicemail.as_ref().map_or(0, |voicemail| voicemail.counts.stuck);
        let finding = self.findings.iter().find(|(kind, _)| FindingKind::needs_a_person(kind));
        match (&self.error, finding) {
            (Some(error), _) => Some(words(&error.reason)),
            _ if self.is_at_risk() => Some("about to overwrite".to_owned()),
            _ if stuck > 0 => Some(format!("{stuck} stuck")),
            _ if self.verdicts.not_whole() > 0 => Some(lists_in_doubt(self.verdicts.not_whole())),
            (_, Some((kind, _))) => Some(words(kind)),
            // Who paused it knows why it is not read.
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

/// A class as people read it.
fn words(class: &str) -> String {
    class.replace('_', " ")
}
