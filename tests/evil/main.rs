//! A PBX that does everything wrong at once, behind a network that does too, by seed. Whatever it says, no page becomes audio,
//! nothing is doubled or taken for another; and when it comes to its senses, all that it still has is archived.
//!
//! `CALLVAULT_FULL=1` takes 1,000 seeds, beginning with `CALLVAULT_SEED`, instead of a few. `CALLVAULT_SEED` alone takes that one.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "scenarios have more tools than this one needs")]
mod common;

#[path = "../soak/chance.rs"]
#[expect(dead_code, reason = "nothing here waits for a time by chance")]
mod chance;

mod campaign;
mod foreign;
mod network;
mod storm;

/// A number that the environment says.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Whether all is to be done that can be.
fn is_full() -> bool {
    number("CALLVAULT_FULL") == Some(1)
}
