//! What came of an export.

use std::path::PathBuf;

use serde::Serialize;

use super::cdr::Absence;
use crate::base::digest::Digest;

/// Lines of the operator's list, and absences, that are named; all are counted.
const NAMED_MAX: usize = 100;

/// What came of an export.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where it is.
    pub path: PathBuf,
    /// The SHA-256 of `tagmanifest-sha256.txt`, which stands for the whole bag.
    pub bag_sha256: Digest,
    /// The entry of the ledger that tells of it; none before it is handed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger_number: Option<i64>,
    /// The first day of what is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Calls.
    pub calls: u64,
    /// Recordings that were chosen.
    pub recordings: u64,
    /// Audio files that are in it as they were archived.
    pub files: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Entries of the ledger that its checkpoint covers.
    pub ledger_size: u64,
    /// Time-stamp tokens that were verified.
    pub anchors: u64,
    /// Time-stamp tokens that are in it too, and were not.
    pub anchors_not_verified: u64,
    /// Certificates of days: files.
    pub certificates: u64,
    /// Recordings that were never archived, and are not excluded by a rule.
    pub not_archived: u64,
    /// Recordings that a rule excludes.
    pub excluded: u64,
    /// Files that were archived, and are gone or have other bytes now.
    pub damaged: u64,
    /// The paths of those, up to 100.
    pub damaged_paths: Vec<String>,
    /// Lines of the operator's list that name nothing.
    pub unknown: u64,
    /// These lines, up to 100.
    pub unknown_lines: Vec<String>,
}

impl Report {
    pub(super) fn note_absences(&mut self, absences: &[Absence]) {
        for absence in absences {
            match () {
                () if absence.is_damage() => {
                    self.damaged += 1;
                    if self.damaged_paths.len() < NAMED_MAX {
                        self.damaged_paths.push(absence.path.clone());
                    }
                }
                () if absence.is_excluded() => self.excluded += 1,
                () => self.not_archived += 1,
            }
        }
    }

    pub(super) fn note_unknown(&mut self, lines: &[String]) {
        self.unknown = lines.len() as u64;
        self.unknown_lines = lines.iter().take(NAMED_MAX).cloned().collect();
    }
}
