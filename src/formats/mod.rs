//! What outlives the program: the formats that it reads and writes, without any I/O.

// Call rows out of a CDR export, in bounded memory.
pub mod cdr;

// What a download is: audio or not, and all of it or not, judged from its bytes as they pass.
pub mod audio;

// The formats in which the ledger is published: tree, tiles, signed notes, proofs.
pub mod tlog;

// Lines that can be erased one by one, and the root that they come to.
pub mod salted;

// A CDR row as it is kept for good: without loss, without secrets.
pub mod raw_row;

// The document beside each recording.
pub mod sidecar;

// The lines of `calls-<n>.jsonl`.
pub mod call_lines;

// `SHA256SUMS`.
pub mod sums;

// The entries of the ledger.
pub mod ledger_entry;

#[cfg(test)]
mod tests;
