//! `callvault export`: recordings with everything that proves them, for others.
//!
//! This process makes the bag, because only its user may write where the operator wants it. The owner of the state writes
//! the ledger's entry about it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use indicatif::HumanBytes;
use jiff::civil::Date;
use tokio_util::sync::CancellationToken;

use super::ledger::Sources;
use super::{Json, Pbxs, To, exit, handover, signals, summary};
use crate::archive;
use crate::base::blocking::blocking;
use crate::base::clock;
use crate::config::Config;
use crate::proof::export::{self, Choice, Packed, Report, Request, Selection};
use crate::service::requests::{self, Outcome, Receipt, UsageError};

/// Damaged files and unknown lines that the text names.
const SHOWN_MAX: usize = 20;
/// A list of this size names more than any archive has.
const LIST_BYTES_MAX: u64 = 256 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// A folder that does not exist yet or is empty; with --zip, the name of the file
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The first day, by the PBX's calendar; from the beginning if not given
    #[arg(long, value_name = "DATE")]
    from: Option<Date>,
    #[command(flatten)]
    to: To,
    #[command(flatten)]
    pbxs: Pbxs,
    /// Only calls with this extension on either side; may be given more than once
    #[arg(long, value_name = "EXTENSION")]
    extension: Vec<String>,
    /// Only calls with this number on either side, or dialled from outside; may be given more than once
    #[arg(long, value_name = "NUMBER")]
    number: Vec<String>,
    /// Exactly the recordings that this file names, one name or path per line; `-` reads stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to", "extension", "number"])]
    list: Option<PathBuf>,
    /// Voicemail messages too
    #[arg(long)]
    voicemail: bool,
    /// One ZIP file instead of a folder
    #[arg(long)]
    zip: bool,
    #[command(flatten)]
    json: Json,
}

/// Exports, and shows what is in it. Exits 5 if something that was archived is damaged, 3 if something that was chosen is
/// not archived.
pub(super) async fn run(config: &Path, options: Options) -> ExitCode {
    let Json { json } = options.json;
    exit::finish(export(config, options).await, json, |report| (text_of(report), code_of(report)))
}

async fn export(file: &Path, options: Options) -> anyhow::Result<Report> {
    let Options { out, from, to, pbxs, extension, number, list, voicemail, zip, .. } = options;
    let config = Config::load(file)?;
    let list = list.as_deref().map(read_list).transpose()?;
    let choice = Choice { pbx: pbxs.pbx, from, to: to.to, extension, number, list, voicemail };
    let request = Request { choice, out, zip };
    check(&request)?;
    let stop = signals::stop_on_signals()?;
    let selection = select(file, &request).await?;
    // Whatever was selected is in the ledger; now its checkpoint covers it.
    handover::execute(&config, &requests::Request::Seal, stop.clone()).await?;
    let packed = pack(file, config.clone(), request, selection, stop.clone()).await?;
    let entry = requests::Request::Export(Receipt::of(&packed.report));
    let Outcome::Exported { ledger_number } = handover::execute(&config, &entry, stop).await? else {
        bail!("the service answered something else: restart it, then try again");
    };
    let report = blocking(move || packed.hand_out()).await?;
    Ok(Report { ledger_number: Some(ledger_number), ..report })
}

async fn select(file: &Path, request: &Request) -> anyhow::Result<Selection> {
    let sources = Sources::open(file).await?;
    let mut db = sources.pool.acquire().await.context("opening the database")?;
    let known = export::pbxs(&mut db).await?;
    let wanted = &request.choice.pbx;
    for id in wanted {
        let message = format!("nothing was ever archived of a PBX `{id}`: there are {}", known.join(", "));
        ensure!(known.contains(id), UsageError(message));
    }
    let pbxs = if wanted.is_empty() { &known } else { wanted };
    let selection = Selection::read(&mut db, &request.choice, pbxs).await?;
    let message = "no call and no recording matches the selection: nothing was exported";
    ensure!(!selection.is_empty(), UsageError(message.to_owned()));
    Ok(selection)
}

