//! The lists of an account: everything is counted, and the first items are listed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::base::recording::Text;
use crate::store::findings::FindingRow;

/// A list that may be cut off: `count` is of all, `items` are the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing<T> {
    pub count: i64,
    pub items: Vec<T>,
}

/// A contradiction within the database: it leaves a recording in no number but `listed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Difference {
    /// `archived_without_file` (archived, but the catalog has no file), `file_without_archived` (the catalog has a file, but
    /// it is not archived), or `unqueued` (a row names an unknown recording).
    pub kind: String,
    /// The recording's path, or the identity of the row.
    pub subject: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unarchived {
    /// Where its audio would be.
    pub path: String,
    /// As the PBX calls it.
    pub name: Text,
    /// Of the device.
    pub sn: String,
    /// The start of its first call.
    pub started_at: Option<Timestamp>,
    pub state: String,
    /// The class of the last error, or the name of the excluding rule; none if it was never tried.
    pub reason: Option<String>,
    /// Whether a missing recording is no longer asked for.
    #[serde(rename = "final")]
    pub is_final: bool,
    pub attempts: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Filed {
    /// Relative to the archive's root.
    pub path: String,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct DayFindings {
    pub by: BTreeMap<String, i64>,
    #[serde(flatten)]
    pub list: Listing<FindingRow>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Suspects {
    /// Files by suspicion.
    pub by: BTreeMap<String, i64>,
    #[serde(flatten)]
    pub files: Listing<Suspect>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suspect {
    pub path: String,
    pub suspect: Vec<String>,
    pub duration_ms: Option<i64>,
    /// Of the calls that name it, the longest.
    pub talk_s: Option<i64>,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { count: 0, items: Vec::new() }
    }
}

impl<T> Listing<T> {
    pub fn left_out(&self) -> i64 {
        self.count - i64::try_from(self.items.len()).unwrap_or(self.count)
    }
}
