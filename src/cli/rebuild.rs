//! `callvault rebuild`: rebuilds the database from the archive and the ledger.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::HumanCount;

use super::status_page::numbers;
use super::{exit, output, signals};
use crate::base::clock;
use crate::config::Config;
use crate::proof::rebuild::{self, Progress, Report, Request, Trust};
use crate::service::requests::Interrupted;
use crate::vault::state::{self, StateError};

/// How often progress is shown.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Damaged parts that are shown; `--json` names more.
const DAMAGE_SHOWN: usize = 20;

/// What no file of the archive holds.
const NOT_REBUILT: &str = "The archive does not hold, and so the new database lacks: passwords that were refused, \
which PBXs were paused, when the calls were last read, findings and alerts that you acknowledged, and requests of commands. \
The next sweeps and the next verification find again what is still true.";

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Which state's database to rebuild, if the folders of the archive name several
    #[arg(long, value_name = "ID")]
    state_id: Option<String>,
    /// A key that you know signed the ledger, from outside the archive; may be given more than once
    #[arg(long = "vkey", value_name = "KEY")]
    vkeys: Vec<String>,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Rebuilds the database and shows the result. Exits 5 if anything was damaged.
pub(super) async fn run(config: &Path, Options { state_id, vkeys, json }: Options) -> ExitCode {
    exit::finish(rebuild(config, Request { state_id, vkeys }).await, json, |report| {
        (text_of(report), if report.damaged > 0 { exit::DAMAGED } else { exit::COMPLETE })
    })
}

async fn rebuild(config: &Path, request: Request) -> anyhow::Result<Report> {
    let config = Config::load(config)?;
    state::refuse_other_user(&config)?;
    let stop = signals::stop_on_signals()?;
    let (began, progress) = (Instant::now(), Arc::<Progress>::default());
    let rebuilt = tokio::select! {
        rebuilt = rebuild::rebuild(&config, &request, progress.clone(), clock::now()) => rebuilt,
        () = stop.cancelled() => Err(Interrupted.into()),
        never = show(&progress) => match never {},
    };
    match rebuilt {
        Ok(report) => Ok(Report { elapsed_s: began.elapsed().as_secs_f64(), ..report }),
        Err(error) if is_served(&error, &config.state.path) => {
            Err(StateError::Served(config.state.path).into())
        }
        Err(error) => Err(error),
    }
}

/// Whether it is the service that has the state: the work cannot be handed to it, for it needs the state to itself.
fn is_served(error: &anyhow::Error, state: &Path) -> bool {
    matches!(error.downcast_ref(), Some(StateError::Locked(_))) && state::is_owned_by_service(state)
}

/// Shows progress now and then.
async fn show(progress: &Progress) -> Infallible {
    loop {
        tokio::time::sleep(LINE_EVERY).await;
        let [files, lines, entries] = progress.counts().map(HumanCount);
        output::error_line(format_args!(
            "callvault: {files} archived files found, {lines} lines of call lists read, {entries} entries replayed"
        ));
    }
}

fn text_of(report: &Report) -> String {
    let mut text = String::new();
    write_report(&mut text, report).expect("writing to a String cannot fail");
    text
}

fn write_report(text: &mut String, report: &Report) -> std::fmt::Result {
    for (id, pbx) in &report.pbx {
        let states = |counts| match numbers(counts) {
            none if none.is_empty() => "none".to_owned(),
            some => some.join(", "),
        };
        writeln!(text, "{id}: {} calls; recordings: {}", human(pbx.calls), states(&pbx.counts))?;
        if let Some(voicemail) = &pbx.voicemail {
            writeln!(text, "{id}: voicemail: {}", states(voicemail))?;
        }
    }
    for (id, reason) in &report.left_out {
        writeln!(text, "{id}: left out: {reason}")?;
    }
    write_ledger(text, report)?;
    write_damage(text, report)?;
    writeln!(text, "\n{NOT_REBUILT}")?;
    if let Some(former) = &report.former {
        writeln!(text, "The former database is kept as {}.", former.display())?;
    }
    let but = if report.damaged == 0 { "" } else { ", but for what is damaged" };
    writeln!(text, "The database is rebuilt{but}, in {:.1} s.", report.elapsed_s)
}

fn write_ledger(text: &mut String, report: &Report) -> std::fmt::Result {
    let ledger = report.ledger;
    writeln!(text, "ledger: {} entries were published", human(ledger.published))?;
    let word = match ledger.trust {
        Trust::OwnKey => "they are signed by the key of this state",
        Trust::Vkey => "they are signed by the key that you gave",
        Trust::Witness => "a witness has seen them",
        Trust::None => {
            "ONLY the archive itself confirms them: anyone who can write there may have written them. Compare the \
             checkpoint (`callvault ledger`) with one that an auditor, a mail or a witness has; every later certificate \
             says so"
        }
    };
    writeln!(text, "  {word}")?;
    if ledger.unsigned > 0 {
        writeln!(text, "  {} more were not signed and do not count", human(ledger.unsigned))?;
    }
    if ledger.lost > 0 {
        writeln!(
            text,
            "  {} more were signed and are gone: callvault signs nothing until they are back",
            human(ledger.lost)
        )?;
    }
    if ledger.appended > 0 {
        writeln!(
            text,
            "  {} appended for files that this installation wrote and that had none",
            human(ledger.appended)
        )?;
    }
    if ledger.found > 0 {
        writeln!(
            text,
            "  {} files have no signed entry, so anyone may have put them there: their recordings are queued for download \
             again. Each is archived when the PBX delivers it, or with `callvault accept NAME`",
            human(ledger.found)
        )?;
    }
    if ledger.asked_again > 0 {
        writeln!(
            text,
            "  {} recordings were missing for good, but no entry says so: callvault asks for them again",
            HumanCount(ledger.asked_again)
        )?;
    }
    Ok(())
}

fn write_damage(text: &mut String, report: &Report) -> std::fmt::Result {
    if report.damaged == 0 {
        return Ok(());
    }
    writeln!(text, "\nDAMAGED: {}; all else is rebuilt", HumanCount(report.damaged))?;
    for damage in report.damage.iter().take(DAMAGE_SHOWN) {
        writeln!(text, "  {}: {}", damage.subject, damage.problem)?;
    }
    if report.damage.len() > DAMAGE_SHOWN {
        writeln!(text, "  … `callvault rebuild --json` names up to {} of them", report.damage.len())?;
    }
    Ok(())
}

fn human(count: i64) -> HumanCount {
    HumanCount(u64::try_from(count).unwrap_or(0))
}
