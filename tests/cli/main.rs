//! The program as a contract: what each command does, says and exits with.

#[path = "../support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "other programs of tests use the rest")]
mod support;

mod arguments;
mod backfill;
mod backup;
mod check;
mod config;
mod demo;
mod disk;
mod environment;
mod help;
mod hostile;
mod ledger;
mod modes;
mod password;
mod pipe;
mod planted;
mod reconcile;
mod signals;
mod simulate;
mod status;
mod surface;
mod users;
mod verify;
mod voicemail;
mod way;
