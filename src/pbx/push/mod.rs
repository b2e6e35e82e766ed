//! Reports of a PBX: a nudge to look sooner, and nothing more.
//!
//! Nothing in a report is believed but that something happened at the PBX from whose address it came. It wakes a sweep,
//! which reads what the CDR says, and one more a little later. A report that is forged, lost or late changes no more
//! than when that happens. Of one that came over HTTP the id of the call is kept for an hour as a second witness: if the CDR
//! does not list that call by then, it is a finding, and never a call.
//!
//! ```text
//! PBX ── posts ──► http::serve ──┐
//!                                ├──► Wakes ──► the service: a sweep, or a heartbeat after a restart
//! PBX ◄── dials ── event_stream::follow ──┘
//!     ◄── heartbeat ── registration::keep
//! ```

pub mod http;
mod report;
mod sources;
mod wakes;

pub use http::{Counters, Tally};
pub use report::{Report, Request, Unread, read_request, take_events};
pub use sources::Sources;
pub use wakes::{HeardCalls, PushEvent, PushKind, Wakes};
