//! Reproducible numbers (`SplitMix64`, <https://prng.di.unimi.it/splitmix64.c>).

use std::time::Duration;

/// A row of numbers that depends on its seed alone.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// The next number, below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// A time around `mean`: from nothing to twice as much.
    pub(crate) fn around(&mut self, mean: Duration) -> Duration {
        let most = u64::try_from(mean.as_micros()).unwrap() * 2;
        Duration::from_micros(self.below(most + 1))
    }
}
