//! All SQL: one module for each group of tables.

// The database: one task writes it, others read beside it.
pub mod db;

// How values stand in columns, and how statements are run.
pub mod sql;

// What is remembered of each PBX.
pub mod fleet;

// What is known of the PBXs' clocks, and of ours.
pub mod clocks;

// Calls and days: every row that a PBX told.
pub mod calls;

// How much each PBX may add to the database in a day.
pub mod intake;

// The queue: one row per recording, claimed by one run at a time.
pub mod queue;

// Voicemail messages, and what their boxes looked like.
pub mod voicemail;

// Call lists on their way into the archive.
pub mod call_lists;

// Tables for the time of a rebuild.
pub mod scratch;

// The ledger: an append-only list of all that happened to the archive.
pub mod ledger;

// The catalog: what the archive holds.
pub mod catalog;

// What it rests on that a day's list is whole: verdicts, doubts, limits.
pub mod evidence;

// When the bytes of what was archived were last read and found right.
pub mod fixity;

// How long each PBX keeps its recordings, as far as it showed.
pub mod device_retention;

// What is known about one day: the two sides of its account, and their lists.
pub mod day_account;

// Certificates of days, and their drafts.
pub mod certificates;

// What an export reads.
pub mod export;

// Time-stamp tokens, and the standing of those who anchor the ledger.
pub mod anchors;

// How far the feed was delivered to each webhook.
pub mod feed_webhooks;

// Alerts that hold, and the messages on their way to the operator.
pub mod alert_queue;

// Things that are wrong or odd and that a person should know of.
pub mod findings;

// The process that owns the state, and what others ask of it.
pub mod owner;

// What the service does by itself, when each thing last ran and is next due.
pub mod agenda;
