//! What a rebuild came to, as `rebuild --json` prints it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use super::published::Trust;
use crate::base::counts::Counts;
use crate::base::recording::printable;

/// Damaged things that are named; the rest is counted.
const NAMED_MAX: usize = 1000;

#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub state_id: String,
    pub elapsed_s: f64,
    pub pbx: BTreeMap<String, PbxRebuilt>,
    pub ledger: LedgerRebuilt,
    /// Where the former database is now; none if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub former: Option<PathBuf>,
    /// Configured PBXs that were left out, each with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, String>,
    pub damaged: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<Damage>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct PbxRebuilt {
    pub listed: i64,
    #[serde(flatten)]
    pub counts: Counts,
    /// Voicemail messages by state; none if it had any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voicemail: Option<Counts>,
    pub calls: i64,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct LedgerRebuilt {
    /// Entries that were published, and are in the database again.
    pub published: i64,
    /// Whose word it is that they are those which were signed.
    pub trust: Trust,
    /// Entries that were published but never signed, or may not have been: their content does not count.
    pub unsigned: i64,
    /// Entries that were signed and that no file holds any more.
    pub lost: i64,
    /// Entries that were appended, for files without one that this state wrote.
    pub appended: i64,
    /// Files without a signed entry and of unknown origin: their recordings are queued again.
    pub found: i64,
    /// Archived files that entries name and that are gone, or whose sidecar is.
    pub gone: i64,
    /// Recordings that were missing for good without an entry that says so: they are asked for again.
    pub asked_again: u64,
}

/// Something that is not as it was written. The rest was rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Empty if it does not belong to one PBX.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pbx: String,
    /// The file or folder, or the entry of the ledger.
    pub subject: String,
    pub problem: String,
}

impl Damage {
    /// `subject` is safe to print; `problem` becomes so, for it may quote a damaged document.
    pub fn of(pbx: &str, subject: impl Into<String>, problem: impl Into<String>) -> Self {
        let problem = printable(problem.into().as_bytes());
        Self { pbx: pbx.to_owned(), subject: subject.into(), problem }
    }
}

impl Report {
    pub(super) fn note(&mut self, damage: Damage) {
        self.damaged += 1;
        if self.damage.len() < NAMED_MAX {
            self.damage.push(damage);
        }
    }
}

#[derive(Debug, Default)]
pub struct Progress {
    pub(super) files: AtomicU64,
    pub(super) lines: AtomicU64,
    pub(super) entries: AtomicU64,
}

impl Progress {
    pub fn counts(&self) -> [u64; 3] {
        [&self.files, &self.lines, &self.entries].map(|count| count.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_damaged_document_holds_is_quoted_harmlessly() {
        let damage = Damage::of("hq", "calls-1.jsonl line 2", "unknown variant `\u{202e}call\u{7f}`");
        assert_eq!(damage.problem, "unknown variant `\\u{202e}call\\u{7f}`");
    }
}
