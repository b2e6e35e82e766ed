//! The feed: by the program and over HTTP, with readers that are killed, and what is given to whom.

mod delivering;
mod door;
mod following;
mod given;
mod polling;
mod refusing;
mod scoped;
mod serving;
mod statics;
