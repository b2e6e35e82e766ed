//! When the power is cut.

use std::time::Duration;

/// Reproducible numbers (`SplitMix64`, <https://prng.di.unimi.it/splitmix64.c>).
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// Numbers of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// How long a run lasts that asks nobody, divided by the cuts that it gets.
const AT_ONCE_MICROS: u64 = 30_000;

/// A moment in a run: after so many of its requests, and then a little later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    pub(crate) requests: u64,
    pub(crate) later: Later,
}

/// How much later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Later {
    /// So long.
    After(Duration),
    /// When the next recording is acknowledged, at once.
    Acknowledged,
}

impl Moment {
    /// `count` moments of a run that makes about `requests` requests, in their order. The last ones lie at its end, when all is
    /// fetched and the rest is written.
    pub(crate) fn draw(count: usize, requests: u64, chance: &mut Chance) -> Vec<Self> {
        let mut moments: Vec<Self> = (0..count).map(|_| Self::draw_one(requests, chance)).collect();
        moments.sort();
        moments
    }

    /// `count` moments of a run that makes none, all counted from its start.
    pub(crate) fn draw_at_once(count: usize, chance: &mut Chance) -> Vec<Self> {
        let later = |chance: &mut Chance| Later::After(Duration::from_micros(chance.below(AT_ONCE_MICROS)));
        (0..count).map(|_| Self { requests: 0, later: later(chance) }).collect()
    }

    fn draw_one(requests: u64, chance: &mut Chance) -> Self {
        let micros = |micros| Later::After(Duration::from_micros(micros));
        let later = match chance.below(6) {
            0 => return Self { requests, later: micros(chance.below(150_000)) },
            1 => micros(chance.below(30_000)),
            2 | 3 => micros(chance.below(2_000)),
            _ => Later::Acknowledged,
        };
        Self { requests: chance.below(requests + 1), later }
    }
}
