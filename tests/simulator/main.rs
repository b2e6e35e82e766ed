//! The simulator over the wire, spoken to without an HTTP library: what it says, to the byte.

mod connections;
mod cost;
mod endless;
mod faults;
mod living;
mod outage;
mod push;
mod retention;
mod rules;
mod wire;
mod world;
