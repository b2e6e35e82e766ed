//! Clocks that make a list doubtful: one that was set by a day or more files calls under days that were read already, and
//! settles days before they are over.
//!
//! A steady distance hides nothing, and what a clock was set by less than a day is read with the days beside, which are
//! open still.

use jiff::{SignedDuration, Timestamp};

use super::Sweeper;
use super::closing::SETTLES_AFTER;
use crate::store::clocks::{self, OwnDoubt, PbxClock};

/// A clock that was set by less moves no call out of the days that are read again anyway.
const MOVED_BY: SignedDuration = SignedDuration::from_hours(24);

impl Sweeper<'_> {
    /// Why the lists that are read now are doubtful, as the end of a sentence; `None` if no clock makes them so. It is asked
    /// once in a sweep.
    pub(super) async fn clock_doubt(&self) -> anyhow::Result<Option<String>> {
        let doubt = self.clock_doubt.get_or_try_init(|| async {
            let now = self.clock.now();
            let mut db = self.db.read().await?;
            let of_pbx = clocks::of(&mut db, &self.pbx.id).await?;
            let own = clocks::own_doubt(&mut db, now).await?;
            Ok::<_, anyhow::Error>(doubt(own, of_pbx, now))
        });
        doubt.await.cloned()
    }
}

fn doubt(own: Option<OwnDoubt>, of_pbx: Option<PbxClock>, now: Timestamp) -> Option<String> {
    let skew = of_pbx.map_or(SignedDuration::ZERO, |clock| SignedDuration::from_secs(clock.skew_s).abs());
    let is_far = match own {
        Some(OwnDoubt::BeforeRelease) => true,
        Some(OwnDoubt::SetBack { latest }) => latest.duration_since(now) >= MOVED_BY,
        Some(OwnDoubt::Unsynchronised) => skew >= MOVED_BY,
        None => false,
    };
    if is_far {
        return Some("this machine's clock was wrong while it was read".to_owned());
    }
    let jump = of_pbx.and_then(|clock| clock.jump)?;
    let moved = SignedDuration::from_secs(jump.jump_s).abs() >= MOVED_BY;
    let is_recent = now.duration_since(jump.before).abs() < SETTLES_AFTER;
    (moved && is_recent).then(|| format!("the PBX's clock was set while it was read: {jump}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::clocks::Jump;

    #[test]
    fn only_what_moves_calls_to_other_days_is_a_doubt() {
        let now: Timestamp = "2026-12-01T12:00:00Z".parse().unwrap();
        let hours = |hours: i64| SignedDuration::from_hours(hours);
        let clock = |skew_h: i64, jump: Option<(i64, i64)>| {
            let jump = jump.map(|(ago_h, by_h)| Jump {
                after: now - hours(ago_h + 1),
                before: now - hours(ago_h),
                jump_s: by_h * 3600,
            });
            Some(PbxClock { measured_at: now, skew_s: skew_h * 3600, jump })
        };
        let set_back = |by_h: i64| Some(OwnDoubt::SetBack { latest: now + hours(by_h) });
        let table = [
            (None, None, false),
            (None, clock(300, None), false),
            (None, clock(0, Some((1, 14))), false),
            (None, clock(0, Some((1, 48))), true),
            (None, clock(0, Some((1, -48))), true),
            (None, clock(0, Some((13, 48))), false),
            (Some(OwnDoubt::BeforeRelease), None, true),
            (set_back(14), None, false),
            (set_back(24), None, true),
            (Some(OwnDoubt::Unsynchronised), clock(14, None), false),
            (Some(OwnDoubt::Unsynchronised), clock(-30, None), true),
        ];
        for (own, of_pbx, expected) in table {
            assert_eq!(doubt(own, of_pbx, now).is_some(), expected, "{own:?} {of_pbx:?}");
        }
    }
}
