//! Plain values and pure rules: they know nothing but each other.

// Closed sets of words, the same in SQL, JSON and messages.
pub mod words;

// The kinds of finding, each with its alert and its remedy.
pub mod finding;

// What raises an alert.
pub mod alert;

// What failures mean to an operator, and what to do about them.
pub mod remedy;

// Recordings counted by what became of them.
pub mod counts;

// SHA-256 values.
pub mod digest;

// Random bits that hide what is hashed with them.
pub mod salt;

// The wall clock, read in one place.
pub mod clock;

// How long to wait before the next try.
pub mod backoff;

// Work that blocks, on a thread where it holds nobody up.
pub mod blocking;

// A bell: rung when there may be something to do.
pub mod bell;

// When something runs: a cron line in a time zone.
pub mod schedule;

// The hours of a PBX's own week in which it may be asked.
pub mod hours;

// What the PBX's clock on the wall says, and which instant that was.
pub mod times;

// What a recording is called: any bytes at all, never a path.
pub mod recording;

// What a voicemail message is known by: its content, never its place.
pub mod message;

// What a recording's file is called: readable, injective, never a way out of its folder.
pub mod safe_name;

// What the filesystem under a path is like.
pub mod filesystem;

// Users of this machine: who runs callvault, and whose a file is.
pub mod users;
