//! Anchoring: tokens of a time-stamp authority that openssl believes, forged ones, a witness by the words of its
//! specification, and all that can go wrong on the way to them.

mod house;
mod service;
mod stamping;
mod trusting;
mod witness;
mod witnessing;
