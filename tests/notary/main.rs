//! The published ledger: how it is sealed, and what programs of others say of it.

#[path = "../common/closing.rs"]
mod closing;

mod checkpoints;
mod house;
mod oracles;
mod sealing;
mod verifiers;
