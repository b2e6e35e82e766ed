//! Reconciliation: what the PBX listed of a day against what became of it.
//!
//! ```text
//! rows of the CDR ──► recordings that they name = archived + missing + excluded + pending + stuck
//! ```
//! The two sides are counted apart: what was listed by the calls, what is archived by the catalog's files, the rest by
//! the queue. So they can disagree, and then say so, which a sum over one table could not. Each day is read in one
//! transaction, so that all its numbers are of one moment; nothing here writes.

mod account;
mod reader;
mod report;

pub use account::{Calls, DayAccount, Readings};
pub use reader::account;
pub use report::PbxAccount;

pub use crate::store::day_account::{
    DayFindings, Difference, Filed, Listing, Suspect, Suspects, Unarchived, known_days,
};
