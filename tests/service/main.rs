//! The long-running service: its supervisor, many PBXs, the feed, the metrics and the alerts.

#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other programs of tests use the rest")]
mod support;

mod feeding;
mod fleet;
mod supervised;
mod watching;
