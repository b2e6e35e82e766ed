//! Call lists of every kind of PBX, with every kind of fault: either all that the PBX lists is accounted for, or nobody says
//! that it is; and when the fault ends, it is, without anybody's doing.
//!
//! `CALLVAULT_FULL=1` takes 10,000 cases instead of 1,000. `CALLVAULT_SEED` chooses others. A case that fails is made as
//! short as it can be and printed as it is written in `regressions.rs`, where it belongs once it is understood.

mod case;
mod judge;
mod regressions;

use self::judge::play;
use crate::support::campaign;

#[test]
fn what_is_not_proven_to_be_there_is_not_called_complete() {
    campaign::run((1_000, 10_000), 16, case::cases, play);
}
