//! What a ledger is called.

use super::{NotaryError, ORIGIN};
use crate::config::LedgerConfig;
use crate::store::db::Db;
use crate::store::fleet;
use crate::vault::state::State;

/// What the ledger of a state is called, unless the operator chose.
pub fn own_origin(state_id: &str) -> String {
    // Half of the id is random enough to be nobody else's, and short enough to be compared by eye.
    format!("callvault/{}", state_id.get(..16).unwrap_or(state_id))
}

/// What the ledger is called: as it was first, whatever the configuration says now.
pub(super) async fn of_state(db: &Db, state: &State, config: &LedgerConfig) -> anyhow::Result<String> {
    let kept = fleet::meta(&mut *db.read().await?, ORIGIN).await?;
    match (kept, &config.origin) {
        (Some(signed), Some(configured)) if signed != *configured => {
            Err(NotaryError::Renamed { configured: configured.clone(), signed }.into())
        }
        (Some(signed), _) => Ok(signed),
        (None, configured) => {
            let origin = configured.clone().unwrap_or_else(|| own_origin(&state.id));
            let kept = origin.clone();
            db.write(async move |tx| fleet::set_meta(tx, ORIGIN, &kept).await).await?;
            Ok(origin)
        }
    }
}
