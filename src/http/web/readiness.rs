//! Whether the service does its work, and why not.

use std::sync::{Arc, Mutex, PoisonError};

/// Whether the service does its work. Clones share the answer: the service sets it, the web server tells it.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<Option<String>>>);

impl Readiness {
    /// Not ready yet, and why.
    pub fn not_yet(reason: &str) -> Self {
        Self(Arc::new(Mutex::new(Some(reason.to_owned()))))
    }

    /// It works from now on.
    pub fn set_ready(&self) {
        self.set(None);
    }

    /// It does not work any more, or not for now.
    pub fn set_not_ready(&self, reason: &str) {
        self.set(Some(reason.to_owned()));
    }

    /// Why it does not work; none if it does.
    pub fn reason(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, reason: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}
