//! Anchoring: tokens of a real time-stamp authority (`openssl ts`), a witness by the words of its specification, and all
//! that can go wrong on the way to either.

mod authority;
mod house;
mod service;
mod stamping;
mod witness;
mod witnessing;
