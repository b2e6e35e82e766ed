//! What the HTTP library's errors mean: from a chain of causes to one class and one sentence.
//!
//! Texts are made here, from the innermost cause; the library's own would carry the URL and with it the token.

use std::error::Error;
use std::io;
use std::time::Duration;

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
    /// Scheme, host and port.
    pub(super) text: String,
    pub(super) host: String,
    pub(super) is_https: bool,
    pub(super) connect_timeout: Duration,
}

/// Why no reply to `family` began.
pub(super) fn before_the_reply(error: reqwest::Error, to: &Origin, family: Family) -> Failure {
    let error = error.without_url();
    let connecting = error.is_connect();
    if let Some(UnknownHost { why }) = find(&error) {
        let what = format!("the host `{}` is not known ({why}); correct `url`", to.host);
        return Failure::new(Reason::Dns, what);
    }
    if let Some(tls) = find::<rustls::Error>(&error) {
        return tls_failure(tls, connecting, to);
    }
    if connecting {
        return no_connection(&error, to);
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
        false => Failure::new(Reason::Reset, "the connection broke within the body"),
    })
}

fn no_connection(error: &reqwest::Error, to: &Origin) -> Failure {
    let refused = find::<io::Error>(error).filter(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if refused.is_some() {
        let what = format!("nothing listens at {}; check `url` and that the PBX's API is enabled", to.text);
        return Failure::new(Reason::Refused, what);
    }
    let seconds = to.connect_timeout.as_secs_f64();
    let why = match find::<io::Error>(error) {
        _ if error.is_timeout() => format!("no answer within {seconds} s"),
        Some(error) => error.to_string(),
        None => "no connection".to_owned(),
    };
    let hint = if to.is_https { ", and that this port speaks HTTPS" } else { "" };
    let what = format!("{} cannot be reached ({why}); check the network and `url`{hint}", to.text);
    Failure::new(Reason::Unreachable, what)
}

fn tls_failure(error: &rustls::Error, connecting: bool, to: &Origin) -> Failure {
    use rustls::{CertificateError, Error};
    if let Error::InvalidCertificate(CertificateError::Other(other)) = error
        && let Some(untrusted) = other.0.downcast_ref::<Untrusted>()
    {
        return untrusted_failure(untrusted, to);
    }
    match error {
        _ if !connecting => Failure::new(Reason::Reset, format!("TLS broke off ({error})")),
        Error::InvalidMessage(_) => Failure::new(
            Reason::NotHttps,
            format!(
                "{} does not speak HTTPS; give its HTTPS port in `url`, or write `http://` with `allow_plain_http = true`",
                to.text
            ),
        ),
        _ => Failure::new(
            Reason::TlsHandshake,
            format!(
                "no TLS with {} ({error}); firmware that knows only TLS 1.0 or static RSA needs an update, \
                 or `http://` with `allow_plain_http = true`",
                to.text
            ),
        ),
    }
}

fn untrusted_failure(untrusted: &Untrusted, to: &Origin) -> Failure {
    match untrusted {
        Untrusted::Unknown { seen, .. } => Failure::new(
            Reason::TlsUnknownCertificate,
            format!(
                "{}: {untrusted}; compare it with the PBX's, then set `tls_pin_sha256 = \"{seen}\"`",
                to.text
            ),
        ),
        Untrusted::PinMismatch { .. } => Failure::new(
            Reason::TlsPinMismatch,
            format!(
                "{}: {untrusted}; if the PBX got a new certificate, compare and correct `tls_pin_sha256`, \
                 else someone stands in between",
                to.text
            ),
        ),
        Untrusted::Unreadable { .. } => Failure::new(
            Reason::TlsHandshake,
            format!("{}: {untrusted}; give the PBX an X.509 v3 certificate", to.text),
        ),
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
