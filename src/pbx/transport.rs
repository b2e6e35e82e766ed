//! Why no reply came, or only part of one: from a chain of causes, and from what did come, to one class and one
//! sentence.
//!
//! A sentence names a cause only if it was seen: the first bytes that came say what the port speaks.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::config::{PbxConfig, TlsBackend, TlsVersion};
use crate::pbx::error::{Failure, Reason, When};
use crate::pbx::tls::{Untrusted, words_of};

#[derive(Debug, Clone)]
pub(super) struct Origin {
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

/// Why no reply began, though there was a connection; `heard` is what came over it.
pub(super) fn before_the_reply(error: &hyper::Error, heard: &[u8], to: &Origin, when: When) -> Failure {
    match Speech::of(heard) {
        Speech::Silence => closed_before_the_reply(error, to),
        Speech::Http if error.is_incomplete_message() || find::<io::Error>(error).is_some() => {
            Failure::new(Reason::Reset, "the connection was closed within the reply's headers")
        }
        Speech::Http => unreadable_head(objection(heard)),
        _ if has_status_line_within(heard) => unreadable_head("something comes before its status line"),
        speech => not_http(speech, to, when),
    }
}

fn closed_before_the_reply(error: &hyper::Error, to: &Origin) -> Failure {
    if let Some(tls) = find::<rustls::Error>(error) {
        return Failure::new(Reason::Reset, format!("TLS broke off ({})", words_of(tls)));
    }
    let why = match find::<io::Error>(error) {
        // Its text is of the system, or of OpenSSL.
        Some(error) if error.kind() != io::ErrorKind::UnexpectedEof => format!(" ({error})"),
        _ => String::new(),
    };
    let failure =
        Failure::new(Reason::Reset, format!("the connection was closed before the reply began{why}"));
    match to.is_https {
        true => failure,
        false => failure.with_remedy("if every request fails this way, the port may be an HTTPS port"),
    }
}

fn unreadable_head(why: &str) -> Failure {
    Failure::new(Reason::Protocol, format!("the reply's headers cannot be read ({why})"))
        .with_remedy("if this persists, restart the PBX, or see whether a proxy stands before it")
}

/// What answers speaks something else than HTTP.
fn not_http(speech: Speech, to: &Origin, when: When) -> Failure {
    let (reason, what) = match speech {
        Speech::Tls if !to.is_https => {
            (Reason::NotHttps, "speaks TLS, not plain HTTP; write `https://` in `url`".to_owned())
        }
        Speech::Other(protocol) => {
            (Reason::NotHttp, format!("speaks {protocol}, not HTTP; give the port of the PBX's API in `url`"))
        }
        _ => {
            let or_https = if to.is_https { "" } else { ", and write `https://` if it is an HTTPS port" };
            (Reason::NotHttp, format!("does not answer in HTTP; check the port in `url`{or_https}"))
        }
    };
    // After a login in HTTP it can only be a broken reply.
    let reason = if when == When::LoggingIn { reason } else { Reason::Protocol };
    Failure::new(reason, format!("{} {what}", to.text))
}

/// No reply, or not all of its head, came in time.
pub(super) fn no_reply(seconds: f64, heard: &[u8], to: &Origin, when: When) -> Failure {
    let what = match Speech::of(heard) {
        Speech::Silence => {
            format!("no reply within {seconds} s; check that the PBX is not overloaded, or restart it")
        }
        Speech::Http => format!(
            "the reply's headers were not complete within {seconds} s; check that the PBX is not overloaded"
        ),
        speech => return not_http(speech, to, when),
    };
    Failure::new(Reason::Timeout, what)
}

/// Why a body broke off; `None` if that was its regular end.
///
/// Without a declared length the end of the connection is the end of the body, and many devices close TLS without
/// saying so first. The audio's own header then tells whether all of it came.
pub(super) fn within_the_body(error: &hyper::Error, ends_with_connection: bool) -> Option<Failure> {
    let early_end = error.is_incomplete_message()
        || find::<io::Error>(error).is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
    match early_end {
        true if ends_with_connection => None,
        true => Some(Failure::new(Reason::Truncated, "the connection ended before the declared length")),
        false => Some(Failure::new(Reason::Reset, "the connection broke within the body")),
    }
}

/// Why no TLS could be agreed upon; `heard` is what came over the connection.
pub(super) fn before_tls(error: &io::Error, heard: &[u8], to: &Origin) -> Failure {
    match find::<rustls::Error>(error) {
        Some(tls) => tls_failure(tls, heard, to),
        None => broken_before_tls(error, to),
    }
}

/// The connection was closed or broke while TLS was being agreed upon.
pub(super) fn broken_before_tls(error: &io::Error, to: &Origin) -> Failure {
    let why = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it closed the connection while TLS was being agreed upon".to_owned(),
        _ => format!("the connection broke while TLS was being agreed upon: {error}"),
    };
    unreachable(&why, to)
}

