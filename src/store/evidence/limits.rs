//! How much a PBX gives in one list at most. No document tells (`docs/pbx-api.md` is silent), and a PBX that cuts its
//! lists does not say so. So a list that is longer than any before is asked for again in halves, once: if they hold
//! nothing more, lists of that length are proven to be whole.

use anyhow::Result;
use jiff::Timestamp;

use super::Limit;
use crate::store::sql::{BindAll as _, Conn, Fetch as _, Run as _};

/// Lists of fewer rows are taken for whole where a second look would cost a tenth of what the list itself costs: no PBX
/// is known that gives fewer.
pub const LIMIT_ROWS_MIN: u64 = 20;
/// A list that is cut at a number of bytes ends with its last whole row: so far below the limit it may still be cut.
const ROW_BYTES: u64 = 1024;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListSize {
    /// Lines, those that could not be read included.
    pub rows: u64,
    /// Bytes, the header included.
    pub bytes: u64,
}

/// What a PBX gives at most, as far as it showed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Lists of up to so much are whole.
    pub proven: ListSize,
    /// Lists seem to be cut at so much.
    pub suspected: Option<ListSize>,
}

impl Limits {
    /// Whether a list may have been cut at what is suspected.
    pub fn may_cut(&self, size: ListSize) -> bool {
        self.suspected.is_some_and(|limit| {
            size.rows >= limit.rows || size.bytes.saturating_add(ROW_BYTES) >= limit.bytes
        })
    }

    /// Whether nothing has shown yet that a list of this size is whole.
    pub fn is_unproven(&self, size: ListSize) -> bool {
        size.rows > self.proven.rows || size.bytes > self.proven.bytes
    }

    /// A list of this size was asked for again in halves, and they held nothing more; or it is a part of more.
    pub fn prove(&mut self, size: ListSize) {
        self.proven.rows = self.proven.rows.max(size.rows);
        self.proven.bytes = self.proven.bytes.max(size.bytes);
        self.lift(size);
    }

    /// The halves of a list of this size held more than it.
    pub fn suspect(&mut self, size: ListSize) {
        let smaller = |limit: ListSize| ListSize {
            rows: limit.rows.min(size.rows),
            bytes: limit.bytes.min(size.bytes),
        };
        self.suspected = Some(self.suspected.map_or(size, smaller));
        self.proven.rows = self.proven.rows.min(size.rows.saturating_sub(1));
        self.proven.bytes = self.proven.bytes.min(size.bytes.saturating_sub(ROW_BYTES));
    }

    /// The PBX has given more than what was suspected: that is no limit.
    pub fn lift(&mut self, size: ListSize) {
        if self.suspected.is_some_and(|limit| size.rows > limit.rows && size.bytes > limit.bytes) {
            self.suspected = None;
        }
    }
}

pub async fn load_limits(db: &mut Conn, pbx: &str) -> Result<Limits> {
    let rows = known_limits(db, pbx).await?;
    let of_unit = |unit: &str| rows.iter().find(|limit| limit.unit == unit);
    let proven = |unit| of_unit(unit).map_or(0, |limit| limit.proven.unsigned_abs());
    let suspected = |unit| of_unit(unit).and_then(|limit| limit.suspected.map(i64::unsigned_abs));
    Ok(Limits {
        proven: ListSize { rows: proven("rows"), bytes: proven("bytes") },
        suspected: suspected("rows").zip(suspected("bytes")).map(|(rows, bytes)| ListSize { rows, bytes }),
    })
}

/// The same as it stands in JSON.
pub(super) async fn known_limits(db: &mut Conn, pbx: &str) -> Result<Vec<Limit>> {
    sqlx::query_as("select unit, proven, suspected from list_limits where pbx = ? order by unit desc")
        .bind(pbx)
        .all(db, "reading the limits of a PBX's lists")
        .await
}

pub async fn store_limits(tx: &mut Conn, pbx: &str, limits: Limits, now: Timestamp) -> Result<()> {
    let Limits { proven, suspected } = limits;
    let units = [
        ("rows", proven.rows, suspected.map(|limit| limit.rows)),
        ("bytes", proven.bytes, suspected.map(|limit| limit.bytes)),
    ];
    for (unit, proven, suspected) in units {
        sqlx::query(
            "insert into list_limits (pbx, unit, proven, suspected, changed_at_ms) values (?, ?, ?, ?, ?)
             on conflict (pbx, unit) do update set
                 proven = excluded.proven, suspected = excluded.suspected, changed_at_ms = excluded.changed_at_ms",
        )
        .bind_all((pbx, unit, proven, suspected))
        .bind_all((now,))
        .run(tx, "keeping the limits of a PBX's lists")
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(rows: u64) -> ListSize {
        ListSize { rows, bytes: rows * 150 }
    }

    #[test]
    fn a_list_is_unproven_until_one_as_long_was_looked_at_twice() {
        let mut limits = Limits::default();
        assert!(limits.is_unproven(size(1)) && !limits.is_unproven(size(0)));
        // One of fewer rows and more bytes may be cut at a number of bytes, and the other way round.
        limits.prove(size(100));
        assert!(limits.is_unproven(ListSize { rows: 90, bytes: 20_000 }));
        assert!(limits.is_unproven(ListSize { rows: 110, bytes: 10_000 }));
        limits.prove(size(300));
        assert!(!limits.is_unproven(size(300)) && limits.is_unproven(size(301)));
        assert!(!limits.may_cut(size(300)), "nothing is suspected");
    }

    #[test]
    fn a_list_whose_halves_held_more_shows_a_limit_until_a_longer_one_comes() {
        let mut limits = Limits::default();
        limits.prove(size(2000));
        limits.suspect(size(1000));
        assert!(limits.may_cut(size(1000)) && !limits.may_cut(size(900)));
        assert!(limits.is_unproven(size(1000)), "what was proven before does not hold any more");
        // A list that is cut at bytes ends with a whole row.
        assert!(limits.may_cut(ListSize { rows: 400, bytes: 150_000 - ROW_BYTES }));
        limits.lift(size(1000));
        assert!(limits.may_cut(size(1000)));
        limits.lift(size(1001));
        assert!(!limits.may_cut(size(1000)));
    }

    #[test]
    fn of_two_limits_the_smaller_holds() {
        let mut limits = Limits::default();
        limits.suspect(size(1000));
        limits.suspect(size(500));
        assert!(limits.may_cut(size(500)));
        limits.suspect(size(2000));
        assert!(limits.may_cut(size(500)));
    }
}
