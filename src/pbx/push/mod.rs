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
//! PBX ◄── dials ── tcp::follow ──┘
//!     ◄── heartbeat ── renewal::keep
//! ```

mod admission;
mod counters;
mod heard;
pub mod http;
mod report;
mod request;
mod sources;
mod wakes;

pub(super) use counters::Fate;
pub use counters::{Counters, Tally};
pub use heard::HeardCalls;
pub use report::{Report, take_events};
pub use request::{Request, Unread, read as read_request};
pub use sources::Sources;
pub use wakes::{PushEvent, PushKind, Wakes};
