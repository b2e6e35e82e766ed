//! The certificate's JSON, a format that others rely on: see `docs/archive-format.md`.

use jiff::{Timestamp, Unit};
use serde::Serialize;

use super::names::Names;
use super::record::Issued;
use crate::archive::Folder;
use crate::digest::Digest;
use crate::reconcile::DayAccount;
use crate::tlog::VerifyingKey;

/// The format.
pub const SCHEMA: &str = "callvault-certificate/1";

/// What a certificate says.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    pub(super) schema: &'static str,
    pub(super) pbx: Pbx<'a>,
    /// The configured time zone.
    pub(super) timezone: Option<String>,
    #[serde(flatten)]
    pub(super) account: &'a DayAccount,
    /// The moment that all numbers are of.
    pub(super) counted_at: Timestamp,
    /// Entries that the ledger had then: what is archived is told by those below.
    pub(super) ledger_size: u64,
    pub(super) files: Files,
    pub(super) former: Option<Former>,
    /// Name and id of the key that signs.
    pub(super) key: String,
    pub(super) program: Program,
}

#[derive(Debug, Serialize)]
pub(super) struct Pbx<'a> {
    pub(super) id: &'a str,
    pub(super) sn: &'a str,
}

/// The files that are counted: their list, which lies beside.
#[derive(Debug, Serialize)]
pub(super) struct Files {
    /// Files in the list.
    pub(super) count: usize,
    /// The list's path.
    pub(super) list: String,
    /// The SHA-256 of the list.
    pub(super) sha256: Digest,
}

/// The day's certificate before this one.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Former {
    pub(super) revision: i64,
    pub(super) sha256: Digest,
    pub(super) ledger_number: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
}

impl Program {
    pub(super) const OURS: Self = Self { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") };
}

impl Files {
    /// The list of these files of `folder`, one line each as `sha256sum` has them, and what is said of it.
    pub(super) fn list(folder: &Folder, names: Names, text: &str) -> Self {
        Self {
            count: text.lines().count(),
            list: format!("{folder}/{}", names.files()),
            sha256: Digest::of(text),
        }
    }
}

impl From<Issued> for Former {
    fn from(issued: Issued) -> Self {
        Self { revision: issued.revision, sha256: issued.sha256, ledger_number: issued.ledger_number }
    }
}

impl Document<'_> {
    /// Canonical JSON (RFC 8785): members sorted, no blanks. Only text, whole numbers, truth values, lists and objects.
    pub(super) fn to_canonical_json(&self) -> String {
        // A value's members are sorted, a struct's stand as they were written down.
        let value = serde_json::to_value(self).expect("text keys and plain values always serialise");
        serde_json::to_string(&value).expect("a value always serialises")
    }
}

/// A time as certificates have it.
pub(super) fn whole_ms(at: Timestamp) -> Timestamp {
    at.round(Unit::Millisecond).unwrap_or(at)
}

/// What a certificate calls the key that signs it.
pub(super) fn key_name(key: &VerifyingKey) -> String {
    format!("{}+{}", key.name(), key.id())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    /// What sorts the members is that no other part of the program asks for another order.
    #[test]
    fn members_come_out_sorted() {
        let value: Value = serde_json::from_str(r#"{"b":1,"a":{"d":[],"c":"\u0001\u00e9"}}"#).unwrap();
        assert_eq!(value.to_string(), "{\"a\":{\"c\":\"\\u0001\u{e9}\",\"d\":[]},\"b\":1}");
    }
}
