//! Exporting: a bag (BagIt 1.0, RFC 8493) that proves itself to whoever it is given to, without any of our code.
//!
//! ```text
//! choice ──► selection, of one moment ──► bag beside its place: originals, each compared with its hash
//!                                          lists, ledger, proofs, anchors, certificates, events, page, VERIFY.txt
//!                                            │ manifests, all durable
//!                                            ▼
//!                                          entry `export` in the ledger ──► its final name, or one ZIP
//! ```
//! Nothing is handed out that the ledger does not tell of: the bag has its name only after the entry.

mod anchors;
mod bag;
mod cdr;
mod choice;
mod error;
mod log;
mod originals;
mod page;
mod premis;
mod report;
mod rows;
mod selection;
mod verify_txt;
mod zip;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub use choice::{Choice, Request};
pub use error::ExportError;
pub use report::Report;
pub use rows::pbxs;
pub use selection::Selection;

use crate::archive::{Originals, free_bytes};
use crate::notary::Published;
use crate::tlog::VerifyingKey;
use anchors::Token;
use bag::Bag;
use log::Log;
use originals::Copied;

/// Who made the bag.
const AGENT: &str = concat!("callvault ", env!("CARGO_PKG_VERSION"));

/// What ends an export early.
#[derive(Debug, Clone)]
pub struct Stop(CancellationToken);

impl Stop {
    /// One that this token ends.
    pub fn on(token: CancellationToken) -> Self {
        Self(token)
    }

    fn check(&self) -> Result<(), ExportError> {
        if self.0.is_cancelled() { Err(ExportError::Interrupted) } else { Ok(()) }
    }
}

/// What an export is made from.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The archive's root.
    pub archive: &'a Path,
    /// The published ledger in it.
    pub published: &'a Published,
    /// The keys of the ledger, as the state has them.
    pub keys: Vec<VerifyingKey>,
    /// The folders in which no bag may lie: the archive and the state.
    pub ours: Vec<PathBuf>,
    /// What ends it early.
    pub stop: Stop,
    /// When it is made.
    pub now: Timestamp,
}

/// A bag that is whole and durable, and has not been handed out. Dropped, it is gone.
#[derive(Debug)]
pub struct Packed {
    bag: Bag,
    request: Request,
    /// What is in it.
    pub report: Report,
}

/// What a bag was made of, for those who describe it.
struct Contents<'a> {
    request: &'a Request,
    selection: &'a Selection,
    copied: &'a Copied,
    log: &'a Log,
    tokens: &'a [Token],
    now: Timestamp,
}

/// Packs what was selected. On return all of it is on disk, beside its final place.
///
/// It reads and writes files for as long as it takes: for a thread of its own.
///
/// # Errors
/// [`ExportError`]; then nothing is left behind. An original that is gone or damaged is none: it is told in the bag.
pub fn pack(request: Request, selection: &Selection, sources: &Sources<'_>) -> Result<Packed, ExportError> {
    let out = request.place();
    check_place(&out, sources)?;
    // Of a ZIP the folder is there too, until it is written.
    let copies = if request.zip { 2 } else { 1 };
    check_room(bag::parent(&out), selection.audio_bytes().saturating_mul(copies))?;
    let (stop, now) = (&sources.stop, sources.now);
    let mut bag = Bag::begin(&out)?;
    let originals = Originals::open(sources.archive)?;
    let copied = originals::copy(selection, &originals, &mut bag, stop)?;
    let wanted = selection.entries();
    let log = Log::copy(sources.published, sources.keys.clone(), &wanted, &mut bag, stop)?;
    let tokens = anchors::copy(sources.published, &wanted, log.checkpoint.size, &mut bag)?;
    originals::write_proofs(selection, &log, &mut bag, stop)?;
    let contents =
        Contents { request: &request, selection, copied: &copied, log: &log, tokens: &tokens, now };
    describe(&contents, &mut bag)?;
    stop.check()?;
    let bag_sha256 = bag.close(&info(&contents, bag.payload()))?;
    let report = report(&contents, out, bag_sha256);
    Ok(Packed { bag, request, report })
}

impl Packed {
    /// Gives the bag its final name, or makes one ZIP of it. On return that is on disk.
    ///
    /// # Errors
    /// [`ExportError`]; then nothing is left behind.
    pub fn hand_out(self) -> Result<Report, ExportError> {
        let Self { bag, request, report } = self;
        if request.zip {
            zip_of(&bag, &request, &report.path)?;
        } else {
            bag.keep(&report.path)?;
        }
        Ok(report)
    }
}

