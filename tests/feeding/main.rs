//! The feed: by the program and over HTTP, with readers that are killed, and what is given to whom.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "other scenarios use the rest")]
mod common;
mod delivering;
mod door;
mod following;
mod given;
mod ledger;
mod polling;
#[path = "../program/mod.rs"]
#[expect(dead_code, reason = "the other tests of the program use the rest")]
mod program;
mod receiver;
mod refusing;
mod scoped;
mod serving;
mod statics;
