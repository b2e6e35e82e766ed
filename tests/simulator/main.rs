//! The simulator over the wire, spoken to without an HTTP library: what it says, to the byte.

mod connections;
mod faults;
mod rules;
mod wire;
mod world;
