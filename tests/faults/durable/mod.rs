//! The built program is killed before each of its calls that make something durable, and each of them fails in every way.
//! Whatever happens, nothing that was acknowledged is lost, and the next run comes to the same end.
//!
//! The calls are those of the whole process, SQLite's among them, counted by a small C library that is loaded before libc.
//!
//! `CALLVAULT_FULL=1` takes every call, of several worlds, instead of some of each work. `CALLVAULT_SEED` chooses other worlds
//! and other calls, and `CALLVAULT_POINT`, as a failure prints it, one point alone.

mod campaign;
mod export;
mod fault;
mod house;
mod point;
mod work;
