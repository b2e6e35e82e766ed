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

mod bag;
mod lists;
mod log;
mod originals;
mod page;
mod report;
mod selection;
mod verify_txt;
mod zip;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub use report::{ExportError, Report};
pub use selection::{Choice, Request, Selection};

pub use crate::store::export::pbxs;

use crate::archive::Reader;
use crate::base::filesystem::free_bytes;
use crate::formats::tlog::VerifyingKey;
use crate::proof::notary::Published;
use bag::{Bag, Temporary};
use log::{Log, Scope, Token};
use originals::Copied;
use report::Result;

const AGENT: &str = concat!("callvault ", env!("CARGO_PKG_VERSION"));

/// Readable by the owner and the group, until the owner decides otherwise.
const ZIP_MODE: u32 = 0o640;

#[derive(Debug)]
pub struct Sources<'a> {
    pub archive: &'a dyn Reader,
    pub published: &'a Published,
    /// As the state has them.
    pub keys: Vec<VerifyingKey>,
    /// By the name of a time-stamp authority, the PEM certificates that verify its tokens.
    pub authorities: BTreeMap<String, String>,
    /// The archive and the state: no bag may be inside them.
    pub ours: Vec<PathBuf>,
    pub stop: CancellationToken,
    pub now: Timestamp,
}

impl Sources<'_> {
    fn check_stop(&self) -> Result<()> {
        if self.stop.is_cancelled() { Err(ExportError::Interrupted) } else { Ok(()) }
    }
}

/// A bag that is complete and durable, under its temporary name. If dropped, it is removed.
#[derive(Debug)]
pub struct Packed {
    bag: Bag,
    zip: Option<Temporary>,
    pub report: Report,
}

/// A bag that is being filled.
struct Packing<'a> {
    selection: &'a Selection,
    sources: &'a Sources<'a>,
    /// The entries of the ledger that are about the selection.
    wanted: BTreeSet<u64>,
    bag: Bag,
    copied: Copied,
}

#[derive(Clone, Copy)]
struct Contents<'a> {
    request: &'a Request,
    selection: &'a Selection,
    copied: &'a Copied,
    log: &'a Log,
    tokens: &'a [Token],
    now: Timestamp,
}

/// Packs what was selected; it blocks. On return everything is on disk, beside its final place; on an error nothing is left
/// behind. An original that is gone or damaged is not an error: the bag says so.
pub fn pack(request: Request, selection: &Selection, sources: &Sources<'_>) -> Result<Packed> {
    let out = request.place();
    check_place(&out, sources)?;
    // Until a ZIP is written, its folder takes room too.
    let copies = if request.zip { 2 } else { 1 };
    check_room(bag::parent(&out), selection.audio_bytes().saturating_mul(copies))?;
    let (bag, copied) = (Bag::begin(&out)?, Copied::default());
    let mut packing = Packing { selection, sources, wanted: selection.entries(), bag, copied };
    packing.copy_originals()?;
    let scope = if request.choice.is_of_everybody() { Scope::Whole } else { Scope::Tree };
    let log = packing.copy_log(scope)?;
    let tokens = packing.copy_tokens(&log)?;
    packing.write_proofs(&log)?;
    let Packing { mut bag, copied, .. } = packing;
    let (copied, log, tokens) = (&copied, &log, &tokens);
    let contents = Contents { request: &request, selection, copied, log, tokens, now: sources.now };
    describe(&contents, &mut bag)?;
    sources.check_stop()?;
    let bag_sha256 = bag.close(&info(&contents, bag.payload()))?;
    let report = Report::of(&contents, out, bag_sha256);
    let zip = request.zip.then(|| zip_up(&bag, &request, &report.path, sources)).transpose()?;
    Ok(Packed { bag, zip, report })
}

impl Packed {
    /// Gives the bag, or its ZIP, its final name, durable on return. On an error nothing is left behind, except perhaps a name
    /// that does not survive a power cut.
    pub fn hand_out(self) -> Result<Report> {
        let Self { bag, zip, report } = self;
        match zip {
            Some(zip) => {
                place(&zip.0, &report.path)?;
                drop(zip);
                bag::sync(bag::parent(&report.path))?;
            }
            None => bag.keep(&report.path)?,
        }
        Ok(report)
    }
}

/// Packs the bag into a ZIP, which is on disk on return, beside its place.
fn zip_up(bag: &Bag, request: &Request, out: &Path, sources: &Sources<'_>) -> Result<Temporary> {
    let zipped = Temporary::beside(out);
    let failed = |error| ExportError::io("write", &zipped.0, error);
    let file = fs::File::create_new(&zipped.0).map_err(failed)?;
    file.set_permissions(fs::Permissions::from_mode(ZIP_MODE)).map_err(failed)?;
    let paths = bag.paths().take_while(|_| sources.check_stop().is_ok());
    let written = zip::write(file, &request.name(), bag.folder(), paths);
    written.and_then(|file| file.sync_all()).map_err(failed)?;
    sources.check_stop()?;
    Ok(zipped)
}

/// Gives a file its final name, and overwrites nothing.
fn place(temporary: &Path, out: &Path) -> Result<()> {
    match fs::hard_link(temporary, out) {
        Ok(()) => Ok(()),
        // Sticks and shares often have no hard links: there the name is checked first.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && fs::symlink_metadata(out).is_err() => {
            fs::rename(temporary, out).map_err(|error| ExportError::io("make", out, error))
        }
        Err(_) => Err(ExportError::Taken(out.to_owned())),
    }
}

/// Whether a bag may be at `out`: nothing is there, it is outside our folders, and a folder can get that name.
fn check_place(out: &Path, sources: &Sources<'_>) -> Result<()> {
    if out.file_name().is_none() {
        return Err(ExportError::NoName(out.to_owned()));
    }
    let parent = bag::parent(out);
    let in_parent = fs::metadata(parent).map_err(|_| ExportError::NoParent(parent.to_owned()))?;
    if let Ok(there) = fs::symlink_metadata(out) {
        let is_empty = || fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
        if there.is_symlink() || (there.is_dir() && there.dev() != in_parent.dev()) {
            return Err(ExportError::Elsewhere(out.to_owned()));
        }
        if !there.is_dir() || !is_empty() {
            return Err(ExportError::Taken(out.to_owned()));
        }
    }
    let parent = parent.canonicalize().map_err(|_| ExportError::NoParent(parent.to_owned()))?;
    let is_ours = |ours: &PathBuf| ours.canonicalize().is_ok_and(|ours| parent.starts_with(ours));
    if sources.ours.iter().any(is_ours) {
        return Err(ExportError::Inside(out.to_owned()));
    }
    Ok(())
}

fn check_room(folder: &Path, needed_bytes: u64) -> Result<()> {
    let free_bytes = free_bytes(folder).map_err(|error| ExportError::io("examine", folder, error))?;
    if free_bytes < needed_bytes {
        return Err(ExportError::NoRoom { path: folder.to_owned(), free_bytes, needed_bytes });
    }
    Ok(())
}

fn describe(contents: &Contents<'_>, bag: &mut Bag) -> Result<()> {
    let (selection, absent) = (contents.selection, &contents.copied.absent);
    bag.write_with("data/cdr.csv", |to| lists::write_csv(selection, absent, to))?;
    bag.write_with("data/cdr.jsonl", |to| lists::write_jsonl(selection, to))?;
    bag.write_with("data/not-exported.jsonl", |to| lists::write_absent(absent, &selection.unknown, to))?;
    bag.write_with("premis/events.jsonl", |to| lists::write_events(contents, to))?;
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
