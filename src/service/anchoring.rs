//! Having the ledger's checkpoints anchored, beside everything else.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::shared::Shared;
use crate::proof::anchor::Anchorer;
use crate::proof::sealed_vault::SealedVault;

/// Begins to have checkpoints anchored by all whom the configuration names, until `stop`.
pub(super) fn begin(
    SealedVault { vault, notary }: &SealedVault,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) {
    let config = &vault.config;
    if config.anchors.authorities.is_empty() && config.anchors.witnesses.is_empty() {
        return;
    }
    let (root, db) = (config.archive.path.clone(), vault.state.db.clone());
    match Anchorer::new(config.anchors.clone(), root, notary.clone(), db, vault.clock.clone()) {
        Ok(anchorer) => {
            let (shared, stop) = (shared.clone(), stop.clone());
            tasks.spawn(async move { anchorer.run(&shared.sealed, &stop).await });
        }
        Err(error) => warn!("The ledger is not anchored: {error:#}"),
    }
}
