//! Exit codes: a contract, scripts depend on it.

use std::borrow::Cow;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::output;
use crate::archive::ArchiveError;
use crate::config::ConfigErrors;
use crate::http::feed::Ahead;
use crate::pbx::PbxError;
use crate::pipeline::backfill::RangeError;
use crate::proof::export::ExportError;
use crate::proof::notary::PublishedError;
use crate::proof::rebuild::CannotRebuild;
use crate::store::db::DatabaseFailed;
use crate::vault::backup::BackupError;
use crate::vault::state::StateError;

/// All done, nothing owed.
pub const COMPLETE: u8 = 0;
/// A fault of callvault or of the database; of the service also a disk, archive or state that it cannot work with now.
pub const INTERNAL: u8 = 1;
/// Usage or configuration; also disk full, archive unusable and lock held.
pub const USAGE: u8 = 2;
/// Ran, but something listed is not archived.
pub const OWED: u8 = 3;
/// A PBX was unreachable or refused us.
pub const UNREACHABLE: u8 = 4;
/// Verification found damage.
pub const DAMAGED: u8 = 5;
/// Interrupted.
pub const INTERRUPTED: u8 = 130;

/// The exit code for an error that ended a command.
pub fn code_of(error: &anyhow::Error) -> u8 {
    if let Some(relayed) = error.downcast_ref::<Relayed>() {
        return relayed.code;
    }
    let operator_can_mend = error.chain().any(|cause| {
        cause.is::<StateError>()
            || cause.is::<ArchiveError>()
            || cause.is::<RangeError>()
            || cause.is::<ConfigErrors>()
            || cause.is::<UsageError>()
            || cause.is::<Ahead>()
            || cause.is::<CannotRebuild>()
            || cause.is::<BackupError>()
    });
    let disk_full = error.downcast_ref::<DatabaseFailed>().is_some_and(DatabaseFailed::is_disk_full);
    let refused_by_pbx = error.chain().any(|cause| cause.is::<PbxError>());
    let export = error.chain().find_map(|cause| cause.downcast_ref::<ExportError>());
    let damaged =
        error.chain().any(|cause| cause.is::<PublishedError>()) || export.is_some_and(ExportError::is_damage);
    match () {
        () if error.is::<Interrupted>() || matches!(export, Some(ExportError::Interrupted)) => INTERRUPTED,
        () if operator_can_mend || disk_full || export.is_some_and(ExportError::is_usage) => USAGE,
        () if damaged => DAMAGED,
        () if refused_by_pbx => UNREACHABLE,
        () => INTERNAL,
    }
}

/// A command line that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// A command that was stopped before it came to anything.
#[derive(Debug, thiserror::Error)]
#[error("interrupted: nothing was changed; run the same command again")]
pub struct Interrupted;

/// What ended an errand that somebody else did, as he has told it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Relayed {
    /// His sentence.
    pub message: String,
    /// His exit code.
    pub code: u8,
}

/// What `--json` prints when a command could not do its work at all.
#[derive(Debug, Serialize)]
struct Failed<'a> {
    error: Told<'a>,
}

#[derive(Debug, Serialize)]
struct Told<'a> {
    reason: &'a str,
    message: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'a [crate::config::Problem],
}

/// What `--json` prints for an error that ended a command, and its exit code.
pub fn failure(error: &anyhow::Error) -> (Box<RawValue>, u8) {
    let problems = error.downcast_ref::<ConfigErrors>().map_or(&[][..], ConfigErrors::problems);
    let told = Told { reason: &reason_of(error), message: format!("{error:#}"), problems };
    let object = to_raw_value(&Failed { error: told }).expect("the object has only string keys");
    (object, code_of(error))
}

/// Tells an error, as one sentence on stderr or as one object on stdout, and returns its exit code.
pub fn fail(error: &anyhow::Error, json: bool) -> ExitCode {
    let (object, code) = failure(error);
    if json {
        output::line(object);
    } else if let Some(errors) = error.downcast_ref::<ConfigErrors>() {
        output::error_line(errors);
    } else {
        output::error_line(format_args!("callvault: {error:#}"));
    }
    ExitCode::from(code)
}

/// The class of an error that ended a command.
fn reason_of(error: &anyhow::Error) -> Cow<'static, str> {
    let is = |test: fn(&(dyn std::error::Error + 'static)) -> bool| error.chain().any(test);
    if let Some(refused) = error.chain().find_map(|cause| cause.downcast_ref::<PbxError>()) {
        return refused.reason().to_string().into();
    }
    let word = if is(|cause| cause.is::<ConfigErrors>()) {
        "configuration"
    } else if is(|cause| cause.is::<StateError>()) {
        "state"
    } else if is(|cause| cause.is::<ArchiveError>()) {
        "archive"
    } else if is(|cause| cause.is::<DatabaseFailed>()) {
        "database"
    } else if code_of(error) == INTERRUPTED {
        "interrupted"
    } else if code_of(error) == DAMAGED {
        "damaged"
    } else if code_of(error) == USAGE {
        "usage"
    } else {
        "internal"
    };
    word.into()
}

/// Prints one object on stdout.
pub fn print_json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => output::line(text),
        Err(error) => {
            output::error_line(format_args!("callvault: the result cannot be written as JSON: {error}"))
        }
    }
}
