//! The service executes the requests that commands hand over to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Failure, Outcome, Request, Watcher};
use crate::pipeline::backfill::Connections;
use crate::pipeline::site::SiteProgress;
use crate::service::shared::Shared;
use crate::store::db::{DatabaseFailed, Db};
use crate::store::requests;

/// How often requests are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Executes what is handed over, until it is stopped. What is under way then is done again by the next service.
pub(in crate::service) async fn serve(
    shared: &Arc<Shared>,
    downloads: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
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
            tasks.spawn(execute(shared.clone(), downloads.clone(), id, request, end, stop.clone()));
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

async fn execute(
    shared: Arc<Shared>,
    downloads: Arc<Semaphore>,
    id: i64,
    request: String,
    end: CancellationToken,
    stop: CancellationToken,
) -> anyhow::Result<i64> {
    let db = shared.vault().state.db.clone();
    let outcome = match serde_json::from_str(&request) {
        Ok(request) => {
            let mut row = Row { db: db.clone(), id };
            execute_over_followers(&shared, downloads, &request, end, &mut row).await?
        }
        Err(error) => {
            warn!("A request could not be understood: {error}");
            let advice = "the service is of another version than this command: restart it, then try again";
            Outcome::Failed(Failure::of(&anyhow::anyhow!(advice)))
        }
    };
    if stop.is_cancelled() && outcome.is_interrupted() {
        // Cut off by our own end, not by who asked: it is still to be done.
        return Ok(id);
    }
    let text = serde_json::to_string(&outcome)?;
    db.write(async move |tx| requests::finish(tx, id, &text).await).await?;
    Ok(id)
}

/// The row of a request, where whoever made it looks.
struct Row {
    db: Db,
    id: i64,
}

impl Watcher for Row {
    async fn progress(&mut self, sites: Vec<SiteProgress>) -> anyhow::Result<()> {
        let (id, text) = (self.id, serde_json::to_string(&sites)?);
        self.db.write(async move |tx| requests::note_progress(tx, id, &text).await).await
    }
}

/// Executes one request over the connections of the followers. An error means that the database is broken.
async fn execute_over_followers(
    shared: &Shared,
    downloads: Arc<Semaphore>,
    request: &Request,
    end: CancellationToken,
    row: &mut Row,
) -> anyhow::Result<Outcome> {
    info!("A command asks for: {request}");
    let opened = shared.opened();
    let seats = shared.seats();
    for seat in seats.values() {
        // After a reload the former follower may still be finishing, over a line of its own.
        tokio::select! {
            () = seat.begun.cancelled() => {}
            () = end.cancelled() => {}
        }
    }
    let by_pbx = seats.iter().map(|(id, seat)| (id.clone(), seat.connection.clone())).collect();
    let connections = Connections { by_pbx, downloads: Some(downloads) };
    let outcome = match request.execute(&opened, connections, end, row).await {
        Err(error) if error.is::<DatabaseFailed>() => return Err(error),
        outcome => outcome.unwrap_or_else(|error| Outcome::Failed(Failure::of(&error))),
    };
    if let Some(pbx) = request.renews() {
        shared.renew(pbx);
    }
    for seat in seats.values() {
        seat.connection.bell.ring();
        seat.todo.wake();
    }
    Ok(outcome)
}
