//! `[web]`: where health and metrics are served.

use std::net::{Ipv4Addr, SocketAddr};

use toml::de::DeValue;

use super::section::{Section, Wrong, wrong};
use super::value;

/// Loopback: what is served names sites and their troubles, and asks nobody who he is.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8377);

/// Where health and metrics are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebConfig {
    /// The address; none if nothing is served.
    pub listen: Option<SocketAddr>,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self { listen: Some(LISTEN) }
    }
}

/// Reads the section.
pub(super) fn read(section: &Section<'_>) -> WebConfig {
    section.read("listen", listen).map_or_else(WebConfig::default, |listen| WebConfig { listen })
}

fn listen(value: &DeValue<'_>) -> Result<Option<SocketAddr>, Wrong> {
    match value::text(value)? {
        "off" => Ok(None),
        text => {
            let remedy = "write such as \"127.0.0.1:8377\" or \"[::1]:8377\", or \"off\"";
            text.parse().map(Some).map_err(|_| wrong("is not an address with a port", remedy))
        }
    }
}
