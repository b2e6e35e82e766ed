//! `callvault accept`: take the list of a day as it is, and say why.

use std::path::Path;
use std::process::ExitCode;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::errand::{Errand, Outcome};
use super::exit::{self, UsageError};
use super::handover;
use crate::backfill::RangeError;
use crate::calls;
use crate::evidence::{self, Acceptance, Verdict};
use crate::findings::{self, FindingKind};
use crate::vault::Vault;

/// The longest reason: it stands in an entry of the ledger.
const REASON_CHARS_MAX: usize = 400;
/// As many digits in a row may be somebody's number, and the ledger is published.
const DIGITS_MAX: usize = 5;

/// What to accept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Choice {
    /// The PBX.
    pub pbx: String,
    /// The day, by its calendar.
    pub day: Date,
    /// Why; published with the ledger.
    pub reason: String,
}

impl Choice {
    fn check(&self) -> Result<(), UsageError> {
        let reason = self.reason.trim();
        let longest = reason.split(|character: char| !character.is_ascii_digit()).map(str::len).max();
        let wrong = if reason.is_empty() {
            "--reason is empty: say why the day's list is accepted as it is"
        } else if reason.chars().count() > REASON_CHARS_MAX {
            "--reason is longer than 400 characters: the ledger keeps it for ever, so say it in fewer"
        } else if longest.unwrap_or(0) > DIGITS_MAX {
            "--reason holds a long number, which may be somebody's: the ledger is published, so leave it out"
        } else {
            return Ok(());
        };
        Err(UsageError(wrong.to_owned()))
    }
}

/// Accepts the list of a day. Exits 2 if there is nothing to accept.
pub async fn run(config: &Path, choice: Choice, json: bool) -> ExitCode {
    // Before anything is opened or asked.
    if let Err(error) = choice.check() {
        return exit::fail(&error.into(), json);
    }
    handover::run(config, Errand::Accept(choice), json).await
}

/// Does it. On return the entry is durable in the ledger, and the day is certified anew when it is read next.
pub(super) async fn accept(vault: &Vault, choice: &Choice) -> anyhow::Result<Outcome> {
    choice.check()?;
    let Choice { pbx, day, .. } = choice;
    if !vault.config.pbx.iter().any(|configured| configured.id == *pbx) {
        return Err(RangeError::unknown_pbx(pbx, &vault.config.pbx).into());
    }
    let (chosen, now) = (choice.clone(), vault.clock.now());
    let accepted = vault.state.db.write(move |tx| {
        Box::pin(async move {
            let Choice { pbx, day, reason } = &chosen;
            let accepted = evidence::accept(tx, pbx, *day, reason.trim(), now).await?;
            if matches!(accepted, Acceptance::Accepted { .. }) {
                calls::reopen(tx, pbx, *day).await?;
                let of_day = format!("{} line ", findings::cdr_of(*day));
                findings::close_within(tx, pbx, FindingKind::BadRow, &of_day, now).await?;
            }
            Ok(accepted)
        })
    });
    let (verdict, doubts, ledger_number) = match accepted.await? {
        Acceptance::Accepted { verdict, doubts, ledger_number } => (verdict, doubts, ledger_number),
        Acceptance::Whole => {
            let message =
                format!("nothing speaks against the call list of {day} of pbx `{pbx}`: nothing was accepted");
            return Err(UsageError(message).into());
        }
        Acceptance::Unknown => {
            let message = format!(
                "no call list of {day} of pbx `{pbx}` was ever read: run `callvault backfill --pbx {pbx} --from {day} \
                 --to {day}` first"
            );
            return Err(UsageError(message).into());
        }
    };
    vault.seal().await?;
    let what = match verdict {
        Verdict::Unread => "unread".to_owned(),
        Verdict::Short => "cut short".to_owned(),
        Verdict::Doubtful | Verdict::Whole => format!("with {doubts} doubtful lines"),
    };
    let text = format!(
        "The call list of {day} of pbx `{pbx}` is accepted as it is ({what}), in entry {ledger_number} of the ledger. Its \
         certificate stays not complete, and gives your reason."
    );
    let json = serde_json::json!({
        "pbx": pbx, "day": day, "verdict": verdict, "doubts": doubts, "ledger_number": ledger_number,
    });
    Outcome::told(&text, &json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_short_and_names_nobody() {
        let of = |reason: &str| {
            let day = jiff::civil::date(2026, 3, 1);
            Choice { pbx: "hq".into(), day, reason: reason.into() }.check().is_ok()
        };
        assert!(of("line 4 was seen on the PBX: an internal call of 12 s, not recorded"));
        assert!(!of("  ") && !of(&"x".repeat(401)) && !of("it was 5550142 who called"));
    }
}
