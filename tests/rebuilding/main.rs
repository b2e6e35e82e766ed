//! The database made anew from archive and ledger alone: equal to the lost one in everything that a user can see.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "scenarios have more tools than rebuilding needs")]
mod common;

#[path = "../common/closing.rs"]
mod closing;

mod compare;
mod damaged;
mod equal;
#[path = "../following/following.rs"]
#[expect(dead_code, reason = "snapshots need little of a service")]
mod following;
mod ledger;
mod million;
mod older;
mod publishing;
mod snapshots;
mod station;
