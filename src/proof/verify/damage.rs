//! Damage in the archive, in words and as a finding.

use serde::{Deserialize, Serialize};

use crate::base::words::words;
use crate::store::findings::{Finding, FindingKind};

words! {
    pub enum Class as "class of damage" {
        Missing = "missing",
        Altered = "altered",
        /// It is there, and callvault did not put it there.
        Unlisted = "unlisted",
        Unreadable = "unreadable",
        /// The ledger does not hold together, or the catalog contradicts it.
        LedgerMismatch = "ledger_mismatch",
    }
}

impl Class {
    /// The finding that it is kept as.
    pub fn finding(self) -> FindingKind {
        match self {
            Self::Missing => FindingKind::FileMissing,
            Self::Altered => FindingKind::FileAltered,
            Self::Unlisted => FindingKind::FileUnlisted,
            Self::Unreadable => FindingKind::FileUnreadable,
            Self::LedgerMismatch => FindingKind::LedgerMismatch,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    pub class: Class,
    /// The PBX that it is of; empty if it concerns the whole ledger.
    pub pbx: String,
    /// Where it is, relative to the archive's root and safe to print; of the ledger, which entry.
    pub path: String,
    pub expected: String,
    pub found: String,
    pub remedy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<String>,
    #[serde(skip)]
    pub(super) thing: Thing,
    /// Where it is, byte for byte.
    #[serde(skip)]
    pub(super) place: Vec<u8>,
}

/// What sort of thing is damaged: it decides what can be done about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Thing {
    Audio,
    /// A sidecar, a call list: written once.
    Document,
    /// `SHA256SUMS`, which is derived.
    Sums,
    /// The marker of a PBX, without which nothing is written there.
    Marker,
    /// A folder, or something that callvault did not put there.
    #[default]
    Stray,
    /// The ledger, or what the catalog says of it.
    Entry,
    /// A file of the published ledger.
    Published,
}

impl Damage {
    /// A damage for which nothing was done yet.
    pub(super) fn new(class: Class, thing: Thing, pbx: &str, place: impl Into<Vec<u8>>) -> Self {
        let place = place.into();
        let path = crate::base::recording::printable(&place);
        let remedy = remedy(class, thing).to_owned();
        let (expected, found) = (String::new(), String::new());
        Self { class, pbx: pbx.to_owned(), path, expected, found, remedy, quarantined: None, thing, place }
    }

    /// Says what should be there and what is.
    pub(super) fn told(self, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), found: found.into(), ..self }
    }

    /// The findings that it is kept as.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let finding = |kind, detail| Finding { kind, subject: self.path.clone(), detail };
        let Some(to) = &self.quarantined else {
            let detail = format!("expected {}, found {}: {}", self.expected, self.found, self.remedy);
            return vec![finding(self.class.finding(), detail)];
        };
        let what = self.class.as_str();
        let mut findings =
            vec![finding(FindingKind::Quarantined, format!("it was {what}; callvault moved it to {to}"))];
        if matches!(self.thing, Thing::Audio | Thing::Document) {
            let detail = format!("it was {what}; callvault moved it to {to}: {}", self.remedy);
            findings.push(finding(FindingKind::FileMissing, detail));
        }
        findings
    }
}

fn remedy(class: Class, thing: Thing) -> &'static str {
    match (class, thing) {
        (Class::Missing | Class::Altered, Thing::Sums) => {
            "run `callvault verify --quarantine`: it sets the file aside and writes it again"
        }
        (Class::LedgerMismatch, Thing::Published) => {
            "find out who put an older or different ledger there; callvault publishes the right checkpoint again"
        }
        (Class::Unlisted, Thing::Published) => "find out who put it there, and move it away",
        (Class::Missing | Class::Altered, Thing::Marker) => {
            "restore it from a backup: without it the next start fails"
        }
        (Class::Missing | Class::Altered, _) => "restore it from a backup",
        (Class::Unlisted, _) => {
            "find out who put it there and move it away, or let `callvault verify --quarantine` do so"
        }
        (Class::Unreadable, _) => "check the disk and the permissions",
        (Class::LedgerMismatch, _) => {
            "the database was changed from outside: find out how, and restore the state from a backup"
        }
    }
}
