//! Exit codes: a contract, scripts depend on it.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::Serialize;

use super::output;
use crate::config::Problem;
use crate::service::requests::{Class, Failure};

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

/// The exit code of an error that ended a command, and the word for it in JSON.
fn code_and_word(class: Class) -> (u8, &'static str) {
    match class {
        Class::Configuration => (USAGE, "configuration"),
        Class::State => (USAGE, "state"),
        Class::Archive => (USAGE, "archive"),
        Class::DatabaseFull => (USAGE, "database"),
        Class::Usage => (USAGE, "usage"),
        Class::Pbx => (UNREACHABLE, "pbx"),
        Class::Damaged => (DAMAGED, "damaged"),
        Class::Interrupted => (INTERRUPTED, "interrupted"),
        Class::Database => (INTERNAL, "database"),
        Class::Internal => (INTERNAL, "internal"),
    }
}

/// Prints an error, as one sentence on stderr or as one object on stdout, and returns its exit code.
pub fn fail(error: &anyhow::Error, json: bool) -> ExitCode {
    fail_with(&Failure::of(error), json)
}

/// The same for an error that is classified already.
pub fn fail_with(failure: &Failure, json: bool) -> ExitCode {
    if json {
        print_failure(failure);
    } else if failure.problems.is_empty() {
        output::error_line(format_args!("callvault: {failure}"));
    } else {
        output::error_line(failure);
    }
    ExitCode::from(code_and_word(failure.class).0)
}

/// The exit code of a command that has printed what it came to; or prints why it failed.
pub(super) fn of(outcome: anyhow::Result<u8>, json: bool) -> ExitCode {
    outcome.map_or_else(|error| fail(&error, json), ExitCode::from)
}

/// Prints what a command came to, in the words and with the exit code that `tell` gives it; or why it failed.
pub(super) fn finish<T: Serialize>(
    outcome: anyhow::Result<T>,
    json: bool,
    tell: impl Fn(&T) -> (String, u8),
) -> ExitCode {
    let told = outcome.map(|report| {
        let (text, code) = tell(&report);
        if json {
            print_json(&report)
        } else {
            output::text(&text)
        }
        code
    });
    of(told, json)
}

/// Prints an error as one object on stdout.
pub fn print_failure(failure: &Failure) {
    #[derive(Serialize)]
    struct Error<'a> {
        reason: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        problems: &'a [Problem],
    }
    let word = code_and_word(failure.class).1;
    let reason = failure.reason.as_deref().unwrap_or(word);
    let error = Error { reason, message: &failure.message, problems: &failure.problems };
    print_json(&BTreeMap::from([("error", error)]));
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
