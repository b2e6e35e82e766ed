//! The work on one PBX over a range of days: sweep it and archive what it names, until nothing more can be done now.

mod line;
mod meeting;
mod range;
mod report;
mod site;
mod task;
mod trouble;
mod voicemail;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

pub(crate) use line::Line;
pub use line::{Phase, SiteProgress};
pub(crate) use meeting::Met;
pub use range::RangeError;
pub(crate) use range::check;
pub use report::{BackfillReport, PbxReport, Unprinted};
pub use site::Site;
pub(crate) use task::Task;
pub(crate) use trouble::{SAME_DEVICE, own_trouble};
pub use voicemail::VoicemailReport;

use crate::store::queue::DayRange;

/// What a backfill is asked to do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Request {
    /// The PBXs; all if empty.
    pub pbx: Vec<String>,
    /// The first PBX-local day.
    pub from: Option<Date>,
    /// The last PBX-local day, included.
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

/// The lines to work over: those of a service that follows the PBXs already, or lines of one's own.
#[derive(Debug, Default)]
pub struct Lines {
    /// By PBX; one that is not here gets a line of its own.
    pub(crate) by_pbx: BTreeMap<String, Line>,
    /// Downloads at one time over all PBXs; counted anew if not given.
    pub(crate) downloads: Option<Arc<Semaphore>>,
}
