//! The service in time: weeks pass in seconds, by a clock that is handed in, against a PBX on which calls are made.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "scenarios have more tools than following needs")]
mod common;

mod following;
mod month;
mod outage;
mod poison;
mod push;
mod standstill;
