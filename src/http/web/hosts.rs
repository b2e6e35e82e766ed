//! The names by which requests may address this machine.
//!
//! A foreign page whose name suddenly resolves to this machine (DNS rebinding) sends that name, because browsers always send
//! the name that they asked for.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use axum::extract::Request;
use axum::http::header;
use axum::http::uri::Authority;

/// A longer name is not repeated.
const NAME_BYTES_MAX: usize = 253;

/// Foreign names named in the log; further ones are not logged.
const LOGGED_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Hosts {
    listed: Vec<String>,
    /// Foreign names that were logged.
    logged: Mutex<Vec<String>>,
}

impl Hosts {
    pub(super) fn new(listed: &[String]) -> Self {
        Self { listed: listed.to_vec(), logged: Mutex::default() }
    }

    /// Why a request is refused; none if it uses a name of ours. A foreign name is logged once, with what to do if it is
    /// ours.
    pub(super) fn refuse(&self, request: &Request) -> Option<String> {
        let foreign = self.foreign(request)?;
        let (name, listed) = match is_name(&foreign) {
            true => (format!("`{foreign}`"), format!("hosts = [\"{foreign}\"]")),
            false => ("another name".to_owned(), "hosts = [\"…\"]".to_owned()),
        };
        if self.is_news(&name) {
            tracing::warn!(
                "A request addressed the listener as {name}, but it answers only to its address, localhost and the names of \
                 `hosts`: if that is its own name, add {listed} to [web]"
            );
        }
        Some(format!(
            "This listener does not answer to {name}: use its address or, if that is its own name, add {listed} to \
             [web] of its configuration."
        ))
    }

    fn is_news(&self, name: &str) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = logged.len() < LOGGED_MAX && !logged.iter().any(|other| other == name);
        if is_news {
            logged.push(name.to_owned());
        }
        is_news
    }

    /// The name in a request, if it is not ours. A request without any comes from no browser.
    fn foreign(&self, request: &Request) -> Option<String> {
        let asked = request.uri().authority().map(|authority| authority.as_str().as_bytes());
        let sent = request.headers().get_all(header::HOST).iter().map(|value| value.as_bytes());
        asked
            .into_iter()
            .chain(sent)
            .map(host)
            .find(|host| !host.as_deref().is_some_and(|host| self.is_ours(host)))
            .map(Option::unwrap_or_default)
    }

    fn is_ours(&self, host: &str) -> bool {
        let address: Result<IpAddr, _> = host.trim_start_matches('[').trim_end_matches(']').parse();
        host == "localhost" || address.is_ok() || self.listed.iter().any(|listed| listed == host)
    }
}

/// The host of `host:port`, in lower case and without a final dot; none if it is malformed.
fn host(authority: &[u8]) -> Option<String> {
    let authority = Authority::try_from(authority).ok()?;
    let host = authority.host().to_ascii_lowercase();
    Some(host.strip_suffix('.').unwrap_or(&host).to_owned())
}

fn is_name(host: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&host.len()) && host.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_request_must_call_us_by_an_address_or_a_name_of_ours() {
        let hosts = Hosts::new(&["vault.example.org".to_owned()]);
        for (target, sent, answered) in [
            ("/", &["127.0.0.1:8377"][..], true),
            ("/", &["localhost:8377"], true),
            ("/", &["LOCALHOST."], true),
            ("/", &["[::1]:8377"], true),
            ("/", &["192.0.2.7"], true),
            ("/", &["Vault.Example.ORG:443"], true),
            ("/", &["vault.example.org."], true),
            ("/", &[], true),
            ("http://127.0.0.1/", &["127.0.0.1"], true),
            ("/", &["evil.example"], false),
            ("/", &["vault.example.org.evil.example"], false),
            ("/", &["localhost.evil.example:8377"], false),
            ("/", &["127.0.0.1.evil.example"], false),
            ("/", &["localhost", "evil.example"], false),
            ("/", &[""], false),
            ("/", &["a b"], false),
            ("http://evil.example/", &["localhost"], false),
            ("http://localhost/", &["evil.example"], false),
        ] {
            let mut request = Request::builder().uri(target);
            for host in sent {
                request = request.header(header::HOST, *host);
            }
            let refused = hosts.refuse(&request.body(Body::empty()).unwrap());
            assert_eq!(refused.is_none(), answered, "{target} {sent:?}: {refused:?}");
        }
    }
}
