//! `callvault run` as systemd meets it: what it tells its supervisor, and what it does when it is told something.

mod chronicle;
mod handing_over;
mod reloading;
mod starting;
mod stopping;
mod units;
mod watchdog;

use callvault::simulator::SimulatorOptions;

use crate::support::program::Pbx;

/// Recordings that some run has claimed.
const CLAIMS: &str = "select count(*) from recordings where run_id is not null";

/// Recordings of calls in the archive.
const ARCHIVED: &str = "select count(*) from recordings where kind = 'call' and state = 'archived'";

/// A PBX with another serial number and other recordings than the usual one.
fn other_pbx(recordings: u64) -> Pbx {
    Pbx::start(SimulatorOptions {
        seed: 2,
        serial_number: "369223400002".to_owned(),
        ..Pbx::options(recordings)
    })
}
