//! What an entry of the ledger tells, as far as the database is made of it.

use jiff::{Timestamp, civil::Date};
use serde::Deserialize;

use crate::base::digest::Digest;

/// An entry, as far as it matters here.
#[derive(Debug)]
pub enum Told {
    /// A file became durable in the archive.
    File(FileEntry),
    /// An absence became final.
    Gap(GapEntry),
    /// The audio of an earlier entry's file is odd.
    Suspect { archived: i64, suspect: Vec<String> },
    /// A call list became durable in the archive.
    Lists(ListEntry),
    /// A day settled.
    DayClosed(DayEntry),
    /// A key of the ledger came or went.
    Key(KeyEntry),
    /// What stands for the operator's choices.
    Config { settings: String },
    /// The database was made anew, on this word.
    Rebuilt { trust: String },
    /// Anything else.
    Other,
}

/// `archived` and `conflict`.
#[derive(Debug, Deserialize)]
pub struct FileEntry {
    #[serde(skip)]
    pub number: i64,
    #[serde(skip)]
    pub conflict: bool,
    pub pbx: String,
    pub day: Date,
    pub recording: Digest,
    pub sha256: Digest,
    pub sidecar_sha256: Digest,
    pub size_bytes: u64,
    pub gap: Option<i64>,
    pub at: Timestamp,
}

/// `gap`.
#[derive(Debug, Deserialize)]
pub struct GapEntry {
    pub pbx: String,
    pub day: Date,
    pub recording: Digest,
    pub reason: String,
    pub attempts: u32,
}

/// `lists`.
#[derive(Debug, Deserialize)]
pub struct ListEntry {
    pub pbx: String,
    pub day: Date,
    pub n: u32,
    pub lines: u64,
    pub root: Digest,
}

/// `day_closed`.
#[derive(Debug, Deserialize)]
pub struct DayEntry {
    pub pbx: String,
    pub day: Date,
    pub revision: u32,
    pub certificate_sha256: Digest,
    /// None in entries of version 0.1.
    pub page_sha256: Option<Digest>,
    pub listed: i64,
    pub archived: i64,
    pub missing: i64,
    pub excluded: i64,
    pub pending: i64,
    pub stuck: i64,
    pub at: Timestamp,
}

impl DayEntry {
    /// Whether what became of the recordings adds up to those that were listed.
    pub fn sums(&self) -> bool {
        let told = [self.archived, self.missing, self.excluded, self.pending, self.stuck];
        told.iter().fold(0_i64, |sum, count| sum.saturating_add(*count)) == self.listed
    }
}

/// `key`.
#[derive(Debug, Deserialize)]
pub struct KeyEntry {
    pub action: String,
    pub vkey: String,
    pub at: Timestamp,
}

#[derive(Deserialize)]
struct ConfigEntry {
    settings: String,
}

#[derive(Deserialize)]
struct RebuiltEntry {
    trust: String,
}

#[derive(Deserialize)]
struct Typed {
    r#type: String,
}

#[derive(Deserialize)]
struct SuspectEntry {
    archived: i64,
    suspect: Vec<String>,
}

/// Reads entry `number`.
pub fn read(number: i64, entry: &str) -> serde_json::Result<Told> {
    let Typed { r#type } = serde_json::from_str(entry)?;
    Ok(match r#type.as_str() {
        "archived" | "conflict" => {
            let conflict = r#type == "conflict";
            Told::File(FileEntry { number, conflict, ..serde_json::from_str(entry)? })
        }
        "gap" => Told::Gap(serde_json::from_str(entry)?),
        "suspect" => {
            let SuspectEntry { archived, suspect } = serde_json::from_str(entry)?;
            Told::Suspect { archived, suspect }
        }
        "lists" => Told::Lists(serde_json::from_str(entry)?),
        "day_closed" => Told::DayClosed(serde_json::from_str(entry)?),
        "key" => Told::Key(serde_json::from_str(entry)?),
        "config" => {
            let ConfigEntry { settings } = serde_json::from_str(entry)?;
            Told::Config { settings }
        }
        "rebuilt" => {
            let RebuiltEntry { trust } = serde_json::from_str(entry)?;
            Told::Rebuilt { trust }
        }
        _ => Told::Other,
    })
}
