//! Scenarios from a PBX to the archive. Each ends with every promise checked.

#[path = "../common/mod.rs"]
mod common;

mod absence;
mod cdr;
mod faults;
mod files;
mod names;
