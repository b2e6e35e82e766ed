//! What a verification came to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::anchors::place;
use crate::base::recording::printable;
use crate::base::words::words;
use crate::proof::anchor::TokenName;
use crate::store::findings::{Finding, FindingKind};
use crate::store::ledger::{Entry, EntryType};

/// Damaged things that a report names; all are counted.
const NAMED_MAX: usize = 10_000;
/// Time stamps that are not verified and are named; all are counted.
const TIME_STAMPS_MAX: usize = 20;

words! {
    #[derive(Default)]
    pub enum Scope as "scope" {
        /// Whether everything is there, with its size, and nothing else; and whether the ledger holds together.
        #[default]
        Quick = "quick",
        /// The same, and every byte is read.
        Full = "full",
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    pub scope: Scope,
    pub began_at: Timestamp,
    /// Whether it looked at everything that it was to look at.
    pub whole: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    pub files: u64,
    pub bytes: u64,
    #[serde(flatten)]
    pub counts: Counts,
    /// How far the time stamps of the ledger can be believed; none if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_stamps: Option<TimeStamps>,
    pub elapsed_s: f64,
    pub damaged: Vec<Damage>,
    /// Damaged things beyond those that are named.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unnamed: u64,
}

/// How far the time stamps of the ledger can be believed. A quick look judges the latest of each authority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeStamps {
    pub verified: u64,
    pub not_verified: u64,
    /// These, and why, up to 20.
    pub unverified: Vec<UnverifiedToken>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnverifiedToken {
    pub path: String,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub missing: u64,
    pub altered: u64,
    pub unlisted: u64,
    pub unreadable: u64,
    /// Entries of the ledger that do not hold.
    pub ledger_mismatch: u64,
}

impl Counts {
    pub fn of(&mut self, class: Class) -> &mut u64 {
        match class {
            Class::Missing => &mut self.missing,
            Class::Altered => &mut self.altered,
            Class::Unlisted => &mut self.unlisted,
            Class::Unreadable => &mut self.unreadable,
            Class::LedgerMismatch => &mut self.ledger_mismatch,
        }
    }

    pub fn all(mut self) -> u64 {
        Class::ALL.iter().map(|class| *self.of(*class)).sum()
    }
}

impl Report {
    pub(super) fn new(scope: Scope, began_at: Timestamp) -> Self {
        Self { scope, began_at, whole: true, ..Self::default() }
    }

    pub(super) fn add(&mut self, damage: Damage) {
        *self.counts.of(damage.class) += 1;
        match self.damaged.len() < NAMED_MAX {
            true => self.damaged.push(damage),
            false => self.unnamed += 1,
        }
    }

    /// Counts a time stamp: verified, or not for a reason. Then it is named too, if there is room.
    pub(super) fn note_time_stamp(&mut self, name: &TokenName, reason: Option<String>) {
        let stamps = self.time_stamps.get_or_insert_default();
        let Some(reason) = reason else {
            stamps.verified += 1;
            return;
        };
        stamps.not_verified += 1;
        if stamps.unverified.len() < TIME_STAMPS_MAX {
            let path = place(&format!("{}.{}.tsr", name.size, name.authority));
            stamps.unverified.push(UnverifiedToken { path, reason });
        }
    }

    pub fn is_clean(&self) -> bool {
        self.counts == Counts::default()
    }

    pub(super) fn entry(&self, pbxs: &[String], now: Timestamp) -> Entry {
        let mut counts = self.counts;
        let began_at = self.began_at.round(jiff::Unit::Millisecond).unwrap_or(self.began_at);
        let entry = Entry::new(EntryType::Fixity, now)
            .with("scope", self.scope.as_str())
            .with("began_at", began_at.to_string())
            .with("whole", u64::from(self.whole))
            .with("files", self.files)
            .with("bytes", self.bytes);
        let count = |entry: Entry, class: &Class| entry.with(class.as_str(), *counts.of(*class));
        let entry = Class::ALL.iter().fold(entry, count);
        match pbxs {
            [one] => entry.with("pbx", one.as_str()),
            _ => entry,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

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
    Marker,
    /// A folder, or something that callvault did not put there.
    #[default]
    Stray,
    /// The ledger, or what the catalog says of it.
    Entry,
    Published,
}

impl Damage {
    pub(super) fn new(class: Class, thing: Thing, pbx: &str, place: impl Into<Vec<u8>>) -> Self {
        let place = place.into();
        Self {
            class,
            pbx: pbx.to_owned(),
            path: printable(&place),
            expected: String::new(),
            found: String::new(),
            remedy: remedy(class, thing).to_owned(),
            quarantined: None,
            thing,
            place,
        }
    }

    pub(super) fn evidence(self, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), found: found.into(), ..self }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_entry_is_canonical_and_names_nobody() {
        let mut report = Report::new(Scope::Full, Timestamp::UNIX_EPOCH);
        (report.files, report.bytes) = (12, 3400);
        let damage = Damage::new(Class::Altered, Thing::Audio, "hq", "hq/a.wav");
        report.add(damage);
        let entry = |pbxs: &[&str]| {
            let pbxs: Vec<String> = pbxs.iter().map(ToString::to_string).collect();
            report.entry(&pbxs, Timestamp::UNIX_EPOCH).to_canonical_json()
        };
        insta::assert_snapshot!(entry(&["hq", "lyon"]), @r#"{"altered":1,"at":"1970-01-01T00:00:00Z","began_at":"1970-01-01T00:00:00Z","bytes":3400,"files":12,"ledger_mismatch":0,"missing":0,"scope":"full","type":"fixity","unlisted":0,"unreadable":0,"whole":1}"#);
        insta::assert_snapshot!(entry(&["hq"]), @r#"{"altered":1,"at":"1970-01-01T00:00:00Z","began_at":"1970-01-01T00:00:00Z","bytes":3400,"files":12,"ledger_mismatch":0,"missing":0,"pbx":"hq","scope":"full","type":"fixity","unlisted":0,"unreadable":0,"whole":1}"#);
    }
}
