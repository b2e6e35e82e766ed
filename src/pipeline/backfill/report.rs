//! What a backfill came to, as `--json` prints it.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::RangeError;
use crate::archive::ArchiveError;
use crate::base::counts::{self, Counts};
use crate::config::PbxConfig;
use crate::pipeline::gate::Trouble;
use crate::pipeline::site::SAME_DEVICE;
use crate::pipeline::sweep::{CdrFileError, SweepReport, VoicemailPoll};
use crate::store::evidence::Verdicts;
use crate::store::fleet::SameDevice;
use crate::store::queue::Reason;

/// What a backfill came to at one PBX.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PbxReport {
    /// Recordings that the PBX's CDR names within the range.
    #[serde(flatten, serialize_with = "counts::of_run")]
    pub counts: Counts,
    pub elapsed_s: f64,
    /// What became of voicemail, if it was asked for; in none of the other numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voicemail: Option<VoicemailReport>,
    pub sweep: SweepReport,
    /// How far the lists of its days can be believed.
    pub verdicts: Verdicts,
    pub reasons: Vec<Reason>,
    /// Days of the range: first and last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<(String, String)>,
    /// Why it is not finished: the PBX was given up, or this machine has trouble of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Trouble>,
    /// Trouble of this machine's own: the archive, a CDR file.
    #[serde(skip)]
    pub own_trouble: Option<Trouble>,
}

impl PbxReport {
    pub(super) fn set_voicemail(&mut self, mut voicemail: Option<VoicemailReport>) {
        let trouble = voicemail.as_mut().and_then(|voicemail| voicemail.own_trouble.take());
        self.own_trouble = self.own_trouble.take().or(trouble);
        self.voicemail = voicemail;
    }

    /// `given_up` is why the PBX was given up, if it was.
    pub(super) fn set_error(&mut self, given_up: Option<Trouble>) {
        // One device under two names is this machine's own trouble too.
        let same_device = given_up.as_ref().filter(|trouble| trouble.reason == SAME_DEVICE);
        self.own_trouble = self.own_trouble.take().or(same_device.cloned());
        self.error = given_up.or_else(|| self.own_trouble.clone());
    }

    /// Whether something that there was to read could not be read.
    pub fn is_unread(&self) -> bool {
        let is_unlisted = self.voicemail.as_ref().is_some_and(VoicemailReport::is_unlisted);
        self.error.is_some() || self.sweep.days_unread + self.sweep.days_unasked > 0 || is_unlisted
    }

    /// Whether a list may lack calls, so that recordings may exist that nobody knows of.
    pub fn may_lack_calls(&self) -> bool {
        self.verdicts.not_whole() > 0
    }
}

/// What became of the voicemail of one PBX.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct VoicemailReport {
    /// Messages that the boxes were ever seen to hold.
    #[serde(flatten, serialize_with = "counts::of_messages")]
    pub counts: Counts,
    /// What the poll of the boxes found, if they were polled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll: Option<VoicemailPoll>,
    pub reasons: Vec<Reason>,
    /// Trouble of this machine's own, which is reported with that of the PBX.
    #[serde(skip)]
    pub own_trouble: Option<Trouble>,
}

impl VoicemailReport {
    /// Messages that are not archived, and may be yet. One whose deletion is final does not count: its owner may delete it before
    /// anybody looks.
    pub fn awaited(&self) -> i64 {
        self.counts.awaited()
    }

