//! The result of an export.

use std::path::PathBuf;

use serde::Serialize;

use super::cdr::Absence;
use crate::base::digest::Digest;

/// Further lines of the operator's list, and further absences, are only counted.
const NAMED_MAX: usize = 100;

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub path: PathBuf,
    /// The SHA-256 of `tagmanifest-sha256.txt`, which covers the whole bag.
    pub bag_sha256: Digest,
    /// The ledger entry of the export; none before the export is handed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ledger_number: Option<i64>,
    /// The first and the last day in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    pub calls: u64,
    pub recordings: u64,
    /// Audio files that are in it as archived.
    pub files: u64,
    /// Of these files.
    pub bytes: u64,
    /// Entries that the checkpoint covers.
    pub ledger_size: u64,
    /// Verified time-stamp tokens.
    pub anchors: u64,
    pub anchors_not_verified: u64,
    /// Files of certificates.
    pub certificates: u64,
    /// Never archived, and not excluded by a rule.
    pub not_archived: u64,
    pub excluded: u64,
    /// Archived files that are gone or have changed.
    pub damaged: u64,
    /// Up to 100.
    pub damaged_paths: Vec<String>,
    /// Lines of the operator's list that match nothing.
    pub unknown: u64,
    /// Up to 100.
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
