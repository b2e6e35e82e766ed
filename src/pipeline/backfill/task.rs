//! What the workers of a site are set to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32};

use tokio_util::sync::CancellationToken;

use super::site::Site;
use crate::pipeline::worker::{Progress, TwinLocks, Worker};
use crate::store::queue::{DayRange, Kinds};
use crate::vault::Vault;

/// One task: calls of some days, or voicemail.
pub(crate) struct Task {
    pub(crate) days: DayRange,
    pub(crate) kinds: Kinds,
    pub(crate) progress: Arc<Progress>,
    /// Cancelled when nothing more can come into the queue.
    pub(crate) swept: CancellationToken,
}

impl Site {
    /// Workers for a task.
    pub(crate) fn worker(&self, vault: &Vault, task: Task) -> Worker {
        let Task { days, kinds, progress, swept } = task;
        Worker {
            pbx: self.pbx.clone(),
            queue: vault.config.queue.clone(),
            days,
            kinds,
            run_id: vault.state.run_id.clone(),
            db: vault.state.db.clone(),
            archive: vault.archive.clone(),
            free_bytes_min: vault.config.archive.free_bytes_min,
            client: self.client.clone(),
            clock: vault.clock.clone(),
            latest_ms: AtomicI64::new(i64::MIN),
            gate: self.gate.clone(),
            downloads: self.downloads.clone(),
            progress,
            archive_failures: AtomicU32::new(0),
            twins: TwinLocks::default(),
            bell: self.bell.clone(),
            swept,
            // Of its own: workers whose archive fails end, and what else is done here goes on.
            stop: self.stop.child_token(),
        }
    }
}
