//! Voicemail in words: a line of its own in `status` and at the end of a backfill.

use std::fmt::Write as _;

use indicatif::HumanBytes;
use jiff::Timestamp;
use serde::Serialize;
use sqlx::SqliteConnection;

use super::summary::count;
use crate::backfill::VoicemailReport;
use crate::catalog;
use crate::config::PbxConfig;
use crate::queue::{self, Counts, DayRange, Kinds, Reason};
use crate::recording::{RecordingKind, printable};
use crate::sweep::{FullestBox, VoicemailPoll};
use crate::{remedy, voicemail};

/// The state of a PBX's voicemail, as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct VoicemailStatus {
    known: i64,
    #[serde(flatten)]
    counts: Counts,
    bytes: i64,
    /// Whether the device said that it has no voicemail API.
    unsupported: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_poll: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_pending: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fullest: Option<FullestBox>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suspect: Vec<(String, i64)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<Reason>,
}

impl VoicemailStatus {
    /// Reads it; nothing of a PBX whose boxes were never asked for.
    pub async fn read(db: &mut SqliteConnection, pbx: &PbxConfig) -> anyhow::Result<Option<Self>> {
        let remembered = voicemail::remembered(db, &pbx.id).await?;
        if remembered == voicemail::Remembered::default() {
            return Ok(None);
        }
        let time = |ms: Option<i64>| ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let counts = queue::counts(db, &pbx.id, DayRange::ALL, Kinds::Voicemail).await?;
        let holdings = catalog::holdings(db, &pbx.id, RecordingKind::Voicemail).await?;
        Ok(Some(Self {
            known: counts.listed(),
            counts,
            bytes: holdings.bytes,
            unsupported: remembered.unsupported_at_ms.is_some(),
            last_poll: time(remembered.polled_at_ms),
            oldest_pending: queue::oldest_pending(db, &pbx.id, Kinds::Voicemail).await?,
            fullest: remembered.fullest_extension.map(|extension| FullestBox {
                extension,
                messages: u64::try_from(remembered.fullest_messages).unwrap_or(0),
                cap: pbx.voicemail.per_extension,
            }),
            suspect: holdings.suspects,
            reasons: queue::reasons(db, &pbx.id, DayRange::ALL, Kinds::Voicemail).await?,
        }))
    }

    /// Whether a message is not archived, and may be yet.
    pub fn owes(&self) -> bool {
        let Counts { pending, stuck, missing, missing_final, .. } = self.counts;
        pending + stuck + missing - missing_final > 0
    }

    /// Tells it in indented lines.
    pub fn tell(&self, text: &mut String) -> std::fmt::Result {
        if self.unsupported {
            writeln!(text, "  voicemail: this PBX has no API for it; it is asked again once a day")?;
        }
        if self.known == 0 && self.last_poll.is_none() {
            return Ok(());
        }
        let bytes = HumanBytes(u64::try_from(self.bytes).unwrap_or(0));
        let messages = count(u64::try_from(self.known).unwrap_or(0), "message");
        writeln!(
            text,
            "  voicemail: {messages}: {}{}",
            super::status::states(&self.counts, bytes),
            self.fill()
        )?;
        for (odd, count) in &self.suspect {
            writeln!(text, "  {count} archived but suspect: {odd}")?;
        }
        self.reasons.iter().try_for_each(|reason| writeln!(text, "{}", remedy::told(reason)))
    }

    fn fill(&self) -> String {
        self.fullest.as_ref().map_or(String::new(), |fullest| {
            let extension = printable(fullest.extension.as_bytes());
            format!("; the fullest box is that of {extension}, {} of {}", fullest.messages, fullest.cap)
        })
    }
}

/// Tells what became of a PBX's voicemail in a backfill.
pub fn tell(text: &mut String, report: &VoicemailReport, dry_run: bool) -> std::fmt::Result {
    match &report.poll {
        Some(VoicemailPoll { unsupported: true, .. }) => {
            writeln!(text, "  voicemail: this PBX has no API for it")?;
        }
        Some(_) if report.is_unlisted() => {
            writeln!(text, "  voicemail: the boxes could not be listed; run the same command again")?;
        }
        _ => {}
    }
    let would = if dry_run { "would be fetched" } else { "still owed" };
    let rows: [(i64, String); 6] = [
        (report.archived, format!("archived now ({})", HumanBytes(report.bytes))),
        (report.already_archived, "archived before".into()),
        (report.excluded, "excluded by your rules".into()),
        (report.pending, would.into()),
        (report.missing, "deleted or missing on the PBX".into()),
        (report.stuck, "stuck".into()),
    ];
    let told: Vec<String> =
        rows.iter().filter(|(count, _)| *count != 0).map(|(count, what)| format!("{count} {what}")).collect();
    let messages = count(u64::try_from(report.known).unwrap_or(0), "message");
    let colon = if told.is_empty() { "" } else { ": " };
    writeln!(text, "  voicemail: {messages}{colon}{}", told.join(", "))?;
    if dry_run {
        return Ok(());
    }
    report.reasons.iter().try_for_each(|reason| writeln!(text, "\n{}", remedy::told(reason)))
}
