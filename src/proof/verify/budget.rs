//! How long a verification may read.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

#[derive(Debug)]
pub(super) struct Budget {
    stop: CancellationToken,
    deadline: Option<Instant>,
}

impl Budget {
    pub(super) fn new(stop: CancellationToken, time_limit: Option<Duration>) -> Self {
        // A limit beyond what the clock can tell is none.
        Self { stop, deadline: time_limit.and_then(|limit| Instant::now().checked_add(limit)) }
    }

    /// Whether nothing more is to be begun.
    pub(super) fn is_over(&self) -> bool {
        self.is_stopped() || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Whether somebody has asked for the end. What was begun is then not read to its end; for a deadline it is, or a large
    /// file would never be.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_ends_what_is_not_begun_and_a_stop_everything() {
        let stop = CancellationToken::new();
        let budget = Budget::new(stop.clone(), Some(Duration::ZERO));
        assert!(budget.is_over() && !budget.is_stopped());
        stop.cancel();
        assert!(budget.is_stopped());
        assert!(!Budget::new(CancellationToken::new(), Some(Duration::MAX)).is_over());
    }
}
