//! The connection to a PBX: what all that work on one PBX share, and how far one of them is.

use std::sync::Arc;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use tokio::sync::RwLock;

use crate::base::bell::Bell;
use crate::config::{PbxConfig, PushMode};
use crate::pbx::{self, Pbx};

/// What all that work on one PBX share: its session and connections, and the bell of its queue.
#[derive(Debug, Clone)]
pub struct Connection {
    pub(crate) client: Arc<dyn Pbx>,
    pub(crate) bell: Bell,
    /// Read by every command that works over it; who wants to have the PBX alone writes.
    pub(crate) in_use: Arc<RwLock<()>>,
}

impl Connection {
    /// A connection of its own to `pbx`; nothing is sent yet.
    ///
    /// # Errors
    /// Only if the HTTP library cannot be set up.
    pub(crate) fn new(pbx: &PbxConfig) -> anyhow::Result<Self> {
        Ok(Self::to(pbx::open(pbx)?))
    }

    /// A connection over this client, of whatever family.
    pub fn to(client: Arc<dyn Pbx>) -> Self {
        Self { client, bell: Bell::default(), in_use: Arc::default() }
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.in_use, &other.in_use)
    }

    /// The same for a command, which does not listen to what the PBX may report: it leaves that as it is.
    pub(crate) fn of_command(pbx: &PbxConfig) -> anyhow::Result<Self> {
        Self::new(&PbxConfig { push: PushMode::Off, ..pbx.clone() })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteProgress {
    pub pbx: String,
    pub phase: Phase,
    /// Recordings to archive, as far as is known.
    pub owed: u64,
    pub archived: u64,
    pub failed_attempts: u64,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Connecting,
    /// Reading the CDR of this day, and downloading meanwhile.
    Sweeping(Date),
    Downloading,
    Done,
}
