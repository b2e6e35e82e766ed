//! What a backfill came to, as `--json` prints it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::VoicemailReport;
use crate::pipeline::gate::Trouble;
use crate::pipeline::sweep::SweepReport;
use crate::store::evidence::Verdicts;
use crate::store::queue::{Counts, Reason};

/// The numbers of one PBX. `listed` is the sum of archived, already archived, missing, excluded, pending and stuck.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PbxReport {
    /// Recordings that the PBX's CDR names within the range.
    pub listed: i64,
    /// Archived by this run.
    pub archived: i64,
    /// Archived before.
    pub already_archived: i64,
    /// The PBX says that it does not have them.
    pub missing: i64,
    /// Of these, not asked for any more by itself.
    #[serde(skip)]
    pub missing_final: i64,
    /// Kept out by a rule.
    pub excluded: i64,
    /// Still owed.
    pub pending: i64,
    /// Failed too often for one reason; still owed.
    pub stuck: i64,
    /// Bytes of audio archived by this run.
    pub bytes: u64,
    /// How long it took.
    pub elapsed_s: f64,
    /// What became of voicemail, if it was asked for; in none of the other numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voicemail: Option<VoicemailReport>,
    /// What the sweep found.
    pub sweep: SweepReport,
    /// How far the lists of its days can be believed.
    pub verdicts: Verdicts,
    /// Why recordings are not archived.
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
    pub(super) fn set_counts(&mut self, counts: Counts, already_archived: i64) {
        self.listed = counts.listed();
        self.archived = counts.archived - already_archived;
        self.already_archived = already_archived;
        self.missing = counts.missing;
        self.missing_final = counts.missing_final;
        self.excluded = counts.excluded;
        self.pending = counts.pending;
        self.stuck = counts.stuck;
    }

    pub(super) fn set_voicemail(&mut self, voicemail: Option<VoicemailReport>) {
        self.voicemail = voicemail;
        let trouble = self.voicemail.as_mut().and_then(|voicemail| voicemail.own_trouble.take());
        if self.own_trouble.is_none() {
            self.own_trouble = trouble;
        }
    }

    /// Recordings that are listed and not archived, and should be.
    pub fn owed(&self) -> i64 {
        self.missing + self.pending + self.stuck
    }

    /// The same, with voicemail.
    fn owed_of_all(&self) -> i64 {
        self.owed() + self.voicemail.as_ref().map_or(0, VoicemailReport::owed)
    }

    /// Whether something that there was to read could not be read.
    pub fn is_unread(&self) -> bool {
        let is_unlisted = self.voicemail.as_ref().is_some_and(VoicemailReport::is_unlisted);
        self.error.is_some() || self.sweep.days_unread + self.sweep.days_unasked > 0 || is_unlisted
    }

    /// Whether a list may lack calls, so that recordings may be owed that nobody knows of.
    pub fn may_lack_calls(&self) -> bool {
        self.verdicts.not_whole() > 0
    }
}

/// The numbers of all PBXs.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BackfillReport {
    /// The sum over the PBXs.
    #[serde(flatten)]
    pub total: Totals,
    /// The sum of what became of voicemail, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voicemail: Option<VoicemailReport>,
    /// How long it took.
    pub elapsed_s: f64,
    /// Whether it was stopped before its end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Trouble of this machine's own, which ended it.
    #[serde(rename = "error", skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// Each PBX by its id.
    pub pbx: BTreeMap<String, PbxReport>,
}

/// Sums over the PBXs, each of the field of the same name in [`PbxReport`].
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Totals {
    /// Recordings that the CDRs name.
    pub listed: i64,
    /// Archived by this run.
    pub archived: i64,
    /// Archived before.
    pub already_archived: i64,
    /// The PBXs say that they do not have them.
    pub missing: i64,
    /// Of these, not asked for any more by itself.
    #[serde(skip)]
    pub missing_final: i64,
    /// Kept out by a rule.
    pub excluded: i64,
    /// Still owed.
    pub pending: i64,
    /// Failed too often for one reason; still owed.
    pub stuck: i64,
    /// Bytes of audio archived by this run.
    pub bytes: u64,
}

impl BackfillReport {
    pub(super) fn add(&mut self, id: String, report: PbxReport) {
        let total = &mut self.total;
        total.listed += report.listed;
        total.archived += report.archived;
        total.already_archived += report.already_archived;
        total.missing += report.missing;
        total.missing_final += report.missing_final;
        total.excluded += report.excluded;
        total.pending += report.pending;
        total.stuck += report.stuck;
        total.bytes += report.bytes;
        if let Some(voicemail) = &report.voicemail {
            *self.voicemail.get_or_insert_default() += voicemail;
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
        let owed = self.pbx.values().any(|report| report.owed_of_all() > 0);
        if self.interrupted {
            130
        } else if self.trouble.is_some() {
            2
        } else if self.pbx.values().any(|report| report.is_unread() || report.may_lack_calls()) {
            4
        } else if owed && !dry_run {
            3
        } else {
            0
        }
    }
}
