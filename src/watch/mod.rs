//! The state of everything, and what an operator is told of it.

/// The state of everything at one moment: what is owed, at risk and wrong.
pub mod status;

/// Tells the operator what is wrong, and when it is over.
pub mod alerts;

/// What no list can show: calls that were not recorded where they should be, and days without any.
pub mod coverage;
