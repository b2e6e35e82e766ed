//! The listener: health, metrics and the feed.

/// Health, metrics and the feed over HTTP.
pub mod web;

/// The feed: the ledger for readers who follow it, and what its entries are about.
pub mod feed;
