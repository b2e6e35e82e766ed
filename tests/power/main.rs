//! Power cuts: real filesystems on loop devices, cloned at one instant while the built program archives, mounted again and
//! checked. Nothing that was acknowledged may be lost, and the program must go on from whatever is left.
//!
//! A clone holds what was submitted to the disk until then, and nothing else. It does not model a disk that forgets or
//! reorders what it was told to flush.
//!
//! `CALLVAULT_FULL=1` takes 1,200 images on three filesystems instead of a few dozen. `CALLVAULT_SEED` chooses other moments.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "scenarios have more tools than power cuts need")]
mod common;

#[path = "../program/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the other tests of the program use the rest")]
mod program;

#[path = "../acknowledged/mod.rs"]
mod acknowledged;

mod campaign;
mod controls;
mod cutting;
mod device;
mod disk;
mod figures;
mod filesystem;
mod installation;
mod lie;
mod moment;
mod tool;
mod workshop;

/// A number that the environment says.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Whether all is to be done that can be.
fn is_full() -> bool {
    number("CALLVAULT_FULL") == Some(1)
}

/// What all draws depend on.
fn seed() -> u64 {
    number("CALLVAULT_SEED").unwrap_or(1)
}
