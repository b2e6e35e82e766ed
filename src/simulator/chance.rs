//! Chance that repeats: every draw is a function of the seed and of what is drawn for.

/// Mixes a seed with two numbers into one that looks random (splitmix64's finalizer).
pub(super) fn mix(seed: u64, what: u64, index: u64) -> u64 {
    let mut bits = seed
        .wrapping_add(what.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_add(index.wrapping_mul(0xbf58_476d_1ce4_e5b9))
        .wrapping_add(0x94d0_49bb_1331_11eb);
    for _ in 0..2 {
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
    }
    bits
}

/// A number for a text, so that draws can be named (FNV-1a).
pub(super) fn number_of(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// 32 hex digits that look random: the form of tokens and tickets.
pub(super) fn hex32(seed: u64, what: &str, index: u64) -> String {
    let what = number_of(what.as_bytes());
    format!("{:016x}{:016x}", mix(seed, what, index), mix(!seed, what, index))
}

/// The draws of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Luck {
    seed: u64,
    request: u64,
}

impl Luck {
    /// The luck of the `request`th request under `seed`.
    pub(super) fn new(seed: u64, request: u64) -> Self {
        Self { seed, request }
    }

    /// A number for `what`, the same whenever it is asked.
    pub(super) fn draw(self, what: &str) -> u64 {
        mix(self.seed, number_of(what.as_bytes()), self.request)
    }

    /// Whether `what` happens, given its probability from 0 to 1.
    pub(super) fn hits(self, what: &str, probability: f64) -> bool {
        if probability <= 0.0 {
            return false;
        }
        // 53 bits fit an f64 exactly.
        let drawn = (self.draw(what) >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < probability
    }

    /// A number in `low..high`; `low` if the range is empty.
    pub(super) fn between(self, what: &str, low: u64, high: u64) -> u64 {
        low + self.draw(what) % high.saturating_sub(low).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_happens_about_as_often_as_told_and_repeats() {
        let hits = |seed| (0..10_000).filter(|n| Luck::new(seed, *n).hits("reset", 0.03)).count();
        assert!((200..400).contains(&hits(1)), "{}", hits(1));
        assert_eq!(hits(7), hits(7));
        assert!(Luck::new(1, 1).hits("always", 1.0));
        assert!(!Luck::new(1, 1).hits("never", 0.0));
    }
}
