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
//! The modules stand in the order in which data meets them. `pbx`, `queue` and `archive` never see each other: `sweep`
//! joins `pbx` to `queue`, `worker` joins all three. One owner per outside thing: the PBX's HTTP is `pbx`, other
//! outgoing HTTP is `courier`'s and mail is `alerts`', writing files is `archive`, SQL is in the store modules (`db`, `fleet`, `calls`,
//! `queue`, `voicemail`, `catalog`, `ledger`, `retention`, `findings`, `outbox`, `owner`, `agenda`, `seal`, `anchor`).

#![warn(clippy::unwrap_used)]

// What everything is made of.

/// What the operator chose, validated before anything is opened.
pub mod config;

/// SHA-256 values.
pub mod digest;

/// Random bits that hide what is hashed with them.
pub mod salt;

/// The formats in which the ledger is published: tree, tiles, signed notes, proofs.
pub mod tlog;

/// Lines that can be erased one by one, and the root that they come to.
pub mod salted;

/// What a recording is called: any bytes at all, never a path.
pub mod recording;

/// What a voicemail message is known by: its content, never its place.
pub mod message;

/// The wall clock, read in one place.
pub mod clock;

/// Users of this machine: who runs callvault, and whose a file is.
pub mod users;

/// A bell: rung when there may be something to do.
pub mod bell;

/// When something runs: a cron line in a time zone.
pub mod schedule;

/// What a download is: audio or not, and all of it or not, judged from its bytes as they pass.
pub mod audio;

// Hearing of recordings.

/// Call rows out of a CDR export, in bounded memory.
pub mod cdr;

/// What the PBX's clock on the wall says, and which instant that was.
pub mod times;

/// What a recording's file is called: readable, injective, never a way out of its folder.
pub mod safe_name;

/// The hours of a PBX's own week in which it may be asked.
pub mod hours;

/// Which recordings the operator's rules keep out of the archive.
pub mod exclusion;

/// A CDR row as it is kept for good: without loss, without secrets.
pub mod raw_row;

/// Small pieces of HTML.
pub mod html;

/// The only code that speaks HTTP to a PBX.
pub mod pbx;

/// Reports of a PBX, which wake a sweep early.
pub mod push;

// Remembering.

/// The database: one task writes it, others read beside it.
pub mod db;

/// What is remembered of each PBX.
pub mod fleet;

/// What is known of the PBXs' clocks, and of ours.
pub mod clocks;

/// Calls and days: every row that a PBX told.
pub mod calls;

/// How much each PBX may add to the database in a day.
pub mod intake;

/// The queue: one row per recording, claimed by one run at a time.
pub mod queue;

/// Voicemail messages, and what their boxes looked like.
pub mod voicemail;

/// The ledger: an append-only list of all that happened to the archive.
pub mod ledger;

/// The catalog: what the archive holds.
pub mod catalog;

/// What it rests on that a day's list is whole: verdicts, doubts, limits.
pub mod evidence;

/// When the bytes of what was archived were last read and found right.
pub mod fixity;

/// How long each PBX keeps its recordings, as far as it showed.
pub mod retention;

/// What the operator was told of, and the messages on their way to him.
pub mod outbox;

/// Things that are wrong or odd and that a person should know of.
pub mod findings;

/// What no list can show: calls that were not recorded where they should be, and days without any.
pub mod coverage;

/// The process that owns the state, and what others ask of it.
pub mod owner;

/// When a PBX overwrites what is not archived yet.
pub mod forecast;

// Keeping recordings.

/// The only code that writes recordings to disk.
pub mod archive;

/// The state directory: lock, database, key.
pub mod state;

/// What others on this machine can read or write that they must not.
pub mod exposure;

/// Whether a PBX may be asked anything at present.
pub mod access;

/// Joins `pbx` to `queue`: reads what a PBX says of its calls.
pub mod sweep;

/// Joins `pbx`, `queue` and `archive`: claims, fetches, commits.
pub mod worker;

/// `SHA256SUMS` and the call lists of each day folder.
pub mod seal;

/// Publishes the ledger, and signs what it was.
pub mod notary;

/// Carries bytes to addresses that the operator gave, and bounded replies back.
pub mod courier;

/// What others say of the ledger's checkpoints: time stamps and witnesses.
pub mod anchor;

/// What a PBX listed of a day against what became of it.
pub mod reconcile;

/// Certificates of completeness: what a settled day came to, signed.
pub mod certificate;

/// State and archive, opened and recovered together.
pub mod vault;

/// The database, made anew from archive and ledger alone.
pub mod rebuild;

/// Whether the archive is still what it was when it was archived, and nothing else.
pub mod verify;

/// What is given away of the archive, with all that proves it.
pub mod export;

/// Copies of the database, made while everything goes on.
pub mod snapshot;

/// Backups of all that the archive does not hold.
pub mod backup;

// Archiving a range once, or everything by itself.

/// A range of days, swept and archived once.
pub mod backfill;

/// What the service does by itself, when each thing last ran and is next due.
pub mod agenda;

/// The ticker: it wakes whoever looks at the agenda.
pub mod scheduler;

/// The service: it follows every PBX by itself.
pub mod service;

// Telling how it stands.

/// What failures mean to an operator.
pub mod remedy;

/// The state of everything at one moment: what is owed, at risk and wrong.
pub mod status;

/// Tells the operator what is wrong, and when it is over.
pub mod alerts;

/// The feed: the ledger for readers who follow it, and what its entries are about.
pub mod feed;

/// Health, metrics and the feed over HTTP.
pub mod web;

// What operators do with it.

/// The commands of the program.
pub mod commands;

/// A PBX to rehearse and test with: it keeps the API's rules and breaks each of them when told to.
pub mod simulator;
