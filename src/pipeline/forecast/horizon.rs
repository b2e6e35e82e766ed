//! The age beyond which a PBX has no recordings any more, from what it delivered and what it did not have. Pure.

use crate::store::device_retention::Evidence;

/// So many on either side must have been asked for: one that somebody deleted says nothing.
const COUNT_MIN: i64 = 5;
/// Of so many that are older than the horizon, one may have been delivered all the same.
const ODD_ONE_IN: i64 = 10;

/// What lies on either side of an age.
#[derive(Debug, Clone, Copy, Default)]
struct Sides {
    younger: Evidence,
    older: Evidence,
}

/// The learnt horizon in days, from evidence in order of age; `None` while nothing shows one.
///
/// It lies halfway between the oldest that was delivered and the youngest that was gone: next to each other where every
/// day was asked for, and an honest guess where days between were not.
pub(super) fn learnt_days(evidence: &[Evidence]) -> Option<f64> {
    let cut = (0..evidence.len())
        .filter(|at| evidence[*at].missing > 0 && is_horizon(sides(evidence, *at)))
        .min_by_key(|at| errors(sides(evidence, *at)))?;
    let oldest_delivered = evidence[..cut].iter().rev().find(|age| age.delivered > 0)?;
    Some((oldest_delivered.age_days + 1 + evidence[cut].age_days) as f64 / 2.0)
}

fn sides(evidence: &[Evidence], cut: usize) -> Sides {
    let (younger, older) = evidence.split_at(cut);
    Sides { younger: sum(younger), older: sum(older) }
}

fn sum(evidence: &[Evidence]) -> Evidence {
    evidence.iter().fold(Evidence::default(), |sum, age| Evidence {
        age_days: age.age_days,
        delivered: sum.delivered + age.delivered,
        missing: sum.missing + age.missing,
    })
}

/// Whether what is younger is mostly there, and what is older is gone.
fn is_horizon(sides: Sides) -> bool {
    let Sides { younger, older } = sides;
    older.missing >= COUNT_MIN
        && younger.delivered >= COUNT_MIN
        && older.delivered * ODD_ONE_IN <= older.missing
        && younger.missing <= younger.delivered
}

/// Recordings that a horizon here does not explain.
fn errors(sides: Sides) -> i64 {
    sides.younger.missing + sides.older.delivered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_horizon_is_where_delivery_ends_and_absence_begins() {
        // (age in days, delivered, missing) … and the horizon.
        type Table = [(&'static [(i64, i64, i64)], Option<f64>)];
        let table: &Table = &[
            (&[], None),
            (&[(0, 100, 0), (30, 50, 0)], None),
            (&[(0, 0, 40)], None),
            (&[(0, 100, 0), (29, 10, 0), (30, 0, 10), (31, 0, 10)], Some(30.0)),
            // Nobody knows what was between.
            (&[(0, 100, 0), (9, 10, 0), (30, 0, 10)], Some(20.0)),
            // Deleted by hand: too few, or in the midst.
            (&[(0, 100, 0), (30, 0, 4)], None),
            (&[(0, 100, 0), (10, 3, 30), (20, 50, 0)], None),
            // The store was offline for a day.
            (&[(0, 20, 20), (1, 50, 0), (90, 10, 0)], None),
            (&[(0, 90, 30), (29, 40, 2), (30, 0, 60)], Some(30.0)),
            // One with a wrong date was delivered.
            (&[(0, 100, 0), (29, 10, 0), (30, 0, 20), (200, 1, 0)], Some(30.0)),
            // Nothing is delivered at all: that says nothing of age.
            (&[(0, 1, 30), (100, 0, 30)], None),
        ];
        for (ages, expected) in table {
            let evidence: Vec<Evidence> = ages
                .iter()
                .map(|(age_days, delivered, missing)| Evidence {
                    age_days: *age_days,
                    delivered: *delivered,
                    missing: *missing,
                })
                .collect();
            assert_eq!(learnt_days(&evidence), *expected, "{ages:?}");
        }
    }
}
