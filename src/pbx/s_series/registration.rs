//! Where the PBX is to send its reports: told at login and with each heartbeat, and only where push is on.
//!
//! A PBX has one such destination. With push off nothing here is ever sent, and whoever receives its reports goes on to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Map, Value};
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;
use url::Host;

use crate::config::{Generation, PbxConfig, PushAddress, PushMode};
use crate::pbx::error::PbxError;
use crate::pbx::s_series::policy::{Family, Stage};
use crate::pbx::s_series::{PbxClient, Shared};

impl PbxClient {
    /// Renews the session, and with it where reports are to go. A session that has ended is replaced by a new login. The
    /// PBX forgets both after 30 min without a request (`docs/pbx-api.md` §3.3).
    ///
    /// With push off nothing is sent. Where we keep an event stream, the session alone is renewed, by a harmless query:
    /// a heartbeat would say where reports go.
    ///
    /// # Errors
    ///
    /// As for every call: the way to the PBX, the login, the reply.
    pub async fn heartbeat(&self) -> Result<(), PbxError> {
        match &self.shared.config.push {
            PushMode::Off => Ok(()),
            PushMode::Tcp { .. } => self.device_info().await.map(drop),
            PushMode::Http(address) => self.register(address).await,
        }
    }

    async fn register(&self, address: &PushAddress) -> Result<(), PbxError> {
        let mut members = members(&self.shared.config);
        let limit = self.shared.config.limits.connect_timeout;
        // It goes without: the PBX sees whom the heartbeat comes from.
        if let Ok(Some(ip)) = timeout(limit, our_address(&self.shared, address)).await {
            members.insert("ipaddr".to_owned(), ip.to_string().into());
        }
        let doing = "renewing where reports go".to_owned();
        let action = self.shared.action(Family::Device, Stage::Query, doing);
        let body = Value::Object(members).to_string().into();
        self.slot().await.call(&action, "heartbeat", body).await.map(drop)
    }
}

/// What tells the PBX of our listener (`docs/pbx-api.md` §3.1); nothing unless it is to report over HTTP.
pub(super) fn members(config: &PbxConfig) -> Map<String, Value> {
    let mut members = Map::new();
    let PushMode::Http(address) = &config.push else { return members };
    let generation = config.api_version.generation;
    let is_absolute = address.host.is_some();
    let tag = match generation {
        // Its document has a number where the others have text (§12).
        Generation::Compatible => Value::from(u8::from(is_absolute)),
        _ => Value::from(if is_absolute { "1" } else { "0" }),
    };
    // Without it reports come in a form that is no JSON (§7).
    let version = if generation == Generation::V2 { "2.0.0" } else { "1.0.2" };
    members.insert("port".to_owned(), address.port.to_string().into());
    members.insert("url".to_owned(), address.to_string().into());
    members.insert("urltag".to_owned(), tag);
    members.insert("version".to_owned(), version.into());
    members
}

/// Our address for the PBX: the operator's word, or else the one from which this machine reaches it.
async fn our_address(shared: &Shared, address: &PushAddress) -> Option<IpAddr> {
    match &address.host {
        Some(Host::Ipv4(ip)) => Some(IpAddr::V4(*ip)),
        Some(Host::Ipv6(ip)) => Some(IpAddr::V6(*ip)),
        Some(Host::Domain(name)) => Some(lookup_host((name.as_str(), 0)).await.ok()?.next()?.ip()),
        None => source_towards(shared.address().await?).await,
    }
}

/// The source address of packets to `target`. The kernel says it when the socket is connected; nothing is sent.
async fn source_towards(target: SocketAddr) -> Option<IpAddr> {
    let any = match target {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(target).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

impl Shared {
    /// The address of the PBX's API, if its name is known.
    async fn address(&self) -> Option<SocketAddr> {
        let port = self.config.url.port_or_known_default()?;
        match self.config.url.host()? {
            Host::Ipv4(ip) => Some((ip, port).into()),
            Host::Ipv6(ip) => Some((ip, port).into()),
            Host::Domain(name) => lookup_host((name, port)).await.ok()?.next(),
        }
    }
}
