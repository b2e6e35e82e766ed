//! What a request came to, in words, as JSON and as an exit code.

use std::process::ExitCode;

use serde_json::json;

use super::summary::{self, count};
use super::{exit, output, verify};
use crate::config::Config;
use crate::pipeline::backfill::BackfillReport;
use crate::service::requests::{AcceptedDay, AcceptedFile, Outcome};
use crate::store::evidence::Verdict;

/// Prints an outcome, and returns the exit code.
pub(super) fn print(outcome: &Outcome, config: &Config, json: bool) -> ExitCode {
    if let Outcome::Failed(failure) = outcome {
        return exit::fail_with(failure, json);
    }
    match (json, outcome) {
        (true, outcome) => print_json(outcome),
        (false, Outcome::Backfill { report, dry_run, .. }) => {
            summary::print(report, &config.archive.path, *dry_run)
        }
        (false, Outcome::Verified(report)) => output::text(&verify::text_of(report)),
        (false, outcome) => output::line(sentence(outcome)),
    }
    ExitCode::from(match outcome {
        Outcome::Backfill { report, dry_run, .. } => report.exit_code(*dry_run),
        Outcome::Verified(report) => verify::code_of(report),
        _ => exit::COMPLETE,
    })
}

fn print_json(outcome: &Outcome) {
    match outcome {
        Outcome::Backfill { report, .. } => exit::print_json(report),
        Outcome::NothingToRetry { .. } => exit::print_json(&BackfillReport::default()),
        Outcome::AcceptedDay(accepted) => exit::print_json(accepted),
        Outcome::AcceptedFile(accepted) => exit::print_json(accepted),
        Outcome::Paused { pbx, paused, changed } => {
            exit::print_json(&json!({ "pbx": pbx, "paused": paused, "changed": changed }));
        }
        Outcome::RotatedKey { vkey } => exit::print_json(&json!({ "vkey": vkey })),
        Outcome::Certified { certified } => exit::print_json(&json!({ "certified": certified })),
        Outcome::Verified(report) => exit::print_json(report),
        Outcome::Sealed => exit::print_json(&json!({})),
        Outcome::Exported { ledger_number } => exit::print_json(&json!({ "ledger_number": ledger_number })),
        Outcome::Failed(failure) => exit::print_failure(failure),
    }
}

fn sentence(outcome: &Outcome) -> String {
    match outcome {
        Outcome::NothingToRetry { put_back: 0 } => "There is nothing to do: nothing is stuck.".to_owned(),
        Outcome::NothingToRetry { .. } => {
            "There is nothing to do: the recordings that were put back belong to PBXs that \
             are no longer configured."
                .to_owned()
        }
        Outcome::AcceptedDay(accepted) => accepted_day(accepted),
        Outcome::AcceptedFile(AcceptedFile { path, ledger_number, .. }) => format!(
            "{path} is accepted as the recording, in entry {ledger_number} of the ledger: it is archived, and marked as \
             suspect (`accepted`)."
        ),
        Outcome::Paused { pbx, paused, changed } => pause(pbx, *paused, *changed),
        Outcome::RotatedKey { vkey } => format!(
            "A new key signs the ledger; the former one signs beside it for 30 days. Give the new key to everyone who checks \
             the ledger:\n{vkey}"
        ),
        Outcome::Certified { certified } => format!("{} issued.", count(*certified, "certificate")),
        Outcome::Sealed => "The ledger is signed.".to_owned(),
        Outcome::Exported { ledger_number } => format!("The export is entry {ledger_number} of the ledger."),
        Outcome::Backfill { .. } | Outcome::Verified(_) | Outcome::Failed(_) => String::new(),
    }
}

fn accepted_day(AcceptedDay { pbx, day, verdict, doubts, ledger_number }: &AcceptedDay) -> String {
    let what = match verdict {
        Verdict::Unread => "unread".to_owned(),
        Verdict::Short => "cut short".to_owned(),
        Verdict::Doubtful | Verdict::Whole => format!("with {doubts} doubtful lines"),
    };
    format!(
        "The call list of {day} of pbx `{pbx}` is accepted as it is ({what}), in entry {ledger_number} of the ledger. Its \
         certificate still says that the day is not complete, and gives your reason."
    )
}

fn pause(pbx: &str, paused: bool, changed: bool) -> String {
    match (paused, changed) {
        (true, true) => format!(
            "callvault pauses pbx `{pbx}` until `callvault resume {pbx}`, and finishes what is in flight. Meanwhile the PBX \
             goes on overwriting its oldest recordings."
        ),
        (true, false) => format!("Pbx `{pbx}` is paused already; `callvault resume {pbx}` ends the pause."),
        (false, true) => format!("callvault follows pbx `{pbx}` again."),
        (false, false) => format!("Pbx `{pbx}` was not paused."),
    }
}
