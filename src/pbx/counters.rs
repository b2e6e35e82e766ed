//! What was asked of a PBX since this client began, for whoever watches.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::pbx::error::Reason;

#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: AtomicU64,
    tickets: AtomicU64,
    bytes: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    pub requests: u64,
    pub tickets: u64,
    /// Bytes of recordings received, those of failed downloads too.
    pub bytes: u64,
    /// Failures by their class.
    pub errors: BTreeMap<String, u64>,
}

impl Counters {
    pub(super) fn note_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(super) fn note_ticket(&self) {
        self.tickets.fetch_add(1, Relaxed);
    }

    pub(super) fn note_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn note_error(&self, reason: Reason) {
        // A panic elsewhere leaves a number at most one too low.
        let mut errors = self.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *errors.entry(reason.to_string()).or_default() += 1;
    }

    pub(super) fn read(&self) -> Counted {
        let errors = self.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Counted {
            requests: self.requests.load(Relaxed),
            tickets: self.tickets.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            errors: errors.clone(),
        }
    }
}
