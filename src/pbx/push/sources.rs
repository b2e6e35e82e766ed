//! Whose reports are heard: the addresses of the PBXs, asked of the DNS again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tracing::warn;
use url::Host;

use crate::config::{PbxConfig, PushMode};

/// How often names are asked for: a PBX behind a changing address is heard again after that long at most.
const RESOLVE_EVERY: Duration = Duration::from_secs(60);

/// The longest wait for an answer of the DNS.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(10);

/// The PBXs that report over HTTP, and where they report from. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Sources(Arc<RwLock<Known>>);

#[derive(Debug, Default)]
struct Known {
    pbxs: Vec<Source>,
    /// The addresses of names, as far as they were ever known.
    names: BTreeMap<String, Vec<IpAddr>>,
}

#[derive(Debug)]
struct Source {
    pbx: String,
    host: Option<Host>,
    from: Vec<IpAddr>,
    sn: Option<String>,
}

impl Sources {
    /// Hears those of `pbxs` that are to report over HTTP from now on, and nobody else. Hosts that are names are heard
    /// once [`Sources::resolve`] has found them.
    pub fn replace(&self, pbxs: &[PbxConfig]) {
        self.change(|known| {
            let reporting = pbxs.iter().filter(|pbx| matches!(pbx.push, PushMode::Http(_)));
            known.pbxs = reporting.map(|pbx| source(pbx, &known.pbxs)).collect();
        });
    }

    /// Learns the serial number of a PBX. It tells PBXs apart that share an address and report to no path of their own.
    pub fn know_sn(&self, pbx: &str, sn: &str) {
        self.change(|known| {
            for source in known.pbxs.iter_mut().filter(|source| source.pbx == pbx) {
                source.sn = Some(sn.to_owned());
            }
        });
    }

    /// Asks the DNS once for every host that is a name. Where it does not answer, the former addresses stay.
    pub async fn resolve(&self) {
        let names = self.known().names_wanted();
        let found = join_all(names.iter().map(|name| addresses_of(name))).await;
        self.change(|known| {
            for (name, addresses) in names.into_iter().zip(found) {
                // Warned about once.
                if addresses.is_none() && !known.names.contains_key(&name) {
                    warn!(
                        name,
                        "The host `{name}` is not known, so reports of its PBX are refused; correct `url`"
                    );
                }
                if addresses.is_some() || !known.names.contains_key(&name) {
                    known.names.insert(name, addresses.unwrap_or_default());
                }
            }
        });
    }

    pub(super) async fn keep_resolved(&self) {
        loop {
            self.resolve().await;
            tokio::time::sleep(RESOLVE_EVERY).await;
        }
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        let known = self.known();
        known.pbxs.iter().any(|source| known.is_at(source, address))
    }

