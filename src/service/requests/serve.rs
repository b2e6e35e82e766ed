//! The service executes the requests that commands hand over to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Failure, Outcome, Request, Watcher};
use crate::pipeline::backfill::Connections;
use crate::pipeline::site::SiteProgress;
use crate::service::shared::Shared;
use crate::store::db::DatabaseFailed;
use crate::store::requests;

/// How often requests are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Executes what is handed over, until it is stopped. What is under way then is done again by the next service.
pub(in crate::service) async fn serve(shared: Arc<Shared>, stop: CancellationToken) -> anyhow::Result<()> {
    let mut under_way: BTreeMap<i64, CancellationToken> = BTreeMap::new();
    let mut tasks: JoinSet<anyhow::Result<i64>> = JoinSet::new();
    while !stop.is_cancelled() {
        let db = shared.vault().state.db.clone();
        let (waiting, given_up) = requests::open_requests(&mut *db.read().await?).await?;
        for id in given_up {
            if let Some(end) = under_way.get(&id) {
                end.cancel();
            }
        }
        for (id, request) in waiting {
            db.write(async move |tx| requests::take_up(tx, id).await).await?;
            let end = stop.child_token();
            under_way.insert(id, end.clone());
            let taken_up = TakenUp { shared: shared.clone(), id, end };
            tasks.spawn(taken_up.execute(request, stop.clone()));
        }
        tokio::select! {
            Some(ended) = tasks.join_next() => drop(under_way.remove(&ended??)),
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// A request that was taken up. Whoever made it looks at its row.
struct TakenUp {
    shared: Arc<Shared>,
    id: i64,
    /// Cancelled if whoever made it gives it up.
    end: CancellationToken,
}

impl Watcher for TakenUp {
    async fn progress(&mut self, sites: Vec<SiteProgress>) -> anyhow::Result<()> {
        let (id, text) = (self.id, serde_json::to_string(&sites)?);
        let db = &self.shared.vault().state.db;
        db.write(async move |tx| requests::note_progress(tx, id, &text).await).await
    }
}

impl TakenUp {
    async fn execute(mut self, request: String, stop: CancellationToken) -> anyhow::Result<i64> {
        let outcome = match serde_json::from_str(&request) {
            Ok(request) => self.execute_over_followers(&request).await?,
            Err(error) => {
                warn!("A request could not be understood: {error}");
                let advice =
                    "the service is of another version than this command: restart it, then try again";
                Outcome::Failed(Failure::of(&anyhow::anyhow!(advice)))
            }
        };
        let id = self.id;
        if stop.is_cancelled() && outcome.is_interrupted() {
            // Cut off by our own end, not by who asked: it is still to be done.
            return Ok(id);
        }
        let text = serde_json::to_string(&outcome)?;
        let db = &self.shared.vault().state.db;
        db.write(async move |tx| requests::finish(tx, id, &text).await).await?;
        Ok(id)
    }

    /// Executes it over the connections of the followers. An error means that the database is broken.
    async fn execute_over_followers(&mut self, request: &Request) -> anyhow::Result<Outcome> {
        info!("A command asks for: {request}");
        let (opened, end) = (self.shared.opened(), self.end.clone());
        let seats = self.shared.seats();
        for seat in seats.values() {
            // After a reload the former follower may still be finishing, over a line of its own.
            end.run_until_cancelled(seat.begun.cancelled()).await;
        }
        let by_pbx = seats.iter().map(|(id, seat)| (id.clone(), seat.connection.clone())).collect();
        let connections = Connections { by_pbx, downloads: Some(self.shared.downloads.clone()) };
        let outcome = match request.execute(&opened, connections, end, self).await {
            Err(error) if error.is::<DatabaseFailed>() => return Err(error),
            outcome => outcome.unwrap_or_else(|error| Outcome::Failed(Failure::of(&error))),
        };
        if let Some(pbx) = request.renews() {
            self.shared.renew(pbx);
        }
        for seat in seats.values() {
            seat.connection.bell.ring();
            seat.todo.wake();
        }
        Ok(outcome)
    }
}
