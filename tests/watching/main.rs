//! Watching: the state, the metrics and the alerts, with real far sides on real sockets.

mod alerts;
#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "other scenarios use the rest")]
mod common;
mod far_sides;
mod fixture;
mod listener;
mod openmetrics;
#[path = "../program/pem.rs"]
mod pem;
mod status;
mod web;
