//! What the HTTP library's errors mean: from a chain of causes to one class and one sentence.
//!
//! Texts are made here, from the innermost cause; the library's own would carry the URL and with it the token.

use std::error::Error;
use std::time::Duration;
use std::{fmt, io};

use crate::config::{PbxConfig, TlsBackend, TlsVersion};
use crate::pbx::error::{Failure, Reason};
use crate::pbx::policy::Family;
use crate::pbx::tls::Untrusted;

/// A host name that could not be resolved; our resolver makes it, so that it can be told from other failures.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct UnknownHost {
    pub(super) why: String,
}

/// Where a request went, for the sentences.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// The PBX's id.
    pub(super) pbx: String,
    /// Scheme, host and port.
    pub(super) text: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_https: bool,
    pub(super) backend: TlsBackend,
    pub(super) version_min: TlsVersion,
    pub(super) connect_timeout: Duration,
}

impl Origin {
    pub(super) fn of(config: &PbxConfig) -> Self {
        let limits = &config.limits;
        Self {
            pbx: config.id.clone(),
            text: config.url.origin().ascii_serialization(),
            host: config.url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port: config.url.port_or_known_default().unwrap_or_default(),
            is_https: config.url.scheme() == "https",
            backend: config.tls_backend,
            version_min: config.tls_version_min,
            // A reply that must begin sooner than a connection is given up bounds the connection too.
            connect_timeout: limits.connect_timeout.min(limits.reply_timeout),
        }
    }
}

/// Why no reply to `family` began.
pub(super) fn before_the_reply(error: reqwest::Error, to: &Origin, family: Family) -> Failure {
    let error = error.without_url();
    let connecting = error.is_connect();
    if let Some(unknown) = find::<UnknownHost>(&error) {
        return unknown_host(unknown, to);
    }
    match find::<rustls::Error>(&error) {
        Some(tls) if connecting => return tls_failure(tls, to),
        Some(tls) => return Failure::new(Reason::Reset, format!("TLS broke off ({tls})")),
        None if connecting && error.is_timeout() => return no_answer(to),
        None if connecting => return no_connection(find(&error), to),
        None => {}
    }
    match find::<hyper::Error>(&error) {
        // After a login in HTTP it can only be a broken reply.
        Some(hyper) if hyper.is_parse() && !to.is_https && family == Family::Login => Failure::new(
            Reason::NotHttps,
            format!(
                "{} does not answer in HTTP; if this port speaks HTTPS, write `https://` in `url`",
                to.text
            ),
        ),
        Some(hyper) if hyper.is_parse() => Failure::new(Reason::Protocol, "the reply is not HTTP"),
        Some(_) if !to.is_https => Failure::new(
            Reason::Reset,
            "the connection was closed before the reply (should every request end so, the port may speak HTTPS)",
        ),
        Some(_) => Failure::new(Reason::Reset, "the connection was closed before the reply"),
        None => Failure::new(Reason::Protocol, "the request could not be made"),
    }
}

/// Why a body broke off; `None` if that was its regular end.
///
/// Without a declared length the end of the connection is the end of the body, and many devices close TLS without
/// saying so first. The audio's own header then tells whether all of it came.
pub(super) fn within_the_body(error: reqwest::Error, ends_with_connection: bool) -> Option<Failure> {
    let error = error.without_url();
    let early_end = find::<io::Error>(&error)
        .is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
        || find::<hyper::Error>(&error).is_some_and(hyper::Error::is_incomplete_message);
    if early_end && ends_with_connection {
        return None;
    }
    Some(match early_end {
        true => Failure::new(Reason::Truncated, "the connection ended before the declared length"),
        false => broken_within_the_body(),
    })
}

/// A body that broke off, and did not just end too soon.
pub(super) fn broken_within_the_body() -> Failure {
    Failure::new(Reason::Reset, "the connection broke within the body")
}

/// Why no TLS could be agreed upon, or no connection was made for it.
pub(super) fn before_tls(error: &io::Error, to: &Origin) -> Failure {
    match find::<rustls::Error>(error) {
        Some(tls) => tls_failure(tls, to),
        None => no_connection(Some(error), to),
    }
}