fn zip_of(bag: &Bag, request: &Request, out: &Path) -> Result<(), ExportError> {
    let temporary = bag::temporary_sibling(out);
    let top = request.out.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let written = fs::File::create_new(&temporary)
        .and_then(|file| zip::write(file, &top, bag.folder(), bag.paths()))
        .and_then(|file| file.sync_all())
        .map_err(|error| ExportError::io("write", &temporary, error));
    let placed = written.and_then(|()| place(&temporary, out));
    // What cannot be removed has a name that says what it is.
    drop(fs::remove_file(&temporary));
    placed.and_then(|()| bag::sync(bag::parent(out)))
}

/// Gives a file its final name, and overwrites nothing.
fn place(temporary: &Path, out: &Path) -> Result<(), ExportError> {
    match fs::hard_link(temporary, out) {
        Ok(()) => Ok(()),
        // Sticks and shares often have no second names: there it is looked first.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && fs::symlink_metadata(out).is_err() => {
            fs::rename(temporary, out).map_err(|error| ExportError::io("make", out, error))
        }
        Err(_) => Err(ExportError::Taken(out.to_owned())),
    }
}

/// Whether a bag may be there: nothing is, and it is not in a folder of ours.
fn check_place(out: &Path, sources: &Sources<'_>) -> Result<(), ExportError> {
    let is_empty_folder = || fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    if out.file_name().is_none() || (fs::symlink_metadata(out).is_ok() && !is_empty_folder()) {
        return Err(ExportError::Taken(out.to_owned()));
    }
    let parent = bag::parent(out);
    let parent = parent.canonicalize().map_err(|_| ExportError::NoParent(parent.to_owned()))?;
    let is_ours = |ours: &PathBuf| ours.canonicalize().is_ok_and(|ours| parent.starts_with(ours));
    if sources.ours.iter().any(is_ours) {
        return Err(ExportError::Inside(out.to_owned()));
    }
    Ok(())
}

fn check_room(folder: &Path, needed_bytes: u64) -> Result<(), ExportError> {
    let free_bytes = free_bytes(folder)?;
    if free_bytes < needed_bytes {
        return Err(ExportError::NoRoom { path: folder.to_owned(), free_bytes, needed_bytes });
    }
    Ok(())
}

/// Writes all that tells what is in the bag.
fn describe(contents: &Contents<'_>, bag: &mut Bag) -> Result<(), ExportError> {
    let Contents { selection, copied, log, now, .. } = contents;
    bag.write_with("data/cdr.csv", |to| cdr::write_csv(selection, to))?;
    bag.write_with("data/cdr.jsonl", |to| cdr::write_jsonl(selection, to))?;
    bag.write_with("data/not-exported.jsonl", |to| {
        copied.absent.iter().try_for_each(|absence| cdr::json_line(to, absence))
    })?;
    bag.write_with("premis/events.jsonl", |to| premis::write(selection, copied, log, *now, to))?;
    bag.write_with("index.html", |to| page::write(contents, to))?;
    bag.put("VERIFY.txt", verify_txt::of(contents))?;
    Ok(())
}

/// The lines of `bag-info.txt` (RFC 8493, section 2.2.2).
fn info(contents: &Contents<'_>, (bytes, files): (u64, u64)) -> Vec<(&'static str, String)> {
    let Contents { request, log, now, .. } = contents;
    vec![
        ("Bag-Software-Agent", AGENT.to_owned()),
        ("Bagging-Date", now.strftime("%Y-%m-%d").to_string()),
        ("External-Description", request.choice.in_words()),
        ("External-Identifier", log.checkpoint.origin.clone()),
        ("Payload-Oxum", format!("{bytes}.{files}")),
        ("Callvault-Ledger-Size", log.checkpoint.size.to_string()),
        ("Callvault-Ledger-Root", log.checkpoint.root.to_string()),
    ]
}

fn report(contents: &Contents<'_>, path: PathBuf, bag_sha256: crate::digest::Digest) -> Report {
    let Contents { selection, copied, log, tokens, .. } = contents;
    let days = selection.days();
    let mut report = Report {
        path,
        bag_sha256,
        from: days.map(|(from, _)| from.to_owned()),
        to: days.map(|(_, to)| to.to_owned()),
        calls: selection.calls.len() as u64,
        recordings: selection.recordings.len() as u64,
        files: copied.files,
        bytes: copied.bytes,
        ledger_size: log.checkpoint.size,
        anchors: tokens.len() as u64,
        certificates: copied.certificates.len() as u64,
        not_archived: 0,
        excluded: 0,
        damaged: 0,
        damaged_paths: Vec::new(),
        unknown: 0,
        unknown_lines: Vec::new(),
    };
    report.note_absences(&copied.absent);
    report.note_unknown(&selection.unknown);
    report
}
