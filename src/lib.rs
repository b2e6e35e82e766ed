//! callvault archives every call recording of a PBX, and can prove it.

pub mod calls;
pub mod catalog;
/// What a download is: WAV judged from its bytes as they pass.
pub mod audio;

/// Call rows out of a CDR export, in bounded memory.
pub mod cdr;

pub mod clock;
pub mod config;
/// Opens SQLite and writes it through one task.
pub mod db;
pub mod digest;
pub mod findings;
pub mod fleet;
pub mod ledger;
pub mod queue;
pub mod recording;

/// What a recording's file is called: readable, injective, never a way out of its directory.
pub mod safe_name;

/// What the PBX's clock on the wall says, and which instant that was.
pub mod times;

/// Which recordings the operator's rules keep out of the archive.
pub mod exclusion;
/// The only code that speaks HTTP to a PBX.
pub mod pbx;
/// A PBX that keeps the rules of the API, and can be told to break each of them.
pub mod simulator;