    /// The PBXs that a report from `address` to `path` concerns: the one named by the path, else the one with the serial
    /// number `sn`, else all at that address. To look at one too many costs a sweep, to miss one costs time.
    pub(super) fn meant(&self, address: IpAddr, path: &str, sn: Option<&str>) -> Vec<String> {
        let known = self.known();
        let here: Vec<&Source> = known.pbxs.iter().filter(|source| known.is_at(source, address)).collect();
        let name = path.rsplit('/').next().unwrap_or_default();
        let named = here.iter().find(|source| source.pbx == name);
        let numbered = || here.iter().find(|source| sn.is_some() && source.sn.as_deref() == sn);
        match named.or_else(numbered) {
            Some(source) => vec![source.pbx.clone()],
            None => here.into_iter().map(|source| source.pbx.clone()).collect(),
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Known {
    fn is_at(&self, source: &Source, address: IpAddr) -> bool {
        let is_host = match &source.host {
            Some(Host::Ipv4(ip)) => address == IpAddr::V4(*ip),
            Some(Host::Ipv6(ip)) => address == IpAddr::V6(*ip),
            Some(Host::Domain(name)) => self.names.get(name).is_some_and(|found| found.contains(&address)),
            None => false,
        };
        is_host || source.from.contains(&address)
    }

    fn names_wanted(&self) -> BTreeSet<String> {
        let names = self.pbxs.iter().filter_map(|source| match &source.host {
            Some(Host::Domain(name)) => Some(name.clone()),
            _ => None,
        });
        names.collect()
    }
}

/// A source as configured; its serial number is what was learnt before.
fn source(pbx: &PbxConfig, before: &[Source]) -> Source {
    let known = before.iter().find(|source| source.pbx == pbx.id);
    Source {
        pbx: pbx.id.clone(),
        host: pbx.url.host().map(|host| host.to_owned()),
        from: pbx.push_from.iter().map(IpAddr::to_canonical).collect(),
        sn: known.and_then(|source| source.sn.clone()),
    }
}

async fn addresses_of(name: &str) -> Option<Vec<IpAddr>> {
    let found = timeout(RESOLVE_PATIENCE, lookup_host((name, 0))).await.ok()?.ok()?;
    Some(found.map(|address| address.ip().to_canonical()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PushAddress;

    fn pbx(id: &str, url: &str, from: &[&str]) -> PbxConfig {
        let version = "v1.1.0".parse().unwrap();
        let address = PushAddress { host: None, port: 8260, path: id.to_owned() };
        PbxConfig {
            push: PushMode::Http(address),
            push_from: from.iter().map(|text| text.parse().unwrap()).collect(),
            ..PbxConfig::for_url(id, url.parse().unwrap(), version, "api", "s3cret")
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_pbx_is_heard_from_its_host_and_where_else_it_may_report_from() {
        let sources = Sources::default();
        let off = PbxConfig { push: PushMode::Off, ..pbx("off", "http://192.0.2.9", &[]) };
        sources.replace(&[
            pbx("hq", "http://192.0.2.10:8088", &["198.51.100.1"]),
            pbx("six", "http://[2001:db8::1]", &[]),
            pbx("named", "http://localhost:8088", &[]),
            off,
        ]);
        for address in ["192.0.2.10", "198.51.100.1", "2001:db8::1"] {
            assert!(sources.has(ip(address)), "{address}");
        }
        assert!(!sources.has(ip("127.0.0.1")), "its name was not asked for yet");
        sources.resolve().await;
        assert!(sources.has(ip("127.0.0.1")) && !sources.has(ip("192.0.2.9")));
        sources.replace(&[pbx("hq", "http://192.0.2.11:8088", &[])]);
        assert!(sources.has(ip("192.0.2.11")) && !sources.has(ip("192.0.2.10")));
    }

    #[tokio::test]
    async fn a_host_that_is_not_known_any_more_keeps_its_addresses() {
        let sources = Sources::default();
        sources.replace(&[pbx("hq", "http://no-such-host.invalid", &[])]);
        sources.change(|known| {
            known.names.insert("no-such-host.invalid".to_owned(), vec![ip("192.0.2.1")]);
        });
        sources.resolve().await;
        assert!(sources.has(ip("192.0.2.1")));
    }

    #[test]
    fn pbxs_at_one_address_are_told_apart_by_path_then_number() {
        let sources = Sources::default();
        let shared = ["a", "b", "c"].map(|id| pbx(id, "http://192.0.2.10", &[]));
        sources.replace(&shared);
        sources.know_sn("b", "369");
        sources.replace(&shared);
        let meant = |path, sn| sources.meant(ip("192.0.2.10"), path, sn);
        assert_eq!(meant("/a", Some("369")), ["a"]);
        assert_eq!(meant("//reports/c", None), ["c"]);
        assert_eq!(meant("/", Some("369")), ["b"]);
        assert_eq!(meant("/elsewhere", Some("370")), ["a", "b", "c"]);
        assert!(sources.meant(ip("192.0.2.11"), "/a", None).is_empty());
    }
}
