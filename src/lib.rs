//! callvault archives every call recording of a Yeastar S-Series (or compatible) PBX, and can prove it.
//!
//! Every recording that a PBX made is archived and proven, or stands on a list that says why not.
//!
//! ```text
//!  agenda | a PBX's report | a command's request
//!         │ the service, or a backfill
//!         ▼
//!  CDR: PBX API by day | CSV files; voicemail boxes
//!         │ sweep
//!         ▼
//!  calls, messages ──────────► recordings (the queue: state, due_at) ──► forecast
//!                                    │ claim
//!                                    ▼
//!                                  worker ── ticket ──► download ──► judge the audio
//!                                    │                                   │
//!               retry / missing / stuck ◄── classify error               ▼
//!                                    │            temporary → sha256 → fsync → no-replace link → fsync(dir) + sidecar
//!                                    └──── one transaction ◄─────── archived file
//!                                           catalog + queue + ledger entry
//!                                                  │
//!                       seal: SHA256SUMS and calls-<n>.jsonl per day; notary: tiles and a signed checkpoint;
//!                       anchor: time stamps and witnesses of it
//!
//!  the state of everything ──► status | web | alerts; the ledger ──► feed | export
//! ```
//!
//! The floors stand in reading order: a floor uses those above it and none below. `store`, `archive`, `pbx` and
//! `outbound` do not know each other; `pipeline` joins them. `tests/architecture.rs` checks both from the code.

#![warn(clippy::unwrap_used)]

// Plain values and pure rules: they know nothing but each other.
pub mod base;

// What outlives the program: the formats that it reads and writes, without any I/O.
pub mod formats;

// What the operator chose, validated before anything is opened.
pub mod config;

// All SQL: one module for each group of tables.
pub mod store;

// The only code that writes recordings to disk.
pub mod archive;

// The only code that speaks HTTP to a PBX.
pub mod pbx;

// Bounded requests to addresses that the operator gave.
pub mod outbound;

// State directory and archive, opened together.
pub mod vault;

// From what a PBX lists to what is archived.
pub mod pipeline;

// What shows that the archive is complete and unchanged.
pub mod proof;

// The state of everything, and what an operator is told of it.
pub mod watch;

// The listener: health, metrics and the feed.
pub mod http;

// The service: it follows every PBX by itself.
pub mod service;

// A PBX to rehearse and test with: it keeps the API's rules and breaks each of them when told to.
pub mod simulator;

// The commands of the program.
pub mod cli;
