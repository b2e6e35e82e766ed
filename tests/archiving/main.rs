//! Scenarios from a PBX to the archive. Each ends with every promise checked.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "the tests of the service need more of a station")]
mod common;

#[path = "../common/closing.rs"]
mod closing;

#[path = "../shim/mod.rs"]
mod shim;

mod absence;
mod access;
mod broken;
mod cdr;
mod certifying;
mod clocks;
mod containers;
mod coverage;
mod evidence;
mod exclusion;
mod exports;
mod faults;
mod files;
mod interrupted;
mod limits;
mod mailboxes;
mod manners;
mod names;
mod old_devices;
mod poison;
mod reconciling;
mod remnants;
mod retention;
mod sealing;
mod sweeping;
mod verification;
mod voicemail;
