//! `[queue]`: which recording is next, and how failures are repeated.

use std::time::Duration;

use super::section::{Section, settings, wrong};
use crate::base::words::words;

const YEAR_S: f64 = 365.0 * 86_400.0;

settings! {
    /// Which recording is next, and how failures are repeated.
    #[derive(Debug, Clone)]
    pub struct QueueConfig from section("queue") {
        /// Which due recording is served first.
        pub order: QueueOrder = section.word("order").unwrap_or(QueueOrder::OldestFirst),
        /// Most downloads at one time over all PBXs.
        pub concurrency_total: usize = section.count("concurrency_total", 128, 1..=256),
        /// The longest first wait after a failure; doubles with each further one.
        pub retry_base: Duration = section.seconds("retry_base_s", 2.0, 0.001..=86_400.0),
        /// The longest wait between two attempts.
        pub retry_max: Duration = section.seconds("retry_max_s", 3600.0, 0.001..=YEAR_S),
        /// Failures of one reason in a row after which a recording is stuck.
        pub attempts_max: u32 = section.count("attempts_max", 12, 1..=1000),
        /// For how long a PBX must say that it lacks a recording before that is final.
        pub missing_final_after: Duration = section.days("missing_final_after_days", 3.0, 0.000_001..=365.0),
    }
}

words! {
    /// Which due recording is served first.
    pub enum QueueOrder as "order" {
        /// The oldest, which the PBX overwrites first.
        OldestFirst = "oldest_first",
        NewestFirst = "newest_first",
    }
}

pub(super) fn read(section: &Section<'_>) -> QueueConfig {
    let queue = QueueConfig::read(section);
    if queue.retry_max < queue.retry_base {
        let message = format!("is less than retry_base_s, {}", queue.retry_base.as_secs_f64());
        section.reject("retry_max_s", wrong(message, "make it the longer of the two"));
    }
    queue
}
