//! Errands: the work of a command as a value, done here or handed to the service that owns the state.

use std::fmt;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio_util::sync::CancellationToken;

use super::exit::{self, UsageError};
use super::export::Receipt;
use super::summary;
use super::{accept, output, progress, retry};
use crate::pipeline::backfill::{Backfill, Lines, RangeError, Request};
use crate::proof::verify;
use crate::store::db::Db;
use crate::store::fleet;
use crate::vault::Vault;

/// What a command wants done. It holds no secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Errand {
    /// Archive a range of days.
    Backfill(Request),
    /// Ask again for what was given up.
    Retry(retry::Choice),
    /// Take the list of a day as it is.
    Accept(accept::Choice),
    /// Leave a PBX alone.
    Pause(String),
    /// Follow a PBX again that was left alone.
    Resume(String),
    /// Let the ledger be signed by a new key.
    RotateKey,
    /// Issue the certificates that are due of these PBXs; of all if empty.
    Certify(Vec<String>),
    /// Look whether the archive is what it was.
    Verify(verify::Request),
    /// Sign the ledger as far as it goes.
    Seal,
    /// Tell the ledger of an export that is ready to be handed out.
    Export(Receipt),
}

/// Whom to show how far an errand is.
#[derive(Debug)]
pub enum Audience {
    /// The operator at this terminal.
    Terminal,
    /// Whoever made this request.
    Request {
        /// Where it stands.
        db: Db,
        /// Its number.
        id: i64,
    },
}

impl Audience {
    /// Tells the operator something on the way; one who is elsewhere sees the progress.
    fn say(&self, text: impl fmt::Display) {
        if matches!(self, Self::Terminal) {
            output::error_line(text);
        }
    }
}

/// What came of an errand: all that the command will print.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// For stdout, without `--json`.
    text: String,
    /// For stderr, without `--json`.
    error: Option<String>,
    /// For stdout, with `--json`.
    json: Box<RawValue>,
    /// The exit code.
    exit_code: u8,
}

impl Errand {
    /// Does it. Whatever happens to a PBX is in the outcome; an error is one that ends the command.
    pub async fn execute(
        &self,
        vault: &Vault,
        lines: Lines,
        stop: CancellationToken,
        audience: &Audience,
    ) -> anyhow::Result<Outcome> {
        match self {
            Self::Backfill(request) => backfill(vault, request.clone(), lines, stop, audience).await,
            Self::Retry(choice) => match retry::redrive(vault, choice, &lines).await? {
                retry::Found::Nothing(outcome) => Ok(outcome),
                retry::Found::Work { request, count } => {
                    audience.say(format_args!("Asking again for {}.", summary::count(count, "recording")));
                    backfill(vault, request, lines, stop, audience).await
                }
            },
            Self::Accept(choice) => accept::accept(vault, choice).await,
            Self::Pause(pbx) => pause(vault, pbx, true).await,
            Self::Resume(pbx) => pause(vault, pbx, false).await,
            Self::RotateKey => super::ledger::rotate_key(vault).await,
            Self::Certify(pbx) => certify(vault, pbx).await,
            Self::Verify(request) => super::verify::verify(vault, request, stop).await,
            Self::Seal => super::export::seal(vault).await,
            Self::Export(receipt) => super::export::enter(vault, receipt).await,
        }
    }

    /// Whether it takes its time, and shows how far it is.
    pub fn is_long(&self) -> bool {
        matches!(self, Self::Backfill(_) | Self::Retry(_) | Self::Verify(_))
    }

    /// The PBX that is to be tried anew because of it.
    pub fn renews(&self) -> Option<&str> {
        match self {
            Self::Retry(choice) => choice.pbx.as_deref(),
            Self::Resume(pbx) => Some(pbx),
            Self::Backfill(_)
            | Self::Accept(_)
            | Self::Pause(_)
            | Self::RotateKey
            | Self::Certify(_)
            | Self::Verify(_)
            | Self::Seal
            | Self::Export(_) => None,
        }
    }
}

impl fmt::Display for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backfill(_) => f.write_str("backfill"),
            Self::Retry(_) => f.write_str("retry"),
            Self::Accept(choice) => write!(f, "accept {}", choice.what),
            Self::Pause(pbx) => write!(f, "pause {pbx}"),
            Self::Resume(pbx) => write!(f, "resume {pbx}"),
            Self::RotateKey => f.write_str("ledger rotate-key"),
            Self::Certify(_) => f.write_str("certificates"),
            Self::Verify(request) => write!(f, "verify --{}", request.scope.as_str()),
            Self::Seal => f.write_str("sealing for an export"),
            Self::Export(_) => f.write_str("export"),
        }
    }
}

