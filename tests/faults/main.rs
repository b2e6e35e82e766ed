//! Attempts to lose a recording: each module is a campaign, and `scripts/faults` runs it at length.

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other programs of tests use the rest")]
mod support;

mod corpus;
mod crash;
mod damage;
mod durable;
mod evil;
mod lists;
mod model;
mod power;
mod scale;
mod soak;