/// The host's name has no address, or nobody could be asked for one; the system's own words tell which.
pub(super) fn unknown_host(error: &io::Error, to: &Origin) -> Failure {
    // The resolver's function and its number come before its words.
    let text = error.to_string();
    let why = text.rsplit_once(": ").map_or(text.as_str(), |(_, why)| why);
    let remedy = match why.contains("Temporary failure") {
        true => "check this machine's name server",
        false => "correct `url`, or this machine's name server",
    };
    Failure::new(Reason::Dns, format!("no address was found for the host `{}` ({why}); {remedy}", to.host))
}

/// Nothing came before `connect_timeout` was over.
pub(super) fn no_answer(to: &Origin) -> Failure {
    unreachable(&format!("no answer within {} s", to.connect_timeout.as_secs_f64()), to)
}

/// There is no connection, or it broke before TLS was agreed upon.
pub(super) fn no_connection(error: &io::Error, to: &Origin) -> Failure {
    if error.kind() != io::ErrorKind::ConnectionRefused {
        return unreachable(&error.to_string(), to);
    }
    let what = format!("nothing listens at {}; check `url` and that the PBX's API is enabled", to.text);
    Failure::new(Reason::Refused, what)
}

pub(super) fn unreachable(why: &str, to: &Origin) -> Failure {
    let hint = if to.is_https { ", and that this port speaks HTTPS" } else { "" };
    let what = format!("{} cannot be reached ({why}); check the network and `url`{hint}", to.text);
    Failure::new(Reason::Unreachable, what)
}

fn tls_failure(error: &rustls::Error, heard: &[u8], to: &Origin) -> Failure {
    use rustls::{CertificateError, Error};
    if let Error::InvalidCertificate(CertificateError::Other(other)) = error
        && let Some(untrusted) = other.0.downcast_ref::<Untrusted>()
    {
        return untrusted_failure(untrusted, to);
    }
    match error {
        Error::InvalidMessage(_) => not_https(heard, to),
        _ => no_tls(words_of(error), to),
    }
}

/// The other side does not speak TLS at all; `heard` is what it said.
pub(super) fn not_https(heard: &[u8], to: &Origin) -> Failure {
    const PORT: &str = "give its HTTPS port in `url`, or write `http://` with `allow_plain_http = true`";
    let what = match Speech::of(heard) {
        Speech::Other(protocol) => {
            format!("speaks {protocol}, not HTTPS; give the port of the PBX's API in `url`")
        }
        Speech::Http => format!("answers in plain HTTP, not in HTTPS; {PORT}"),
        _ => format!("does not speak HTTPS; {PORT}"),
    };
    Failure::new(Reason::NotHttps, format!("{} {what}", to.text))
}

