//! The listener: health, metrics and the feed.

pub mod web;

pub mod feed;
