//! `callvault accept`: take the list of a day, or a file that was found in the place of a recording, as it is, and say why.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::errand::{Errand, Outcome};
use super::exit::{self, UsageError};
use super::handover;
use crate::base::recording::{RecordingName, printable};
use crate::pipeline::backfill::RangeError;
use crate::pipeline::worker::{self, Taken};
use crate::store::calls;
use crate::store::evidence::{self, Acceptance, Verdict};
use crate::store::findings::{self, FindingKind};
use crate::vault::Vault;

/// The longest reason: it stands in an entry of the ledger.
const REASON_CHARS_MAX: usize = 400;
/// As many digits in a row may be somebody's number, and the ledger is published.
const DIGITS_MAX: usize = 5;

/// What to accept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Choice {
    /// What it is.
    pub what: What,
    /// Why; published with the ledger.
    pub reason: String,
}

/// What is accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The list of a day, by the calendar of the PBX.
    Day {
        /// The PBX.
        pbx: String,
        /// The day.
        day: Date,
    },
    /// The file that stands in the place of a recording.
    Recording {
        /// The PBX; whichever has one of that name that waits for it if none is given.
        pbx: Option<String>,
        /// What the PBX calls it, any bytes.
        name: Vec<u8>,
    },
}

impl What {
    /// Reads `PBX DAY`, `PBX NAME` or `NAME`.
    pub fn read(words: Vec<OsString>) -> Self {
        let text = |word: &OsString| word.to_string_lossy().into_owned();
        match &words[..] {
            [pbx, what] => match what.to_str().and_then(|what| what.parse::<Date>().ok()) {
                Some(day) => Self::Day { pbx: text(pbx), day },
                None => Self::Recording { pbx: Some(text(pbx)), name: what.as_bytes().to_vec() },
            },
            words => {
                let name = words.first().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
                Self::Recording { pbx: None, name }
            }
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day { pbx, day } => write!(f, "{pbx} {day}"),
            Self::Recording { pbx: Some(pbx), name } => write!(f, "{pbx} {}", printable(name)),
            Self::Recording { pbx: None, name } => f.write_str(&printable(name)),
        }
    }
}

impl Choice {
    fn check(&self) -> Result<(), UsageError> {
        let reason = self.reason.trim();
        let longest = reason.split(|character: char| !character.is_ascii_digit()).map(str::len).max();
        let wrong = if reason.is_empty() {
            "--reason is empty: say why it is accepted as it is"
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
    let reason = choice.reason.trim().to_owned();
    let (What::Day { pbx, .. } | What::Recording { pbx: Some(pbx), .. }) = &choice.what else {
        return accept_found(vault, &choice.what, reason).await;
    };
    if !vault.config.pbx.iter().any(|configured| configured.id == *pbx) {
        return Err(RangeError::unknown_pbx(pbx, &vault.config.pbx).into());
    }
    match &choice.what {
        What::Day { pbx, day } => accept_day(vault, (pbx, *day), reason).await,
        found @ What::Recording { .. } => accept_found(vault, found, reason).await,
    }
}

async fn accept_found(vault: &Vault, what: &What, reason: String) -> anyhow::Result<Outcome> {
    let What::Recording { pbx, name } = what else { anyhow::bail!("{what} is no recording") };
    let unknown = || {
        let message = format!(
            "no recording called `{}` waits for it: `callvault accept` is for one that the PBX does not have, while a file \
             stands in its place that callvault did not write (`callvault status` tells them)",
            printable(name)
        );
        anyhow::Error::new(UsageError(message))
    };
    let wanted = RecordingName::new(&name[..]).ok_or_else(unknown)?;
    let (state, now) = (&vault.state, vault.clock.now());
    let taken =
        worker::accept_found((&state.db, &vault.archive), &state.run_id, (pbx.clone(), wanted), reason, now);
    let (path, sha256, ledger_number) = match taken.await? {
        Taken::Archived { path, sha256, ledger_number } => (path, sha256, ledger_number),
        Taken::Nothing => return Err(unknown()),
        Taken::Several(pbxs) => {
            let message = format!(
                "pbxs {} each have a recording called `{}`: say which, as in `callvault accept {} NAME`",
                pbxs.join(", "),
                printable(name),
                pbxs[0]
            );
            return Err(UsageError(message).into());
        }
        Taken::NoAudio(path) => {
            let message = format!("{path} is no whole recording: move it away; nothing was accepted");
            return Err(UsageError(message).into());
        }
    };
    vault.seal().await?;
    let text = format!(
        "{path} is taken for the recording on your word, in entry {ledger_number} of the ledger: it is archived, and marked \
         as suspect (`accepted`)."
    );
    let json = serde_json::json!({ "path": path, "sha256": sha256, "ledger_number": ledger_number });
    Outcome::told(&text, &json)
}

async fn accept_day(vault: &Vault, (pbx, day): (&str, Date), reason: String) -> anyhow::Result<Outcome> {
    let (of_pbx, now) = (pbx.to_owned(), vault.clock.now());
    let accepted = vault.state.db.write(async move |tx| {
        let accepted = evidence::accept(tx, &of_pbx, day, &reason, now).await?;
        if matches!(accepted, Acceptance::Accepted { .. }) {
            calls::reopen(tx, &of_pbx, day).await?;
            let of_day = format!("{} line ", findings::cdr_of(day));
            findings::close_within(tx, &of_pbx, FindingKind::BadRow, &of_day, now).await?;
        }
        Ok(accepted)
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
    fn a_day_or_a_recording_is_accepted() {
        let read = |words: &[&str]| What::read(words.iter().map(OsString::from).collect()).to_string();
        assert!(matches!(What::read(vec!["hq".into(), "2026-11-20".into()]), What::Day { .. }));
        assert_eq!(read(&["hq", "2026-11-20"]), "hq 2026-11-20");
        assert_eq!(read(&["hq", "a.wav"]), "hq a.wav");
        assert_eq!(read(&["a.wav"]), "a.wav");
    }

    #[test]
    fn a_reason_is_short_and_names_nobody() {
        let of = |reason: &str| {
            let day = jiff::civil::date(2026, 3, 1);
            Choice { what: What::Day { pbx: "hq".into(), day }, reason: reason.into() }.check().is_ok()
        };
        assert!(of("line 4 was seen on the PBX: an internal call of 12 s, not recorded"));
        assert!(!of("  ") && !of(&"x".repeat(401)) && !of("it was 5550142 who called"));
    }
}
