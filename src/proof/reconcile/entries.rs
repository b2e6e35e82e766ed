//! What an account lists: all is counted, and the first are told by name.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::base::recording::Text;
use crate::store::findings::FindingRow;

/// A list that may be cut off: all are counted, the first are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing<T> {
    /// How many there are.
    pub count: i64,
    /// The first of them.
    pub items: Vec<T>,
}

/// A contradiction within the database: each leaves a recording in no number but `listed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `archived_without_file` (archived, but the catalog has no file of it), `file_without_archived` (the catalog has
    /// one, but it is not archived), or `unqueued` (a row names a recording that nobody heard of).
    pub kind: String,
    /// The recording's path, or the identity of the row.
    pub subject: String,
}

/// A recording that is not archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unarchived {
    /// Where its audio would be.
    pub path: String,
    /// The PBX's name.
    pub name: Text,
    /// The serial number of the device.
    pub sn: String,
    /// The start of its first call.
    pub started_at: Option<Timestamp>,
    /// Where it stands.
    pub state: String,
    /// The class of the last error, or the name of the excluding rule; none if it was never tried.
    pub reason: Option<String>,
    /// Of a missing one: whether it is not asked for any more by itself.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Attempts so far.
    pub attempts: i64,
}

/// A recording by its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Filed {
    /// Relative to the archive's root.
    pub path: String,
}

/// Findings that concern a day and were not mended.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DayFindings {
    /// All of them by kind.
    pub by: BTreeMap<String, i64>,
    /// The first of them.
    #[serde(flatten)]
    pub told: Listing<FindingRow>,
}

/// Audio that is odd.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Suspects {
    /// Files by what is odd about them.
    pub by: BTreeMap<String, i64>,
    /// The first of them.
    #[serde(flatten)]
    pub files: Listing<Suspect>,
}

/// One file whose audio is odd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suspect {
    /// Where it is.
    pub path: String,
    /// What is odd.
    pub suspect: Vec<String>,
    /// How long it plays, in ms.
    pub duration_ms: Option<i64>,
    /// The longest talk time of the calls that name it, in s.
    pub talk_s: Option<i64>,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { count: 0, items: Vec::new() }
    }
}

impl<T> Listing<T> {
    /// How many are counted and not told.
    pub fn left_out(&self) -> i64 {
        self.count - i64::try_from(self.items.len()).unwrap_or(self.count)
    }
}
