//! What the first bytes that come from a port say about it.

use std::collections::BTreeSet;

pub(super) const HEADERS_MAX: usize = 1000;

/// How far into the first bytes a status line is looked for that does not begin them.
const JUNK_BYTES_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// HTTP/1: a status line came, well-formed or not.
    Http,
    Tls,
    /// Another protocol, by its name.
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
    if !is_status_line(status_line) {
        return "its status line is not one of HTTP/1";
    }
    let headers: Vec<&[u8]> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let lengths: BTreeSet<&[u8]> = headers.iter().filter_map(|line| content_length(line)).collect();
    let is_number = |length: &&[u8]| !length.is_empty() && length.iter().all(u8::is_ascii_digit);
    if !lengths.iter().all(is_number) {
        return "its Content-Length is not a number";
    }
    if lengths.len() > 1 {
        return "it has several Content-Length headers that differ";
    }
    if headers.len() > HEADERS_MAX {
        return "it has more than 1000 headers";
    }
    "they are not HTTP headers, or too long"
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
