//! Delivering the ledger to the webhooks of the feed, beside everything else.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::shared::Shared;
use crate::http::feed::Delivery;
use crate::vault::Vault;

/// Begins to deliver to all webhooks that `vault`'s configuration names, until `stop`. None waits for another.
pub(super) fn begin(
    vault: &Vault,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) {
    for webhook in &vault.config.feed.webhook {
        match Delivery::new(webhook, vault.state.db.clone(), vault.clock.clone()) {
            Ok(delivery) => {
                let (shared, stop) = (shared.clone(), stop.clone());
                tasks.spawn(async move { delivery.run(&shared.sealed, &stop).await });
            }
            Err(error) => warn!("The feed is not delivered to the webhook `{}`: {error:#}", webhook.name),
        }
    }
}
