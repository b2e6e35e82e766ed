//! Accept: take the list of a day, or a file that was found in the place of a recording, as it is, for a reason.

use std::fmt;

use anyhow::{Result, bail};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{Outcome, UsageError};
use crate::base::recording::{RecordingName, printable};
use crate::pipeline::backfill::RangeError;
use crate::pipeline::worker::{self, Taken};
use crate::proof::sealed_vault::SealedVault;
use crate::store::calls;
use crate::store::evidence::{self, Acceptance, Verdict};
use crate::store::findings::{self, FindingKind};

/// The longest reason: it stands in an entry of the ledger.
const REASON_CHARS_MAX: usize = 400;
/// As many digits in a row may be somebody's number, and the ledger is published.
const DIGITS_MAX: usize = 5;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Accept {
    pub what: Subject,
    /// Why; published with the ledger.
    pub reason: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The list of a day, by the calendar of the PBX.
    Day { pbx: String, day: Date },
    /// The file that stands in the place of a recording.
    Recording {
        /// The PBX; if none is given, the only one that waits for a recording of this name.
        pbx: Option<String>,
        /// What the PBX calls it, any bytes.
        name: Vec<u8>,
    },
}

/// A day's list that was accepted, as `--json` prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AcceptedDay {
    pub pbx: String,
    pub day: Date,
    pub verdict: Verdict,
    pub doubts: i64,
    pub ledger_number: i64,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day { pbx, day } => write!(f, "{pbx} {day}"),
            Self::Recording { pbx: Some(pbx), name } => write!(f, "{pbx} {}", printable(name)),
            Self::Recording { pbx: None, name } => f.write_str(&printable(name)),
        }
    }
}

impl Accept {
    /// Refuses a reason that the ledger must not hold, before anything is opened or asked.
    pub fn check(&self) -> Result<(), UsageError> {
        let reason = self.reason.trim();
        let longest = reason.split(|character: char| !character.is_ascii_digit()).map(str::len).max();
        let wrong = if reason.is_empty() {
            "--reason is empty: say why you accept it"
        } else if reason.chars().count() > REASON_CHARS_MAX {
            "--reason is longer than 400 characters: the ledger keeps it for ever, so shorten it"
        } else if longest.unwrap_or(0) > DIGITS_MAX {
            "--reason holds a long number, which may be a phone number: the ledger is published, so leave it out"
        } else {
            return Ok(());
        };
        Err(UsageError(wrong.to_owned()))
    }

    /// Does it. On return the entry is durable in the ledger, and the day is certified anew when it is read next.
    pub(super) async fn execute(&self, opened: &SealedVault) -> Result<Outcome> {
        self.check()?;
        let reason = self.reason.trim().to_owned();
        if let Subject::Day { pbx, .. } | Subject::Recording { pbx: Some(pbx), .. } = &self.what {
            RangeError::check_pbx(pbx, &opened.vault.config.pbx)?;
        }
        match &self.what {
            Subject::Day { pbx, day } => accept_day(opened, (pbx, *day), reason).await,
            Subject::Recording { pbx, name } => accept_file(opened, (pbx, name), reason).await,
        }
    }
}

async fn accept_file(
    opened: &SealedVault,
    (pbx, name): (&Option<String>, &[u8]),
    reason: String,
) -> Result<Outcome> {
    let unknown = || {
        UsageError(format!(
            "no recording called `{}` waits for this: `callvault accept` is for a recording that the PBX does not have, while \
             a file that callvault did not write is in its place (`callvault status` lists them)",
            printable(name)
        ))
    };
    let wanted = RecordingName::new(name).ok_or_else(unknown)?;
    let accepted = match worker::accept_found(&opened.vault, pbx.clone(), wanted, reason).await? {
        Taken::Archived(accepted) => accepted,
        Taken::Nothing => return Err(unknown().into()),
        Taken::Several(pbxs) => bail!(UsageError(format!(
            "pbxs {} each have a recording called `{}`: say which, as in `callvault accept {} NAME`",
            pbxs.join(", "),
            printable(name),
            pbxs[0]
        ))),
        Taken::NoAudio(path) => {
            bail!(UsageError(format!("{path} is not a whole recording: move it away; nothing was accepted")))
        }
    };
    opened.seal().await?;
    Ok(Outcome::AcceptedFile(accepted))
}

async fn accept_day(opened: &SealedVault, (pbx, day): (&str, Date), reason: String) -> Result<Outcome> {
    let (of_pbx, now) = (pbx.to_owned(), opened.vault.clock.now());
    let accepted = opened.vault.state.db.write(async move |tx| {
        let accepted = evidence::accept(tx, &of_pbx, day, &reason, now).await?;
        if matches!(accepted, Acceptance::Accepted { .. }) {
            calls::reopen(tx, &of_pbx, day).await?;
            let of_day = format!("{} line ", findings::cdr_of(day));
            findings::close_within(tx, &of_pbx, FindingKind::BadRow, &of_day, now).await?;
        }
        Ok(accepted)
    });
    let message = match accepted.await? {
        Acceptance::Accepted { verdict, doubts, ledger_number } => {
            opened.seal().await?;
            let pbx = pbx.to_owned();
            return Ok(Outcome::AcceptedDay(AcceptedDay { pbx, day, verdict, doubts, ledger_number }));
        }
        Acceptance::Whole => {
            format!("the call list of {day} of pbx `{pbx}` is whole: there is nothing to accept")
        }
        Acceptance::Unknown => format!(
            "callvault has never read the call list of {day} of pbx `{pbx}`: run `callvault backfill --pbx {pbx} --from {day} \
             --to {day}` first"
        ),
    };
    Err(UsageError(message).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_short_and_names_nobody() {
        let of = |reason: &str| {
            let day = jiff::civil::date(2026, 3, 1);
            Accept { what: Subject::Day { pbx: "hq".into(), day }, reason: reason.into() }.check().is_ok()
        };
        assert!(of("line 4 was seen on the PBX: an internal call of 12 s, not recorded"));
        assert!(!of("  ") && !of(&"x".repeat(401)) && !of("it was 5550142 who called"));
    }
}
