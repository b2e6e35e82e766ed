//! The published ledger: how it is sealed, and what programs of others say of it.

mod checkpoints;
mod house;
mod oracles;
mod sealing;
mod verifiers;
