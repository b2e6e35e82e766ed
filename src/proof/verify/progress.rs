//! The progress of a verification.

use std::sync::Mutex;
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub phase: Phase,
    pub units: u64,
    pub units_total: u64,
    pub bytes: u64,
    pub bytes_total: u64,
    pub damaged: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    #[default]
    Looking,
    Ledger,
    Reading,
}

#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<Snapshot>);

impl Progress {
    pub(super) fn snapshot(&self) -> Snapshot {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins a phase in which there is so much to do.
    pub(super) fn begin(&self, phase: Phase, units_total: u64, bytes_total: u64) {
        self.change(|now| {
            *now = Snapshot { phase, units_total, bytes_total, damaged: now.damaged, ..Snapshot::default() };
        });
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