/// The two sides have no TLS in common, with what may give them one.
pub(super) fn no_tls(why: impl fmt::Display, to: &Origin) -> Failure {
    const OPENSSL: &str =
        "if its firmware knows only static RSA, TLS 1.0 or old certificates, set `tls_backend = \"openssl\"`";
    let remedy = match to.backend {
        TlsBackend::Rustls => format!("{OPENSSL}{}", of_openssl(to)),
        TlsBackend::OpenSsl if to.version_min == TlsVersion::V1_2 => {
            "if its firmware knows only TLS 1.0 or 1.1, set `tls_version_min = \"1.0\"`".to_owned()
        }
        TlsBackend::OpenSsl => {
            "update its firmware, or write `http://` with `allow_plain_http = true`".to_owned()
        }
    };
    Failure::new(Reason::TlsHandshake, format!("no TLS with {} ({why}); {remedy}", to.text))
}

/// What must be known about the OpenSSL backend where it is advised.
fn of_openssl(to: &Origin) -> String {
    match TlsBackend::OpenSsl.is_built_in() {
        true => format!(", which this callvault has, then run `callvault trust {}`", to.pbx),
        false => {
            let (missing, remedy) = TlsBackend::MISSING;
            format!(", but {missing}: {remedy}")
        }
    }
}

pub(super) fn untrusted_failure(untrusted: &Untrusted, to: &Origin) -> Failure {
    let trust = format!("run `callvault trust {}`", to.pbx);
    let reason = match untrusted {
        Untrusted::Unknown { .. } => Reason::TlsUnknownCertificate,
        Untrusted::PinMismatch { .. } => Reason::TlsPinMismatch,
        Untrusted::Unreadable { .. } | Untrusted::UnusableKey { .. } => Reason::TlsHandshake,
    };
    let remedy = match untrusted {
        Untrusted::Unknown { .. } => format!("compare it with the PBX's, then {trust}"),
        Untrusted::PinMismatch { .. } => {
            format!(
                "if the PBX got a new certificate, compare it and {trust}, else someone stands in between"
            )
        }
        Untrusted::Unreadable { .. } => "give the PBX another one".to_owned(),
        // No fingerprint is shown: what it would be compared for does not work yet.
        Untrusted::UnusableKey { .. } => format!(
            "set `tls_backend = \"openssl\"`{}, or give the PBX a certificate with a key of 2048 bits",
            of_openssl(to)
        ),
    };
    Failure::new(reason, format!("{}: {untrusted}; {remedy}", to.text))
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

pub(super) const HEADERS_MAX: usize = 1000;

/// How far into the first bytes a status line is looked for that does not begin them.
const JUNK_BYTES_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// HTTP/1: a status line came, well-formed or not.
    Http,
    Tls,
    Other(&'static str),
    /// Something that no protocol known here begins with.
    Unknown,
    Silence,
}

impl Speech {
    /// Judges the first bytes. Every protocol that administrators may run into beside a PBX's web port is known.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let begins = |with: &str| {
            bytes.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
        };
        match bytes {
            [] => Self::Silence,
            // A record of TLS: alert, handshake or change of ciphers, of version 3.x.
            [0x14..=0x16, 3, ..] => Self::Tls,
            [0xff, 0xfb..=0xfe, ..] => Self::Other("Telnet"),
            // A settings frame.
            [0, 0, _, 4, ..] => Self::Other("HTTP/2 without TLS"),
            _ if begins("HTTP/") => Self::Http,
            _ if begins("SSH-") => Self::Other("SSH"),
            _ if begins("220") => Self::Other("SMTP or FTP"),
            _ if begins("* OK") => Self::Other("IMAP"),
            _ if begins("+OK") => Self::Other("POP3"),
            _ if begins("Asterisk Call Manager") => Self::Other("Asterisk's manager interface"),
            _ if begins("SIP/2.0") => Self::Other("SIP"),
            _ if begins("RTSP/") => Self::Other("RTSP"),
            _ if begins("RFB ") => Self::Other("VNC"),
            _ if begins("ICY ") => Self::Other("ICY, as internet radio does"),
            _ => Self::Unknown,
        }
    }
}