    /// Whether the boxes should have been listed and could not be, or not all that they hold.
    pub fn is_unlisted(&self) -> bool {
        self.poll.as_ref().is_some_and(|poll| !poll.whole && !poll.unsupported || poll.unreadable > 0)
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BackfillReport {
    #[serde(flatten, serialize_with = "counts::of_run")]
    pub total: Counts,
    /// The sum of what became of voicemail, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voicemail: Option<VoicemailReport>,
    pub elapsed_s: f64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Trouble of this machine's own, which ended it.
    #[serde(rename = "error", skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    pub pbx: BTreeMap<String, PbxReport>,
}

/// What the text of a report needs and `--json` does not print: by PBX, calls and messages that are missing for good.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Unprinted(BTreeMap<String, (i64, i64)>);

impl BackfillReport {
    /// What is lost where the report is passed on as it is printed.
    pub fn unprinted(&self) -> Unprinted {
        let of_pbx = |(id, pbx): (&String, &PbxReport)| {
            let messages = pbx.voicemail.as_ref().map_or(0, |voicemail| voicemail.counts.missing_final);
            (id.clone(), (pbx.counts.missing_final, messages))
        };
        Unprinted(self.pbx.iter().map(of_pbx).collect())
    }

    /// The report as it was before it was passed on.
    #[must_use]
    pub fn with_unprinted(mut self, Unprinted(by_pbx): &Unprinted) -> Self {
        for (id, (calls, messages)) in by_pbx {
            let Some(pbx) = self.pbx.get_mut(id) else { continue };
            pbx.counts.missing_final = *calls;
            self.total.missing_final += calls;
            if let (Some(of_pbx), Some(sum)) = (&mut pbx.voicemail, &mut self.voicemail) {
                of_pbx.counts.missing_final = *messages;
                sum.counts.missing_final += messages;
            }
        }
        self
    }

    pub(crate) fn add(&mut self, id: String, report: PbxReport) {
        self.total += report.counts;
        if let Some(voicemail) = &report.voicemail {
            // Polls and reasons are each PBX's own.
            self.voicemail.get_or_insert_default().counts += voicemail.counts;
        }
        if let Some(trouble) = &report.own_trouble {
            self.trouble.get_or_insert_with(|| trouble.clone());
        }
        self.pbx.insert(id, report);
    }

    /// How far the lists of all PBXs can be believed.
    pub fn verdicts(&self) -> Verdicts {
        let mut sum = Verdicts::default();
        self.pbx.values().for_each(|report| sum += &report.verdicts);
        sum
    }

    /// The exit code, by the contract in `docs/` and `--help`: 130, 2, 4, 3 in that order, else 0.
    pub fn exit_code(&self, dry_run: bool) -> u8 {
        let awaits_messages =
            |report: &PbxReport| report.voicemail.as_ref().is_some_and(|of| of.awaited() > 0);
        let is_incomplete =
            self.pbx.values().any(|report| report.counts.owed() > 0 || awaits_messages(report));
        if self.interrupted {
            130
        } else if self.trouble.is_some() {
            2
        } else if self.pbx.values().any(|report| report.is_unread() || report.may_lack_calls()) {
            4
        } else if is_incomplete && !dry_run {
            3
        } else {
            0
        }
    }
}

/// Files of the CDR folder that are no CDR: asking again would not help, so it is not a PBX's trouble.
pub(super) fn unread_files(pbx: &PbxConfig, found: &SweepReport) -> Option<Trouble> {
    let folder = pbx.cdr_folder.as_ref().filter(|_| found.files_unread > 0)?;
    let message = format!(
        "{} of the CDR folder {} could not be read; `callvault status` names them: correct or remove them",
        if found.files_unread == 1 { "one file".to_owned() } else { format!("{} files", found.files_unread) },
        folder.display()
    );
    Some(Trouble { reason: "cdr_file".into(), message })
}

/// What an operator can mend of this machine's own trouble; all else is an internal error and ends the command.
pub(crate) fn own_trouble(error: anyhow::Error) -> Result<Trouble> {
    let reason = if error.is::<ArchiveError>() {
        "archive"
    } else if error.is::<RangeError>() {
        "usage"
    } else if error.is::<SameDevice>() {
        SAME_DEVICE
    } else if error.is::<CdrFileError>() {
        "cdr_file"
    } else {
        return Err(error);
    };
    Ok(Trouble { reason: reason.into(), message: format!("{error:#}") })
}
