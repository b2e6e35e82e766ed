//! `callvault accept`: take the list of a day, or a file that was found in the place of a recording, as it is, and say why.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;

use jiff::civil::Date;

use super::{Json, exit, handover};
use crate::service::requests::{Accept, Request, Subject};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The PBX, and a day by its calendar or the name of a recording; a name alone is looked up on every PBX
    #[arg(value_names = ["PBX", "DAY|NAME"], num_args = 1..=2, required = true)]
    what: Vec<OsString>,
    /// Why, in a sentence that names nobody: it is published with the ledger
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    json: Json,
}

/// Accepts it. Exits 2 if there is nothing to accept.
pub(super) async fn run(config: &Path, Options { what, reason, json: Json { json } }: Options) -> ExitCode {
    let accept = Accept { what: parse(&what), reason };
    // Before anything is opened or asked.
    if let Err(error) = accept.check() {
        return exit::fail(&error.into(), json);
    }
    handover::run(config, Request::Accept(accept), json).await
}

/// Reads `PBX DAY`, `PBX NAME` or `NAME`.
fn parse(words: &[OsString]) -> Subject {
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    match words {
        [pbx, what] => match what.to_str().and_then(|what| what.parse::<Date>().ok()) {
            Some(day) => Subject::Day { pbx: text(pbx), day },
            None => Subject::Recording { pbx: Some(text(pbx)), name: what.as_bytes().to_vec() },
        },
        words => {
            let name = words.first().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
            Subject::Recording { pbx: None, name }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_or_a_recording_is_accepted() {
        let read = |words: &[&str]| parse(&words.iter().map(OsString::from).collect::<Vec<_>>()).to_string();
        assert!(matches!(parse(&["hq".into(), "2026-11-20".into()]), Subject::Day { .. }));
        assert_eq!(read(&["hq", "2026-11-20"]), "hq 2026-11-20");
        assert_eq!(read(&["hq", "a.wav"]), "hq a.wav");
        assert_eq!(read(&["a.wav"]), "a.wav");
    }
}
