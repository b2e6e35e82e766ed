//! What the workers of a site are set to do.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use tokio_util::sync::CancellationToken;

use super::site::Site;
use crate::queue::{DayRange, Kinds};
use crate::vault::Vault;
use crate::worker::{Progress, TwinLocks, Worker};

/// One task: calls of some days, or voicemail.
pub(super) struct Task {
    pub(super) days: DayRange,
    pub(super) kinds: Kinds,
    pub(super) progress: Arc<Progress>,
    /// Cancelled when nothing more can come into the queue.
    pub(super) swept: CancellationToken,
}

impl Site {
    pub(super) fn worker(&self, vault: &Vault, task: Task) -> Worker {
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
            access: self.access.clone(),
            downloads: self.downloads.clone(),
            progress,
            archive_failures: AtomicU32::new(0),
            twins: TwinLocks::default(),
            swept,
            stop: self.stop.clone(),
        }
    }
}
