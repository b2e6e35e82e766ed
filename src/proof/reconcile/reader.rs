//! Reads the account of a day.

use jiff::{Timestamp, civil::Date};
use sqlx::SqliteConnection;

use super::account::{Calls, DayAccount, Readings};
use crate::archive::Folder;
use crate::store::calls;
use crate::store::day_account::{self, DayFindings, Difference, Listing, OfDay, Recordings, Suspects};
use crate::store::evidence;
use crate::store::findings;

/// Findings listed for each day, also where nothing else is listed.
const FINDINGS_LISTED_MIN: i64 = 20;

/// Reads the account of one day of `pbx`; each of its lists has at most `listed_max` items.
///
/// The caller holds a transaction, so that all its numbers are of one moment.
pub async fn account(
    moment: &mut SqliteConnection,
    pbx: &str,
    day: Date,
    listed_max: i64,
) -> anyhow::Result<DayAccount> {
    let of = OfDay { pbx, day: day.to_string(), listed_max };
    let row = calls::day_row(moment, pbx, day).await?;
    let recordings = day_account::recordings(moment, &of).await?;
    let rows = day_account::rows(moment, &of).await?;
    let files = day_account::files(moment, &of).await?;
    let mut account = DayAccount {
        day,
        settled_at: row.settled_at_ms.map(Timestamp::from),
        revision: row.revision,
        readings: Readings {
            whole: row.readings,
            first_at: row.first_read_at_ms.map(Timestamp::from),
            last_at: Some(row.last_read_at_ms.0).filter(|at| *at > Timestamp::UNIX_EPOCH),
        },
        utc_offsets_s: day_account::utc_offsets_s(moment, &of).await?,
        counts: recordings.counts,
        listed: recordings.listed + rows.unqueued,
        sums: false,
        complete: false,
        differences: differences(moment, &of, &recordings, rows.unqueued).await?,
        bytes: files.bytes,
        calls: Calls {
            rows: rows.rows,
            answered: rows.answered,
            counted_elsewhere: day_account::counted_elsewhere(moment, &of).await?,
            vanished: rows.vanished,
        },
        unrecorded: day_account::unrecorded(moment, &of, rows.unrecorded).await?,
        unarchived: day_account::unarchived(moment, &of, recordings.unarchived).await?,
        unnamed: day_account::unnamed(moment, &of, recordings.unnamed).await?,
        vanished: day_account::vanished(moment, &of, rows.vanished).await?,
        suspect: match files.suspect {
            0 => Suspects::default(),
            _ => day_account::suspect(moment, &of).await?,
        },
        conflicts: day_account::conflicts(moment, &of, files.conflicts).await?,
        findings: findings_of(moment, &of, day).await?,
        evidence: evidence::evidence_of(moment, pbx, day).await?,
        voicemail: recordings.voicemail,
    };
    account.judge();
    Ok(account)
}

async fn differences(
    db: &mut SqliteConnection,
    of: &OfDay<'_>,
    recordings: &Recordings,
    unqueued: i64,
) -> anyhow::Result<Listing<Difference>> {
    let count = recordings.archived_without_file + recordings.file_without_archived + unqueued;
    let items = if count > 0 { day_account::differences(db, of).await? } else { Vec::new() };
    Ok(Listing { count, items })
}

async fn findings_of(db: &mut SqliteConnection, of: &OfDay<'_>, day: Date) -> anyhow::Result<DayFindings> {
    let of_day = findings::OfDay::new(of.pbx, day, Folder::day(of.pbx, day)?.as_str());
    let by = of_day.counts(db).await?;
    if by.is_empty() {
        return Ok(DayFindings::default());
    }
    let list = Listing {
        count: by.values().sum(),
        items: of_day.first(db, of.listed_max.max(FINDINGS_LISTED_MIN)).await?,
    };
    Ok(DayFindings { by, list })
}