/// The host has no address.
pub(super) fn unknown_host(unknown: &UnknownHost, to: &Origin) -> Failure {
    let what = format!("the host `{}` is not known ({unknown}); correct `url`", to.host);
    Failure::new(Reason::Dns, what)
}

/// Nothing came before `connect_timeout` was over.
pub(super) fn no_answer(to: &Origin) -> Failure {
    unreachable(&format!("no answer within {} s", to.connect_timeout.as_secs_f64()), to)
}

/// There is no connection, or it broke before TLS was agreed upon.
pub(super) fn no_connection(error: Option<&io::Error>, to: &Origin) -> Failure {
    match error {
        Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => Failure::new(
            Reason::Refused,
            format!("nothing listens at {}; check `url` and that the PBX's API is enabled", to.text),
        ),
        Some(error) => unreachable(&error.to_string(), to),
        None => unreachable("no connection", to),
    }
}

fn unreachable(why: &str, to: &Origin) -> Failure {
    let hint = if to.is_https { ", and that this port speaks HTTPS" } else { "" };
    let what = format!("{} cannot be reached ({why}); check the network and `url`{hint}", to.text);
    Failure::new(Reason::Unreachable, what)
}

fn tls_failure(error: &rustls::Error, to: &Origin) -> Failure {
    use rustls::{CertificateError, Error};
    if let Error::InvalidCertificate(CertificateError::Other(other)) = error
        && let Some(untrusted) = other.0.downcast_ref::<Untrusted>()
    {
        return untrusted_failure(untrusted, to);
    }
    match error {
        Error::InvalidMessage(_) => not_https(to),
        _ => no_tls(error, to),
    }
}

/// The other side does not speak TLS at all.
pub(super) fn not_https(to: &Origin) -> Failure {
    let what = format!(
        "{} does not speak HTTPS; give its HTTPS port in `url`, or write `http://` with `allow_plain_http = true`",
        to.text
    );
    Failure::new(Reason::NotHttps, what)
}

/// The two sides have no TLS in common, with what may give them one.
pub(super) fn no_tls(why: impl fmt::Display, to: &Origin) -> Failure {
    const OPENSSL: &str = "if its firmware knows only static RSA, TLS 1.0 or certificates of old, set `tls_backend = \"openssl\"`";
    let remedy = match to.backend {
        TlsBackend::Rustls if TlsBackend::OpenSsl.is_built_in() => {
            format!("{OPENSSL}, which this callvault has")
        }
        TlsBackend::Rustls => {
            let (missing, remedy) = TlsBackend::MISSING;
            format!("{OPENSSL}, but {missing}: {remedy}")
        }
        TlsBackend::OpenSsl if to.version_min == TlsVersion::V1_2 => {
            "if its firmware knows only TLS 1.0 or 1.1, set `tls_version_min = \"1.0\"`".to_owned()
        }
        TlsBackend::OpenSsl => {
            "update its firmware, or write `http://` with `allow_plain_http = true`".to_owned()
        }
    };
    Failure::new(Reason::TlsHandshake, format!("no TLS with {} ({why}); {remedy}", to.text))
}

/// The certificate was not accepted.
pub(super) fn untrusted_failure(untrusted: &Untrusted, to: &Origin) -> Failure {
    match untrusted {
        Untrusted::Unknown { .. } => Failure::new(
            Reason::TlsUnknownCertificate,
            format!(
                "{}: {untrusted}; compare it with the PBX's, then run `callvault trust {}`",
                to.text, to.pbx
            ),
        ),
        Untrusted::PinMismatch { .. } => Failure::new(
            Reason::TlsPinMismatch,
            format!(
                "{}: {untrusted}; if the PBX got a new certificate, compare it and run `callvault trust {}`, \
                 else someone stands in between",
                to.text, to.pbx
            ),
        ),
        Untrusted::Unreadable { .. } => {
            Failure::new(Reason::TlsHandshake, format!("{}: {untrusted}; give the PBX another one", to.text))
        }
    }
}

/// The first cause of type `T`. An `io::Error` hides what it wraps from `source`, hence the extra step.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(found) = find::<T>(inner)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}
