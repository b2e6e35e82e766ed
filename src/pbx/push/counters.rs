//! How many reports came, and what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Reports that were heard: a call, a start of the PBX, or something else that concerns nobody here.
    pub accepted: u64,
    /// Messages from a PBX's address that name no event, or are no HTTP.
    pub malformed: u64,
    /// Connections from an address that is no PBX's.
    pub stranger: u64,
    /// Messages whose head or body is too large; they are not read to their end.
    pub too_large: u64,
    /// Connections beyond what one address, or all together, may have at a time or in a second.
    pub flood: u64,
    /// Messages that did not end in time.
    pub too_slow: u64,
}

/// Counts what becomes of reports. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<[AtomicU64; 6]>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pbx) enum Fate {
    Accepted,
    Malformed,
    Stranger,
    TooLarge,
    Flood,
    TooSlow,
}

impl Tally {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn counters(&self) -> Counters {
        let count = |fate: Fate| self.0[fate as usize].load(Ordering::Relaxed);
        Counters {
            accepted: count(Fate::Accepted),
            malformed: count(Fate::Malformed),
            stranger: count(Fate::Stranger),
            too_large: count(Fate::TooLarge),
            flood: count(Fate::Flood),
            too_slow: count(Fate::TooSlow),
        }
    }

    pub(in crate::pbx) fn count(&self, fate: Fate) {
        self.0[fate as usize].fetch_add(1, Ordering::Relaxed);
    }
}
