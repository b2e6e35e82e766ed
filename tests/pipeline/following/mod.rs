//! The service in time: weeks pass in seconds, by a clock that is handed in, against a PBX on which calls are made.

mod month;
mod outage;
mod poison;
mod push;
mod standstill;
