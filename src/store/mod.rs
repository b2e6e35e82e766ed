//! All SQL: one module for each group of tables.

pub mod agenda; // what the service does by itself, when each thing last ran and is next due
pub mod alert_queue; // alerts that hold, and the messages on their way to the operator
pub mod anchors; // time-stamp tokens, and the standing of those who anchor the ledger
pub mod call_lists; // call lists on their way into the archive
pub mod calls; // every row that a PBX listed; days, and when each was read
pub mod catalog; // the catalog: what the archive holds
pub mod certificates; // certificates of days, and their drafts
pub mod clocks; // what is known of the PBXs' clocks, and of ours
pub mod day_account; // what is known about one day: the two sides of its account, and their lists
pub mod db; // the database: one task writes it, others read beside it
pub mod device_retention; // how long each PBX keeps its recordings, as far as it showed
pub mod evidence; // what it rests on that a day's list is whole: verdicts, doubts, limits
pub mod export; // what an export reads
pub mod feed_webhooks; // how far the feed was delivered to each webhook
pub mod findings; // things that are wrong or odd and that a person should know of
pub mod fixity; // when the bytes of what was archived were last read and found right
pub mod fleet; // what is remembered of each PBX
pub mod intake; // how much each PBX may add to the database in a day
pub mod ledger; // the ledger: an append-only list of all that happened to the archive
pub mod queue; // the queue: one row per recording, claimed by one run at a time
pub mod requests; // the process that owns the state, and what others ask of it
pub mod scratch; // tables for the time of a rebuild
pub mod sql; // how values stand in columns, and how statements are run
pub mod together; // statements that are run in one hop to the database
pub mod voicemail; // voicemail messages, and what their boxes looked like
