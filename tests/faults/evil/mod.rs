//! A PBX that does everything wrong at once, behind a network that does too, by seed. Whatever it says, no page becomes audio,
//! nothing is doubled or taken for another; and when it comes to its senses, all that it still has is archived.
//!
//! `CALLVAULT_FULL=1` takes 1,000 seeds, beginning with `CALLVAULT_SEED`, instead of a few. `CALLVAULT_SEED` alone takes that one.

mod campaign;
mod foreign;
mod network;
mod storm;
