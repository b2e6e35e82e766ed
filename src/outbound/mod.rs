//! Bounded HTTP and mail to addresses that the operator gave. Nothing else is contacted.

pub mod http;
pub mod mail;
pub mod webhook;
