//! What a verification came to.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::anchors::TimeStamps;
use super::damage::{Class, Damage};
use crate::base::words::words;
use crate::proof::anchor::TokenName;
use crate::store::ledger::{Entry, EntryType};

/// Damaged things that a report names; all are counted.
const NAMED_MAX: usize = 10_000;

words! {
    pub enum Scope as "scope" {
        /// Whether everything is there, with its size, and nothing else; and whether the ledger holds together.
        Quick = "quick",
        /// The same, and every byte is read.
        Full = "full",
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
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
        Self {
            scope,
            began_at,
            whole: true,
            interrupted: false,
            files: 0,
            bytes: 0,
            counts: Counts::default(),
            time_stamps: None,
            elapsed_s: 0.0,
            damaged: Vec::new(),
            unnamed: 0,
        }
    }

    /// Counts a damaged thing, and names it if there is room.
    pub(super) fn add(&mut self, damage: Damage) {
        *self.counts.of(damage.class) += 1;
        match self.damaged.len() < NAMED_MAX {
            true => self.damaged.push(damage),
            false => self.unnamed += 1,
        }
    }

    /// Counts a time stamp: verified, or not for a reason.
    pub(super) fn note_time_stamp(&mut self, name: &TokenName, reason: Option<String>) {
        self.time_stamps.get_or_insert_default().note(name, reason);
    }

    pub fn is_clean(&self) -> bool {
        self.counts == Counts::default()
    }

    pub(super) fn entry(&self, pbxs: &[String], now: Timestamp) -> Entry {
        let Counts { missing, altered, unlisted, unreadable, ledger_mismatch } = self.counts;
        let numbers = BTreeMap::from([
            ("whole", u64::from(self.whole)),
            ("files", self.files),
            ("bytes", self.bytes),
            ("missing", missing),
            ("altered", altered),
            ("unlisted", unlisted),
            ("unreadable", unreadable),
            ("ledger_mismatch", ledger_mismatch),
        ]);
        let began_at = self.began_at.round(jiff::Unit::Millisecond).unwrap_or(self.began_at);
        let entry = Entry::new(EntryType::Fixity, now)
            .with("scope", self.scope.as_str())
            .with("began_at", began_at.to_string());
        let entry = numbers.into_iter().fold(entry, |entry, (member, number)| entry.with(member, number));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_entry_is_canonical_and_names_nobody() {
        let mut report = Report::new(Scope::Full, Timestamp::UNIX_EPOCH);
        (report.files, report.bytes) = (12, 3400);
        let damage = Damage::new(Class::Altered, super::super::damage::Thing::Audio, "hq", "hq/a.wav");
        report.add(damage);
        let entry = |pbxs: &[&str]| {
            let pbxs: Vec<String> = pbxs.iter().map(ToString::to_string).collect();
            report.entry(&pbxs, Timestamp::UNIX_EPOCH).to_canonical_json()
        };
        insta::assert_snapshot!(entry(&["hq", "lyon"]), @r#"{"altered":1,"at":"1970-01-01T00:00:00Z","began_at":"1970-01-01T00:00:00Z","bytes":3400,"files":12,"ledger_mismatch":0,"missing":0,"scope":"full","type":"fixity","unlisted":0,"unreadable":0,"whole":1}"#);
        insta::assert_snapshot!(entry(&["hq"]), @r#"{"altered":1,"at":"1970-01-01T00:00:00Z","began_at":"1970-01-01T00:00:00Z","bytes":3400,"files":12,"ledger_mismatch":0,"missing":0,"pbx":"hq","scope":"full","type":"fixity","unlisted":0,"unreadable":0,"whole":1}"#);
    }
}
