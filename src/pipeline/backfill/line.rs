//! The line to a PBX: what all that work on one PBX share, and how far one of them is.

use std::sync::Arc;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;

use crate::base::bell::Bell;
use crate::config::{PbxConfig, PushMode};
use crate::pbx::{self, Pbx};

/// What all that work on one PBX share: its session and connections, and the bell of its queue.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) client: Arc<dyn Pbx>,
    pub(crate) bell: Bell,
    /// Read by every command that works over it; who wants to have the PBX alone writes.
    pub(crate) in_use: Arc<RwLock<()>>,
}

impl Line {
    /// A line of its own to `pbx`; nothing is sent yet.
    ///
    /// # Errors
    /// Only if the HTTP library cannot be set up.
    pub(crate) fn new(pbx: &PbxConfig) -> anyhow::Result<Self> {
        Ok(Self { client: pbx::open(pbx)?, bell: Bell::default(), in_use: Arc::default() })
    }

    /// Whether both are one line.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.in_use, &other.in_use)
    }

    /// The same for a command, which does not listen to what the PBX may report: it leaves that as it is.
    pub(crate) fn of_command(pbx: &PbxConfig) -> anyhow::Result<Self> {
        Self::new(&PbxConfig { push: PushMode::Off, ..pbx.clone() })
    }
}

/// How far a site is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteProgress {
    /// The PBX.
    pub pbx: String,
    /// What it is doing.
    pub phase: Phase,
    /// Recordings to archive, as far as is known.
    pub owed: u64,
    /// Recordings archived.
    pub archived: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Bytes of audio archived.
    pub bytes: u64,
}

/// What a site is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Asking the PBX who it is.
    Connecting,
    /// Reading the CDR of this day, and downloading meanwhile.
    Sweeping(Date),
    /// Downloading.
    Downloading,
    /// Finished, or given up.
    Done,
}