async fn pack(
    file: &Path,
    config: Config,
    request: Request,
    selection: Selection,
    stop: CancellationToken,
) -> anyhow::Result<Packed> {
    let Sources { published, keys, .. } = Sources::open(file).await?;
    let packing = move || {
        let archive = &*archive::require(&config.archive.path)?;
        let ours = vec![config.archive.path.clone(), config.state.path.clone()];
        let now = clock::now();
        let authorities = config.anchors.authorities.iter();
        let authorities =
            authorities.filter_map(|known| Some((known.name.clone(), known.certificates.clone()?))).collect();
        let sources = export::Sources { archive, published: &published, keys, authorities, ours, stop, now };
        anyhow::Ok(export::pack(request, &selection, &sources)?)
    };
    blocking(packing).await
}

fn check(request: &Request) -> anyhow::Result<()> {
    let choice = &request.choice;
    if let (Some(from), Some(to)) = (choice.from, choice.to)
        && from > to
    {
        bail!(UsageError(format!("--from {from} is after --to {to}")));
    }
    for (option, values) in [("--extension", &choice.extension), ("--number", &choice.number)] {
        let is_empty = values.iter().any(|value| value.trim().is_empty());
        ensure!(
            !is_empty,
            UsageError(format!("{option} is empty: leave it out to export calls of everybody"))
        );
    }
    Ok(())
}

/// The lines of the operator's list.
fn read_list(file: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let shown = file.display();
    let mut bytes = Vec::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().take(LIST_BYTES_MAX).read_to_end(&mut bytes),
        false => std::fs::File::open(file).and_then(|list| list.take(LIST_BYTES_MAX).read_to_end(&mut bytes)),
    };
    read.map_err(|error| UsageError(format!("cannot read the list `{shown}`: {error}")))?;
    let is_cut = bytes.len() as u64 == LIST_BYTES_MAX;
    ensure!(!is_cut, UsageError(format!("the list `{shown}` is too large: cut it in parts")));
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let lines: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
    ensure!(!lines.is_empty(), UsageError(format!("the list `{shown}` names nothing")));
    Ok(lines)
}

fn code_of(report: &Report) -> u8 {
    match () {
        () if report.damaged > 0 => exit::DAMAGED,
        () if report.not_archived > 0 || report.unknown > 0 => exit::OWED,
        () => exit::COMPLETE,
    }
}

fn text_of(report: &Report) -> String {
    let calls = summary::count(report.calls, "call");
    let files = summary::count(report.files, "audio file");
    let mut text = format!("{}\n{calls} and {files} ({})", report.path.display(), HumanBytes(report.bytes));
    if let (Some(from), Some(to)) = (&report.from, &report.to) {
        text += &match from == to {
            true => format!(" of {from}"),
            false => format!(" of {from} to {to}"),
        };
    }
    text += ".\n";
    let absent = [
        (report.not_archived, "not archived"),
        (report.excluded, "excluded by a rule"),
        (report.damaged, "damaged or gone"),
    ];
    let absent = summary::nonzero(absent).join(", ");
    if !absent.is_empty() {
        text += &format!("Not in it: {absent}. `data/not-exported.jsonl` names each.\n");
    }
    text += &named("damaged", &report.damaged_paths, report.damaged);
    text += &named("names nothing", &report.unknown_lines, report.unknown);
    let number = report.ledger_number.unwrap_or_default();
    text += &format!(
        "Entry {number} of the ledger records this export and its hash {}: `callvault ledger prove {number}`.\n\
         Open `index.html` to read and listen; `VERIFY.txt` says how anyone can check the export.\n",
        report.bag_sha256
    );
    text
}

fn named(what: &str, names: &[String], count: u64) -> String {
    let shown = names.len().min(SHOWN_MAX);
    let mut text: String = names[..shown].iter().map(|name| format!("  {what}: {name}\n")).collect();
    if count > shown as u64 {
        text += &format!("  … and {} more: `data/not-exported.jsonl` names them\n", count - shown as u64);
    }
    text
}
