//! What the ledger calls the recordings that a certificate counts.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::base::digest::Digest;
use crate::base::recording::{RecordingKind, RecordingName, Text, printable};
use crate::base::salt::Salt;
use crate::proof::reconcile::DayAccount;
use crate::store::certificates::{self, WithoutFile};
use crate::store::ledger::commitment;

/// How a certificate refers to recordings and calls without naming people, all of one moment.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// The entry of each archived file, by the path of its audio.
    pub(super) files: BTreeMap<String, i64>,
    /// How their audio was transferred, with the number of files.
    pub(super) transports: BTreeMap<String, i64>,
    /// Recordings that are not archived, or that no row names, by path.
    recordings: BTreeMap<String, Named>,
    /// The calls that the account refers to by their identity.
    calls: BTreeMap<String, CallName>,
}

#[derive(Debug)]
struct Named {
    commitment: Digest,
    /// The ledger entry of its absence.
    gap: Option<i64>,
}

/// What people find a call by.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct CallName {
    pub(super) callid: Option<Text>,
    pub(super) started_at: Option<Timestamp>,
}

impl Counted {
    /// The caller holds a transaction.
    pub(super) async fn read(
        moment: &mut SqliteConnection,
        pbx: &str,
        account: &DayAccount,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            files: certificates::files(moment, pbx, account.day).await?,
            transports: certificates::transports(moment, pbx, account.day).await?,
            recordings: recordings(moment, pbx, account.day).await?,
            calls: calls(moment, pbx, account).await?,
        })
    }

    pub(super) fn entry(&self, path: &str) -> Option<i64> {
        self.files.get(path).copied()
    }

    pub(super) fn entries_of<'p>(&self, paths: impl Iterator<Item = &'p str>) -> Vec<String> {
        ranges(paths.filter_map(|path| self.entry(path)))
    }

    /// Of a recording that is not archived, or that no row names.
    pub(super) fn commitment(&self, path: &str) -> Option<Digest> {
        self.recordings.get(path).map(|named| named.commitment)
    }

    /// The ledger entry of the absence of a recording.
    pub(super) fn gap(&self, path: &str) -> Option<i64> {
        self.recordings.get(path)?.gap
    }

    /// `account` as a page may show it: calls by their id, not by an unsalted hash of phone numbers.
    pub(super) fn shown(&self, account: &DayAccount) -> DayAccount {
        let mut shown = account.clone();
        for difference in shown.differences.items.iter_mut().filter(|one| one.kind == "unqueued") {
            let callid = self.call(&difference.subject).callid.and_then(|callid| callid.to_bytes());
            difference.subject = callid.map_or_else(String::new, |callid| printable(&callid));
        }
        shown
    }

    pub(super) fn call(&self, identity: &str) -> CallName {
        self.calls.get(identity).cloned().unwrap_or_default()
    }
}

/// Numbers as sorted ranges: `"38-45"`, `"47"`.
pub(super) fn ranges(numbers: impl Iterator<Item = i64>) -> Vec<String> {
    let mut numbers: Vec<i64> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    let runs = numbers.chunk_by(|before, after| before + 1 == *after);
    runs.map(|run| match (run.first(), run.last()) {
        (Some(first), Some(last)) if first < last => format!("{first}-{last}"),
        _ => run.first().map_or_else(String::new, i64::to_string),
    })
    .collect()
}

async fn recordings(
    db: &mut SqliteConnection,
    pbx: &str,
    day: Date,
) -> anyhow::Result<BTreeMap<String, Named>> {
    let named = |row: WithoutFile| {
        let name = RecordingName::new(row.name).context("a recording has no name")?;
        let salt = Salt::try_from(&row.salt[..]).context("a recording has no salt")?;
        let commitment = commitment(&salt, RecordingKind::Call, pbx, &row.sn, &name);
        Ok((row.path, Named { commitment, gap: row.gap_number }))
    };
    certificates::without_file(db, pbx, day).await?.into_iter().map(named).collect()
}

async fn calls(
    db: &mut SqliteConnection,
    pbx: &str,
    account: &DayAccount,
) -> anyhow::Result<BTreeMap<String, CallName>> {
    let unqueued = account.differences.items.iter().filter(|difference| difference.kind == "unqueued");
    let unqueued = unqueued.map(|difference| difference.subject.as_str());
    let identities: Vec<&str> = account.unrecorded.items.iter().map(String::as_str).chain(unqueued).collect();
    let rows = certificates::calls_named(db, pbx, account.day, &identities).await?;
    let named = |(identity, callid, started_at_ms): (String, Option<String>, Option<i64>)| {
        let callid = callid.and_then(|json| serde_json::from_str(&json).ok());
        let started_at = started_at_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        (identity, CallName { callid, started_at })
    };
    Ok(rows.into_iter().map(named).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_each_other_are_one_range() {
        let of = |numbers: &[i64]| ranges(numbers.iter().copied()).join(" ");
        assert_eq!(of(&[]), "");
        assert_eq!(of(&[7]), "7");
        assert_eq!(of(&[9, 3, 4, 5, 7, 5, 0]), "0 3-5 7 9");
    }
}
