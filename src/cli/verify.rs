//! `callvault verify`: whether the archive is what it was, named file by file.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use askama::Template;
use indicatif::HumanBytes;

use super::{Json, Pbxs, exit, handover, summary};
use crate::proof::verify::{self, Report, Scope};
use crate::service::requests::{Request, UsageError};

/// Damaged things that the text names; `--json` names more.
const SHOWN_MAX: usize = 100;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Read every byte, instead of only checking that everything is there with its size
    #[arg(long)]
    full: bool,
    /// Check that everything is there with its size, and nothing else; this is the default
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    #[command(flatten)]
    pbxs: Pbxs,
    /// Start nothing more after this time, such as 8h; the next full verification continues with what was not read for longest
    #[arg(long, value_name = "TIME", value_parser = parse_time_limit)]
    time_limit: Option<Duration>,
    /// Move what is altered or unlisted to quarantine; nothing is deleted
    #[arg(long)]
    quarantine: bool,
    #[command(flatten)]
    json: Json,
}

/// Verifies, and shows what is damaged. Exits 5 if anything is.
pub(super) async fn run(config: &Path, options: Options) -> ExitCode {
    let Options { full, quick: _, pbxs: Pbxs { pbx }, time_limit, quarantine, json: Json { json } } = options;
    let scope = if full { Scope::Full } else { Scope::Quick };
    let request = verify::Request { scope, pbx, time_limit, quarantine };
    if request.time_limit.is_some() && request.scope == Scope::Quick {
        let message = "--time-limit is for --full: a quick check says nothing unless it is complete";
        return exit::fail(&UsageError(message.to_owned()).into(), json);
    }
    handover::run(config, Request::Verify(request), json).await
}

/// How long a command line says that something may take: `90s`, `30m`, `8h`, or seconds alone.
///
/// # Errors
/// One sentence for whoever wrote it.
fn parse_time_limit(text: &str) -> Result<Duration, String> {
    let (number, unit_s) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) if text.ends_with('m') => (number, 60),
        Some(number) if text.ends_with('h') => (number, 3600),
        Some(number) => (number, 1),
        None => (text, 1),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_s));
    seconds.map(Duration::from_secs).ok_or_else(|| "write such as 45m, 8h or 90s".to_owned())
}

/// The exit code of a verification.
pub(super) fn code_of(report: &Report) -> u8 {
    match () {
        () if report.interrupted => exit::INTERRUPTED,
        () if !report.is_clean() => exit::DAMAGED,
        () => exit::COMPLETE,
    }
}

#[derive(Template)]
#[template(path = "verified.txt", whitespace = "preserve")]
struct Page<'a> {
    report: &'a Report,
    damaged: u64,
}

/// What a verification found, in words.
pub(super) fn text_of(report: &Report) -> String {
    let page = Page { report, damaged: report.counts.all() };
    page.render().expect("writing to a String cannot fail") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_limit_has_a_unit() {
        let seconds = |text| parse_time_limit(text).ok().map(|limit| limit.as_secs());
        assert_eq!(["90", "90s", "2m", "8h"].map(seconds), [Some(90), Some(90), Some(120), Some(28_800)]);
        assert_eq!(["", "m", "-1s", "1.5h", "99999999999999999999h"].map(seconds), [None; 5]);
    }
}
