//! Sequences that failed once, or that are to be tried whatever chance draws.

use super::campaign::play;
use super::step::Step::{self, *};
use super::step::Trouble::LyingLists;
use crate::support::campaign::runtime;

/// Each with what it was about.
const SEQUENCES: [(&str, &[Step]); 4] = [
    (
        "a database of before is put back after more was archived",
        &[
            Call { internal: false },
            Backfill,
            Snapshot,
            Call { internal: true },
            Backfill,
            Restore { run: true },
        ],
    ),
    (
        "the first row that names a recording lies about its day",
        &[Backfill, Trouble(LyingLists), Call { internal: false }, Backfill],
    ),
    (
        "a rule keeps out what a run that died has fetched",
        &[Call { internal: true }, Kill { requests: 6 }, KeepOut],
    ),
    (
        "the state is lost after a run that died and had archived a part",
        &[Call { internal: false }, Call { internal: false }, Kill { requests: 7 }, Rebuild],
    ),
];

#[test]
fn sequences_that_failed_once_do_not_again() {
    let runtime = runtime();
    for (about, steps) in SEQUENCES {
        println!("{about}");
        play(&runtime, steps);
    }
}
