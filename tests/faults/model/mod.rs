//! Sequences of whatever can happen, beside a small model of what must come of it: calls are made, recordings are overwritten,
//! come back or change, the PBX misbehaves or is gone, the operator gives commands, changes rules and passwords, loses the
//! database or restores an older one, the disk is full, the clock is set, the process dies.
//!
//! `CALLVAULT_FULL=1` takes 10,000 sequences instead of 1,000. `CALLVAULT_SEED` chooses others. A sequence that fails is
//! shrunk and printed as it is written in `regressions.rs`, where it belongs once it is understood.

mod campaign;
mod expected;
mod house;

mod regressions;
mod step;
