//! The work on one PBX over a range of days: sweep it and archive what it names, until nothing more can be done now.

mod range;
mod report;
mod run;
mod trouble;
mod voicemail;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

pub use range::RangeError;
pub(crate) use range::check;
pub use report::{BackfillReport, PbxReport, Unprinted};
pub(crate) use trouble::own_trouble;
pub use voicemail::VoicemailReport;

use crate::pipeline::site::Connection;
use crate::store::queue::DayRange;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Request {
    /// The PBXs; all if empty.
    pub pbx: Vec<String>,
    pub from: Option<Date>,
    pub to: Option<Date>,
    /// CSV files to read the CDR from, instead of the API.
    pub cdr: Vec<PathBuf>,
    /// Poll the voicemail boxes too, and archive what they hold.
    pub voicemail: bool,
    /// Sweep and say what would be fetched; fetch nothing.
    pub dry_run: bool,
    /// Do not sweep: work on what the queue holds already for these days.
    pub queue_only: Option<DayRange>,
}

impl Request {
    /// Whether it is to cover whatever the PBXs keep.
    fn is_undated(&self) -> bool {
        self.from.is_none() && self.to.is_none() && self.queue_only.is_none()
    }
}

/// The connections to work over: those of a service that follows the PBXs already, or connections of one's own.
#[derive(Debug, Default)]
pub struct Connections {
    /// By PBX; one that is not here gets a connection of its own.
    pub(crate) by_pbx: BTreeMap<String, Connection>,
    /// Downloads at one time over all PBXs; counted anew if not given.
    pub(crate) downloads: Option<Arc<Semaphore>>,
}

impl Connections {
    /// These, each for the PBX that it leads to.
    pub fn of(connections: impl IntoIterator<Item = Connection>) -> Self {
        let by_id = |connection: Connection| (connection.client.id().to_owned(), connection);
        Self { by_pbx: connections.into_iter().map(by_id).collect(), downloads: None }
    }
}
