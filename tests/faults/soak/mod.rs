//! The service for an hour with everything on, among PBXs that live and misbehave: is anything lost, does anything grow?
//!
//! Two installations of five simulated PBXs each, the service as the built program. One is killed with `kill -9` again
//! and again, the other lives through the whole hour, for what leaks is forgotten by whoever is killed.
//!
//! `CALLVAULT_FULL=1` takes an hour and a kill every minute (meant for `--release`); else twelve seconds and a kill every
//! four. `CALLVAULT_SOAK_S` sets another length, `CALLVAULT_SEED` draws other calls and faults.

mod device;
mod ending;
mod far_sides;
mod feed_reader;
mod gauge;
mod house;
mod judgement;
mod keeper;
mod length;
mod life;
mod mail;
mod operator;
mod places;
mod planting;
mod privacy;
mod secrets;

mod stop;
mod whole;

use self::length::Length;

#[test]
fn with_everything_on_nothing_is_lost_and_nothing_grows() {
    whole::run(Length::chosen());
}
