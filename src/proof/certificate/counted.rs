//! What the ledger calls the recordings that a certificate counts. The SQL of that.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use sqlx::{FromRow, SqliteConnection};

use crate::base::digest::Digest;
use crate::base::recording::{RecordingKind, RecordingName, Text, printable};
use crate::base::salt::Salt;
use crate::proof::reconcile::DayAccount;
use crate::store::ledger::commitment;

/// What a certificate names without names, all of one moment.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// The entry of each archived file, by the path of its audio.
    pub(super) files: BTreeMap<String, i64>,
    /// How their audio came, and how many of them.
    pub(super) transports: BTreeMap<String, i64>,
    /// Recordings that are not archived, or that no row names, by their paths.
    recordings: BTreeMap<String, Named>,
    /// The calls that the account tells by their identity.
    calls: BTreeMap<String, CallName>,
}

/// What the ledger calls a recording that has no file.
#[derive(Debug)]
struct Named {
    commitment: Digest,
    /// The entry of its absence.
    gap: Option<i64>,
}

/// What people find a call by.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct CallName {
    pub(super) callid: Option<Text>,
    pub(super) started_at: Option<Timestamp>,
}

#[derive(FromRow)]
struct RecordingRow {
    path: String,
    sn: String,
    name: Vec<u8>,
    salt: Vec<u8>,
    gap_number: Option<i64>,
}

impl Counted {
    /// What is said of `account`, the one of this day of `pbx`. The caller holds a transaction.
    pub(super) async fn read(
        moment: &mut SqliteConnection,
        pbx: &str,
        account: &DayAccount,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            files: files(moment, pbx, account.day).await?,
            transports: transports(moment, pbx, account.day).await?,
            recordings: recordings(moment, pbx, account.day).await?,
            calls: calls(moment, pbx, account).await?,
        })
    }

    /// The entry of a file.
    pub(super) fn entry(&self, path: &str) -> Option<i64> {
        self.files.get(path).copied()
    }

    /// The entries of these files, as ranges.
    pub(super) fn entries_of<'p>(&self, paths: impl Iterator<Item = &'p str>) -> Vec<String> {
        ranges(paths.filter_map(|path| self.entry(path)))
    }

    /// The commitment of a recording that is not archived, or that no row names.
    pub(super) fn commitment(&self, path: &str) -> Option<Digest> {
        self.recordings.get(path).map(|named| named.commitment)
    }

    /// The entry of the absence of a recording.
    pub(super) fn gap(&self, path: &str) -> Option<i64> {
        self.recordings.get(path)?.gap
    }

    /// `account` as a page may show it: calls by what people find them by, not by an unsalted hash of numbers.
    pub(super) fn shown(&self, account: &DayAccount) -> DayAccount {
        let mut shown = account.clone();
        for difference in shown.differences.items.iter_mut().filter(|one| one.kind == "unqueued") {
            let callid = self.call(&difference.subject).callid.and_then(|callid| callid.to_bytes());
            difference.subject = callid.map_or_else(String::new, |callid| printable(&callid));
        }
        shown
    }

    /// What people find a call by that the account tells by its identity.
    pub(super) fn call(&self, identity: &str) -> CallName {
        self.calls.get(identity).cloned().unwrap_or_default()
    }
}

/// Numbers as ranges, in their order: `"38-45"`, `"47"`.
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

async fn files(db: &mut SqliteConnection, pbx: &str, day: Date) -> anyhow::Result<BTreeMap<String, i64>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select file.path, ledger_number from archived_files file join recordings on recordings.id = recording_id
         where pbx = ? and day = ? and kind = 'call'",
    )
    .bind(pbx)
    .bind(day.to_string())
    .fetch_all(db)
    .await
    .context("listing the entries of a day")?;
    Ok(rows.into_iter().collect())
}

/// Entries of version 0.1 do not tell it.
async fn transports(
    db: &mut SqliteConnection,
    pbx: &str,
    day: Date,
) -> anyhow::Result<BTreeMap<String, i64>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select coalesce(json_extract(entry, '$.transport'), 'unknown'), count(*) from archived_files file
         join recordings on recordings.id = recording_id join ledger on number = ledger_number
         where recordings.pbx = ? and recordings.day = ? and recordings.kind = 'call' group by 1",
    )
    .bind(pbx)
    .bind(day.to_string())
    .fetch_all(db)
    .await
    .context("counting how the audio of a day came")?;
    Ok(rows.into_iter().collect())
}

async fn recordings(
    db: &mut SqliteConnection,
    pbx: &str,
    day: Date,
) -> anyhow::Result<BTreeMap<String, Named>> {
    let rows: Vec<RecordingRow> = sqlx::query_as(
        "select path, sn, name, salt, gap_number from recordings
         where pbx = ? and day = ? and kind = 'call' and (state <> 'archived'
             or not exists (select 1 from calls where recording_id = recordings.id))",
    )
    .bind(pbx)
    .bind(day.to_string())
    .fetch_all(db)
    .await
    .context("listing the recordings of a day that have no file")?;
    let named = |row: RecordingRow| {
        let name = RecordingName::new(row.name).context("a recording has no name")?;
        let salt = Salt::try_from(&row.salt[..]).context("a recording has no salt")?;
        let commitment = commitment(&salt, RecordingKind::Call, pbx, &row.sn, &name);
        Ok((row.path, Named { commitment, gap: row.gap_number }))
    };
    rows.into_iter().map(named).collect()
}

async fn calls(
    db: &mut SqliteConnection,
    pbx: &str,
    account: &DayAccount,
) -> anyhow::Result<BTreeMap<String, CallName>> {
    let unqueued = account.differences.items.iter().filter(|difference| difference.kind == "unqueued");
    let identities: Vec<&str> = account
        .unrecorded
        .items
        .iter()
        .map(String::as_str)
        .chain(unqueued.map(|difference| difference.subject.as_str()))
        .collect();
    if identities.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<(String, Option<String>, Option<i64>)> = sqlx::query_as(
        "select lower(hex(identity)) as identity_hex, row -> '$.callid', started_at_ms from calls
         where pbx = ? and day = ? and identity_hex in (select value from json_each(?))",
    )
    .bind(pbx)
    .bind(account.day.to_string())
    .bind(serde_json::to_string(&identities)?)
    .fetch_all(db)
    .await
    .context("looking up calls of a day")?;
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
