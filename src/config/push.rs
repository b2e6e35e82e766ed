//! `[push]`, and what a `[[pbx]]` says about its reports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use toml::de::DeValue;
use url::Url;

use super::section::{Section, Wrong, settings, wrong};
use super::value;
use super::{ApiVersion, Generation, PbxConfig, PushAddress, PushMode};
use crate::base::words::words;

/// The port on which a PBX offers its event stream, unless it was changed there (`docs/pbx-api.md` §7).
const TCP_PORT: u16 = 8333;

/// The port at which reports arrive in the vendor's samples; `[push] listen` decides.
const HTTP_PORT: u16 = 8260;

words! {
    /// The value of `push`.
    enum Word as "push" {
        Off = "off",
        Http = "http",
        Tcp = "tcp",
    }
}

settings! {
    /// Where the PBXs' reports of events arrive: at every address of this machine, at the port of the vendor's samples.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct PushConfig from section("push") {
        pub listen: SocketAddr =
            section.read("listen", listen).unwrap_or((Ipv4Addr::UNSPECIFIED, HTTP_PORT).into()),
    }
}

/// Reads from a `[[pbx]]` section how the PBX reports.
pub(super) fn mode(section: &Section<'_>, version: &ApiVersion) -> PushMode {
    let word = section.word("push").unwrap_or(Word::Off);
    let url = section.read("push_url", address);
    let port = section.count("push_tcp_port", TCP_PORT, 1..=u16::MAX.into());
    refuse_odd_keys(section, word);
    if word == Word::Tcp {
        refuse_tcp(section, version);
    }
    match word {
        Word::Off => PushMode::Off,
        Word::Http => PushMode::Http(url.unwrap_or_else(PushAddress::ours)),
        Word::Tcp => PushMode::Tcp { port },
    }
}

impl PushAddress {
    /// Wherever our requests come from; port and path are known once the whole file is read.
    fn ours() -> Self {
        Self { host: None, port: HTTP_PORT, path: String::new() }
    }
}

/// Tells each PBX that reports over HTTP where our listener is. The path names the PBX, for several may share an
/// address.
pub(super) fn joined(mut pbx: Vec<PbxConfig>, push: PushConfig) -> Vec<PbxConfig> {
    for PbxConfig { id, push: mode, .. } in &mut pbx {
        let PushMode::Http(address) = mode else { continue };
        if address.host.is_none() {
            address.port = push.listen.port();
        }
        if address.path.is_empty() {
            address.path.clone_from(id);
        }
    }
    pbx
}

/// With push off the other keys may stay, for whoever switches it on again; without a word about it they are a mistake.
fn refuse_odd_keys(section: &Section<'_>, word: Word) {
    for (key, name) in [("push_url", "http"), ("push_from", "http"), ("push_tcp_port", "tcp")] {
        if section.has(key) && !section.has("push") {
            let remedy = format!("add push = \"{name}\", or remove the line");
            section.reject(key, wrong("has no effect without push, which is off", remedy));
        }
    }
    if word != Word::Off && section.has("login_port") {
        let remedy = match word {
            Word::Http => "remove the line: the port of [push] listen, or of push_url, is sent",
            _ => "remove the line: with TCP, callvault sends the PBX no port",
        };
        section.reject(
            "login_port",
            wrong("stands beside push, which decides where the PBX's reports go", remedy),
        );
    }
}

fn refuse_tcp(section: &Section<'_>, version: &ApiVersion) {
    if version.generation != Generation::V2 {
        let message = format!("needs API v2.0.0, and api_version is {}", version.segment);
        section.reject(
            "push",
            wrong(message, "use push = \"http\", or set api_version = \"v2.0.0\" if the PBX has it"),
        );
    }
    let allows_plain =
        section.get("allow_plain_http").is_some_and(|value| value.get_ref().as_bool() == Some(true));
    if !allows_plain {
        let message = "would send the password's MD5 unencrypted: the PBX's event stream knows no TLS";
        section.reject("push", wrong(message, "use push = \"http\", or add allow_plain_http = true"));
    }
}

fn listen(value: &DeValue<'_>) -> Result<SocketAddr, Wrong> {
    const EXAMPLE: &str = "write an address of this machine and a port, such as \"0.0.0.0:8260\"";
    let address: SocketAddr =
        value::text(value)?.parse().map_err(|_| wrong("is not an address with a port", EXAMPLE))?;
    if address.port() == 0 {
        return Err(wrong("has the port 0, which is another one at each start", EXAMPLE));
    }
    Ok(address)
}

fn address(value: &DeValue<'_>) -> Result<PushAddress, Wrong> {
    const EXAMPLE: &str =
        "write the listener's address as the PBX sees it, such as \"http://192.0.2.20:8260\"";
    let text = value::text(value)?;
    let url = Url::parse(text).map_err(|error| wrong(format!("is not a URL ({error})"), EXAMPLE))?;
    if url.scheme() != "http" {
        return Err(wrong("must begin with http://: the PBX reports in plain HTTP only", EXAMPLE));
    }
    let is_more = !url.username().is_empty() || url.password().is_some() || text.contains(['@', '?', '#']);
    let host = url.host().filter(|_| !is_more && url.port() != Some(0));
    let host = host.ok_or_else(|| wrong("holds more than scheme, host, port and path", EXAMPLE))?;
    Ok(PushAddress {
        host: Some(host.to_owned()),
        port: url.port_or_known_default().unwrap_or(HTTP_PORT),
        path: url.path().trim_start_matches('/').to_owned(),
    })
}

pub(super) fn source(text: &str) -> Result<IpAddr, Wrong> {
    let remedy = "write the address from which the PBX's reports arrive here, such as \"192.0.2.10\"";
    text.parse().map_err(|_| wrong("is not an IP address", remedy))
}

impl std::fmt::Display for PushAddress {
    /// As an absolute `url` of the API wants it: without a scheme (`docs/pbx-api.md` §3.1).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{host}:{}/{}", self.port, self.path),
            None => f.write_str(&self.path),
        }
    }
}
