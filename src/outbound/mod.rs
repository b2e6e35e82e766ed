//! Bounded requests to addresses that the operator gave.

/// Carries bytes to addresses that the operator gave, and bounded replies back.
pub mod courier;
