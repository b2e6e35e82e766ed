//! The commands: each loads what it needs, does its work through the library, and speaks to the operator.

pub mod accept;
pub mod backfill;
pub mod backup;
pub mod config_check;
pub mod demo;
pub mod exit;
pub mod export;
pub mod feed;
pub mod handover;
pub mod ledger;
mod outcome;
pub mod output;
pub mod pause;
pub mod progress;
pub mod rebuild;
pub mod reconcile;
mod reconcile_page;
pub mod retry;
pub mod run;
pub mod signals;
pub mod simulate;
pub mod status;
pub mod status_page;
pub mod summary;
pub mod trust;
pub mod verify;
pub mod voicemail;