/// Why the head of a reply cannot be read, in words. Nothing that it holds is repeated: it may be a secret of ours.
pub(super) fn objection(head: &[u8]) -> &'static str {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let status_line = lines.next().unwrap_or_default();
    let headers: Vec<&[u8]> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let lengths: BTreeSet<&[u8]> = headers.iter().filter_map(|line| content_length(line)).collect();
    let is_number = |length: &&[u8]| !length.is_empty() && length.iter().all(u8::is_ascii_digit);
    match () {
        () if !is_status_line(status_line) => "its status line is not one of HTTP/1",
        () if !lengths.iter().all(is_number) => "its Content-Length is not a number",
        () if lengths.len() > 1 => "it has several Content-Length headers that differ",
        () if headers.len() > HEADERS_MAX => "it has more than 1000 headers",
        () => "they are not HTTP headers, or too long",
    }
}

/// Whether a status line comes after something that does not belong there.
pub(super) fn has_status_line_within(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(JUNK_BYTES_MAX)];
    start.windows(7).any(|window| window == b"HTTP/1.")
}

fn is_status_line(line: &[u8]) -> bool {
    let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "));
    rest.is_some_and(|rest| {
        rest.len() >= 3
            && rest[..3].iter().all(u8::is_ascii_digit)
            && rest.get(3).is_none_or(|byte| *byte == b' ')
    })
}

fn content_length(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = line.split_at(colon);
    name.trim_ascii().eq_ignore_ascii_case(b"content-length").then(|| value[1..].trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_a_port_speaks() {
        for (bytes, speech) in [
            (&b"HTTP/1.1 200 OK\r\n"[..], Speech::Http),
            (b"http/1.0 200", Speech::Http),
            (b"\x15\x03\x01\0\x02\x02\x0a", Speech::Tls),
            (b"\x16\x03\x03", Speech::Tls),
            (b"SSH-2.0-dropbear\r\n", Speech::Other("SSH")),
            (b"220 mail ESMTP\r\n", Speech::Other("SMTP or FTP")),
            (b"Asterisk Call Manager/5.0\r\n", Speech::Other("Asterisk's manager interface")),
            (b"\xff\xfd\x18", Speech::Other("Telnet")),
            (b"\0\0\x12\x04\0\0\0", Speech::Other("HTTP/2 without TLS")),
            (b"ICY 200 OK\r\n", Speech::Other("ICY, as internet radio does")),
            (b"hello", Speech::Unknown),
            (b"", Speech::Silence),
        ] {
            assert_eq!(Speech::of(bytes), speech, "{bytes:?}");
        }
    }

    #[test]
    fn a_head_that_cannot_be_read_is_told_by_what_is_wrong_with_it() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(HEADERS_MAX + 1));
        for (head, why) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5O\r\n\r\n", "its Content-Length is not a number"),
            ("HTTP/1.1 200 OK\r\ncontent-length :\r\n\r\n", "its Content-Length is not a number"),
            (
                "HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 6\n\n",
                "it has several Content-Length headers that differ",
            ),
            (many.as_str(), "it has more than 1000 headers"),
            ("http/1.1 200 OK\r\n\r\n", "its status line is not one of HTTP/1"),
            ("HTTP/1.1 2OO OK\r\n\r\n", "its status line is not one of HTTP/1"),
            ("HTTP/3 200\r\n\r\n", "its status line is not one of HTTP/1"),
            ("HTTP/1.0 200\r\n=\0=\r\n\r\nContent-Length: x", "they are not HTTP headers, or too long"),
        ] {
            assert_eq!(objection(head.as_bytes()), why, "{head}");
        }
        assert!(has_status_line_within(b"\0\0junk\r\nHTTP/1.1 200 OK\r\n"));
        assert!(!has_status_line_within(b"junk"));
    }
}
