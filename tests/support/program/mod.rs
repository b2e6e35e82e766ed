//! The built binary as its users meet it: a folder to work in, a PBX to talk to, and what it said.

pub(crate) mod folder;
mod pbx;
mod said;

use std::time::{Duration, Instant};

pub(crate) use self::folder::Folder;
pub(crate) use self::pbx::Pbx;
pub(crate) use self::said::Said;

/// What the simulated PBX and the configuration agree on. No output may ever hold it.
pub(crate) const PASSWORD: &str = "Correct-Horse-9";

/// Nothing that a test waits for takes longer, also on a slow machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

/// Waits until something holds; panics where it never does.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
