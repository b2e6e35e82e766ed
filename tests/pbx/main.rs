//! What is said to a PBX and what it says, over each kind of connection.

#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other programs of tests use the rest")]
mod support;

mod listening;
mod protocol;
mod push;
mod tls;
