//! From what a PBX lists to what is archived.

// Joins `pbx` to `queue`: reads what a PBX says of its calls.
pub mod sweep;
// Joins `pbx`, `queue` and `archive`: claims, fetches, commits.
pub mod worker;
// One PBX at work: its connection, and what is done over it.
pub mod site;
// A range of days, swept and archived once.
pub mod backfill;
// When a PBX overwrites what is not archived yet.
pub mod forecast;
// Whether a PBX may be asked anything at present.
pub mod gate;
// Which recordings the operator's rules keep out of the archive.
pub mod exclusion;