impl Outcome {
    /// One sentence and an object for a command that had nothing else to tell.
    pub fn told(text: &str, json: &impl Serialize) -> anyhow::Result<Self> {
        let text = format!("{text}\n");
        Ok(Self { text, error: None, json: to_raw_value(json)?, exit_code: exit::COMPLETE })
    }

    /// What it prints as JSON, if it was done: for a command that does more afterwards.
    ///
    /// # Errors
    /// What ended it, as whoever did it has told it.
    pub(super) fn into_result(self) -> anyhow::Result<Box<RawValue>> {
        match self.error {
            None => Ok(self.json),
            Some(told) => {
                let message = told.trim_start_matches("callvault: ").to_owned();
                Err(exit::Relayed { message, code: self.exit_code }.into())
            }
        }
    }

    /// What a command has to tell, on stdout.
    pub(super) fn new(text: String, json: Box<RawValue>, exit_code: u8) -> Self {
        Self { text, error: None, json, exit_code }
    }

    /// An error that ended the errand.
    pub fn failed(error: &anyhow::Error) -> Self {
        let (json, exit_code) = exit::failure(error);
        Self { text: String::new(), error: Some(format!("callvault: {error:#}")), json, exit_code }
    }

    /// What went wrong, for people; none if nothing did.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Whether it was stopped before its end.
    pub fn is_interrupted(&self) -> bool {
        self.exit_code == exit::INTERRUPTED
    }

    /// Prints it, and returns the exit code.
    pub fn print(&self, json: bool) -> std::process::ExitCode {
        if json {
            output::line(&self.json);
        } else {
            output::text(&self.text);
            if let Some(error) = &self.error {
                output::error_line(error);
            }
        }
        std::process::ExitCode::from(self.exit_code)
    }
}

async fn backfill(
    vault: &Vault,
    request: Request,
    lines: Lines,
    stop: CancellationToken,
    audience: &Audience,
) -> anyhow::Result<Outcome> {
    let dry_run = request.dry_run;
    let backfill = Backfill::new(vault, request, lines, stop)?;
    let report = progress::watch(&backfill, audience).await?;
    Ok(Outcome {
        text: summary::of(&report, &vault.config.archive.path, dry_run),
        error: report.trouble.as_ref().map(|trouble| format!("callvault: {}", trouble.message)),
        json: to_raw_value(&report).context("writing the result as JSON")?,
        exit_code: report.exit_code(dry_run),
    })
}

async fn pause(vault: &Vault, pbx: &str, pause: bool) -> anyhow::Result<Outcome> {
    if !vault.config.pbx.iter().any(|configured| configured.id == pbx) {
        return Err(RangeError::unknown_pbx(pbx, &vault.config.pbx).into());
    }
    let since = pause.then(|| vault.clock.now());
    let id = pbx.to_owned();
    let changed = vault.state.db.write(async move |tx| fleet::pause(tx, &id, since).await).await?;
    let text = match (pause, changed) {
        (true, true) => format!(
            "Pbx `{pbx}` is left alone until `callvault resume {pbx}`; what is in flight is finished. Mind that it \
             goes on overwriting its oldest recordings."
        ),
        (true, false) => format!("Pbx `{pbx}` is paused already; `callvault resume {pbx}` ends that."),
        (false, true) => format!("Pbx `{pbx}` is followed again."),
        (false, false) => format!("Pbx `{pbx}` was not paused."),
    };
    Outcome::told(&text, &serde_json::json!({ "pbx": pbx, "paused": pause, "changed": changed }))
}

/// Issues what is due of these PBXs, of all if none is named.
async fn certify(vault: &Vault, chosen: &[String]) -> anyhow::Result<Outcome> {
    // Nothing is issued under a ledger that is not signed: who asks for certificates is told why.
    vault.notary.seal(vault.clock.now()).await?;
    let mut certified = 0;
    for pbx in vault.config.pbx.iter().filter(|pbx| chosen.is_empty() || chosen.contains(&pbx.id)) {
        certified += vault.issuer().issue_due(pbx).await?;
    }
    vault.seal().await?;
    let text = format!("{} issued.", summary::count(certified, "certificate"));
    Outcome::told(&text, &serde_json::json!({ "certified": certified }))
}

/// A name on the command line that is empty names nothing.
pub(super) fn empty_name() -> UsageError {
    UsageError("a NAME is empty: leave it out to retry all recordings".to_owned())
}
