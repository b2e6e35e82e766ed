//! callvault archives every call recording of a PBX, and can prove it.

pub mod clock;
pub mod config;
pub mod digest;
pub mod recording;
