//! From a PBX to the archive: the queue, single runs, and the service in time.

#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other programs of tests use the rest")]
mod support;

mod archiving;
mod following;
mod queue;
mod toy_family;
