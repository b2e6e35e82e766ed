//! Fifty PBXs under one service: some that fail touch none that are well, and what an operator gets wrong, or takes
//! away, is told and survived.

#[path = "../program/mod.rs"]
#[expect(dead_code, reason = "the other tests of the program use the rest")]
mod program;

mod archive;
mod failing;
mod fifty;
