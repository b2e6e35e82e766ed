//! Exports: programs of others accept each, damage is found and named by them, and nothing is handed out that the ledger
//! does not tell of.

#[path = "../program/mod.rs"]
#[expect(dead_code, reason = "the other tests of the program use the rest")]
mod program;

#[path = "../anchoring/authority.rs"]
#[expect(dead_code, reason = "the tests of anchoring use the rest")]
mod authority;

mod bag;
mod choosing;
mod damage;
mod handing_out;
mod stamps;
mod verifiers;
