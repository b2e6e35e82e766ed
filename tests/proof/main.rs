//! The ledger and all that is made of it: seals, anchors, exports, and the database made anew.

#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other programs of tests use the rest")]
mod support;

mod anchoring;
mod exporting;
mod notary;
mod rebuilding;
mod toy_store;
mod upgrade;
