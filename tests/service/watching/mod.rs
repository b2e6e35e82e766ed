//! Watching: the state, the metrics and the alerts, with real far sides on real sockets.

mod alerts;
mod far_sides;
mod fixture;
mod listener;
mod openmetrics;
mod status;
mod web;
