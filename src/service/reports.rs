//! The PBXs' own reports of what happens: they wake a follower early, and nothing more.

use std::net::SocketAddr;

use anyhow::Result;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::follower::Follower;
use super::shared::Shared;
use crate::config::{Config, PushMode};
use crate::pbx::push::http::{self, Receiver};
use crate::pbx::push::{PushKind, Wakes};
use crate::pipeline::site::Site;
use crate::store::agenda::Job;

#[derive(Debug, Default)]
pub(super) struct Reports {
    receiver: Receiver,
    listening: Option<(SocketAddr, DropGuard)>,
}

impl Reports {
    pub(super) fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// Listens where `config` says, if any PBX is to report there. What listened elsewhere has ended on return.
    ///
    /// # Errors
    /// If the address cannot be listened on; what listened before goes on.
    pub(super) async fn listen(&mut self, config: &Config) -> Result<()> {
        self.receiver.sources.replace(&config.pbx);
        let wanted = config.pbx.iter().any(|pbx| matches!(pbx.push, PushMode::Http(_)));
        let address = wanted.then_some(config.push.listen);
        if self.listening.as_ref().map(|(address, _)| *address) == address {
            self.receiver.sources.resolve().await;
            return Ok(());
        }
        let Some(address) = address else {
            self.listening = None;
            return Ok(());
        };
        let listener = http::listen(address).await?;
        self.receiver.sources.resolve().await;
        let stop = CancellationToken::new();
        tokio::spawn(http::serve(listener, self.receiver.clone(), stop.clone()));
        self.listening = Some((address, stop.drop_guard()));
        Ok(())
    }
}

/// Wakes the followers whose PBX has reported something, until it is stopped.
pub(super) async fn heed_reports(shared: &Shared, wakes: &Wakes, stop: &CancellationToken) -> Result<()> {
    while let Some(event) = stop.run_until_cancelled(wakes.next()).await {
        shared.seat(&event.pbx, |seat| {
            if event.kind == PushKind::BootUp {
                seat.restarted.notify_one();
            }
            seat.todo.add(Job::Nudge);
        });
    }
    Ok(())
}

impl Follower {
    /// Sees to it that the PBX reports to us, for as long as the episode lasts.
    pub(super) async fn stay_registered(&self, site: &Site) -> Result<()> {
        tokio::select! {
            () = self.seat.connection.client.keep_events_coming(&self.receiver, &self.seat.restarted) => site.over().await,
            () = site.over() => {}
        }
        Ok(())
    }
}
