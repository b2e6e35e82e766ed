//! By which names requests may call this machine.
//!
//! A page of somebody else whose name suddenly leads here (DNS rebinding) comes with that name, for a browser always says
//! whom it believes to ask.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use axum::extract::Request;
use axum::http::header;
use axum::http::uri::Authority;

/// The longest name that is repeated to whoever sent it.
const NAME_BYTES_MAX: usize = 253;

/// Other names that are told in the log; whoever makes up more of them is not told of.
const TOLD_MAX: usize = 8;

/// The names.
#[derive(Debug)]
pub(super) struct Hosts {
    listed: Vec<String>,
    /// Other names that were told in the log.
    told: Mutex<Vec<String>>,
}

impl Hosts {
    /// Those that the operator listed, in lower case.
    pub(super) fn new(listed: &[String]) -> Self {
        Self { listed: listed.to_vec(), told: Mutex::default() }
    }

    /// Why a request is not answered; nothing if it calls us by a name of ours. Another name is told in the log once, with
    /// what to do if it is one.
    pub(super) fn refuse(&self, request: &Request) -> Option<String> {
        let foreign = self.foreign(request)?;
        let (name, listed) = match is_name(&foreign) {
            true => (format!("`{foreign}`"), format!("hosts = [\"{foreign}\"]")),
            false => ("another name".to_owned(), "hosts = [\"…\"]".to_owned()),
        };
        if self.is_news(&name) {
            tracing::warn!(
                "The listener was asked as {name}, and answers only by its address, as localhost and under the names of \
                 `hosts`: if that name is its own, add {listed} to [web]"
            );
        }
        Some(format!(
            "This listener does not answer as {name}: ask by its address or, if that name is its own, add {listed} to \
             [web] of its configuration."
        ))
    }

    fn is_news(&self, name: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = told.len() < TOLD_MAX && !told.iter().any(|other| other == name);
        if is_news {
            told.push(name.to_owned());
        }
        is_news
    }

    /// The name of a request, if it is none of ours. One without any comes from no browser.
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

/// The host of `host:port`, in lower case and without the dot that may end it; nothing if it is none.
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
