//! The built program is killed before each of its calls that make something durable, and each of them fails in every way.
//! Whatever happens, nothing that was acknowledged is lost, and the next run comes to the same end.
//!
//! The calls are those of the whole process, SQLite's among them, counted by a small C library that is loaded before libc.
//!
//! `CALLVAULT_FULL=1` takes every call, of several worlds, instead of some of each work. `CALLVAULT_SEED` chooses other worlds
//! and other calls, and `CALLVAULT_POINT`, as a failure prints it, one point alone.

#[path = "../acknowledged/mod.rs"]
mod acknowledged;

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "scenarios have more tools than single runs need")]
mod common;

#[path = "../program/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the other tests of the program use the rest")]
mod program;

#[path = "../shim/mod.rs"]
#[expect(dead_code, reason = "here the program runs under the library, not a test")]
mod shim;

mod campaign;
mod export;
mod fault;
mod house;
mod point;
mod work;

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
