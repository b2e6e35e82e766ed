//! Exports: programs of others accept each, damage is found and named by them, and nothing is handed out that the ledger
//! does not tell of.

mod bag;
mod choosing;
mod damage;
mod handing_out;
mod stamps;
mod verifiers;
