//! The state of everything, and what an operator is told of it.

pub mod status;

pub mod alerts;

pub mod coverage;
