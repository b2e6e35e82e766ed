//! Where the PBX is to send its reports: sent at login and with each heartbeat, and only where push is on.
//!
//! A PBX has one such destination, and forgets it with the session in 30 min. With push off nothing here is ever sent, and
//! whoever receives its reports goes on to.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use crate::base::backoff::{Backoff, jittered};
use crate::config::{Generation, PbxConfig, PushAddress, PushMode};
use crate::pbx::Pbx as _;
use crate::pbx::error::Result;
use crate::pbx::s_series::PbxClient;
use crate::pbx::s_series::policy::{Family, Stage};
use crate::pbx::transport::Origin;

impl PbxClient {
    /// Renews the session, and with it where reports are to go. A session that has ended is replaced by a new login. The
    /// PBX forgets both after 30 min without a request (`docs/pbx-api.md` §3.3).
    ///
    /// With push off nothing is sent. Where we keep an event stream, the session alone is renewed, by a harmless query:
    /// a heartbeat would say where reports go.
    pub async fn heartbeat(&self) -> Result<()> {
        match &self.shared.config.push {
            PushMode::Off => Ok(()),
            PushMode::Tcp { .. } => self.device().await.map(drop),
            PushMode::Http(address) => self.register(address).await,
        }
    }

    async fn register(&self, address: &PushAddress) -> Result<()> {
        let mut members = members(&self.shared.config);
        let limit = self.shared.config.limits.connect_timeout;
        // It goes without: the PBX sees whom the heartbeat comes from.
        if let Ok(Some(ip)) = timeout(limit, our_address(&self.shared.config, address)).await {
            members["ipaddr"] = ip.to_string().into();
        }
        let action = self.shared.action(Family::Heartbeat, Stage::Query, "renewing where reports go");
        let body = members.to_string().into();
        self.slot().await.call(&action, body).await.map(drop)
    }
}

/// What tells the PBX of our listener (`docs/pbx-api.md` §3.1); nothing unless it is to report over HTTP.
pub(super) fn members(config: &PbxConfig) -> Value {
    let PushMode::Http(address) = &config.push else { return json!({}) };
    let generation = config.api_version.generation;
    let is_absolute = address.host.is_some();
    let tag = match generation {
        // Its document has a number where the others have text (§12).
        Generation::Compatible => Value::from(u8::from(is_absolute)),
        _ => Value::from(if is_absolute { "1" } else { "0" }),
    };
    // Without it reports come in a form that is no JSON (§7).
    let version = if generation == Generation::V2 { "2.0.0" } else { "1.0.2" };
    let (port, url) = (address.port.to_string(), address.to_string());
    json!({ "port": port, "url": url, "urltag": tag, "version": version })
}

/// Our address for the PBX: the operator's word, or else the one from which this machine reaches it.
async fn our_address(config: &PbxConfig, address: &PushAddress) -> Option<IpAddr> {
    if let Some(host) = &address.host {
        let host = host.to_string();
        return Some(resolved(host.trim_matches(['[', ']']), 0).await?.ip());
    }
    let pbx = Origin::of(config);
    let target = resolved(&pbx.host, pbx.port).await?;
    // The kernel says the source address of packets when the socket is connected; nothing is sent.
    let socket = UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).await.ok()?;
    socket.connect(target).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

async fn resolved(host: &str, port: u16) -> Option<SocketAddr> {
    lookup_host((host, port)).await.ok()?.next()
}

/// The longest time between two heartbeats. A third of what a PBX allows, so that one may fail.
const EVERY: Duration = Duration::from_secs(600);

/// The first and the longest wait after a heartbeat that failed.
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(300);

/// The least time between two heartbeats, whatever reports of restarts come.
const APART: Duration = Duration::from_secs(2);

/// Sends a heartbeat now, again and again, and whenever `started` says that the PBX has restarted.
///
/// The heartbeat itself finds out whether the session is gone, and logs in: a report that is forged costs a heartbeat.
///
/// To be ended while the PBX must not be asked anything. With push off nothing is sent.
pub async fn keep(client: &PbxClient, started: &Notify) {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
    let mut is_reported = false;
    loop {
        let asked = Instant::now();
        let wait = match client.heartbeat().await {
            Ok(()) => {
                backoff.reset();
                is_reported = false;
                jittered(EVERY)
            }
            Err(error) => {
                let pbx = client.id();
                match std::mem::replace(&mut is_reported, true) {
                    false => warn!(pbx, "{error}; until then its reports may not come, sweeps go on"),
                    true => debug!(pbx, "{error}"),
                }
                jittered(backoff.lengthen())
            }
        };
        let restarted = async {
            started.notified().await;
            sleep_until(asked + APART).await;
        };
        let _ = timeout(wait, restarted).await;
    }
}
