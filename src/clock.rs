//! The wall clock, read in one place: everywhere else `now` is an argument.

use jiff::Timestamp;

/// The present time by this machine's clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
