//! Replies: what is said, and in which way it is broken on the way out.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;

use super::account::Naming;
use super::audio::Source;
use super::http::Request;
use super::json::Value;
use super::profile::Profile;

/// How much of what never ends is sent at a time.
pub(super) const ENDLESS_BYTES: usize = 4096;

/// How many headers many are: more than HTTP libraries read.
const MANY_HEADERS: usize = 120;

/// A reply.
#[derive(Debug)]
pub(super) struct Reply {
    status: u16,
    content_type: &'static str,
    location: Option<String>,
    retry_after_s: Option<u32>,
    is_gzip: bool,
    /// Whether it has far more headers than it needs.
    pub(super) has_many_headers: bool,
    /// The body.
    pub(super) body: Source,
    /// How it is sent.
    pub(super) delivery: Delivery,
    /// The ticket that pays for it, if it is a recording or a message.
    pub(super) ticket: Option<String>,
    /// The name of the recording that it sends.
    pub(super) recording: Option<Vec<u8>>,
    /// The recordings that it names, if it is a CDR.
    pub(super) listed: Vec<Naming>,
}

/// How a reply is sent; by default whole and at once.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// The Content-Length, where there is one.
    pub(super) declared_bytes: Option<u64>,
    /// Whether the HTTP head is cut in the middle.
    pub(super) is_head_cut: bool,
    /// After how many bytes of the body it ends, and whether by a reset.
    pub(super) cut: Option<(u64, Cut)>,
    /// Whether it is reset after its last byte.
    pub(super) resets_after: bool,
    /// After how many bytes it stops, and for how long; `None` is until the client closes.
    pub(super) stall: Option<(u64, Option<Duration>)>,
    /// The most bytes per second.
    pub(super) bytes_per_s: Option<u32>,
    /// Which bit of the body is flipped.
    pub(super) flipped_bit: Option<u64>,
    /// What comes after the end, again and again.
    pub(super) endless: Option<Bytes>,
    /// Whether the lines of the HTTP head never end.
    pub(super) is_head_endless: bool,
    /// How far apart the bytes of the HTTP head come.
    pub(super) head_pause: Option<Duration>,
    /// Whether the body comes in chunks instead of ending with the connection or a length.
    pub(super) is_chunked: bool,
    /// When it is cut off.
    pub(super) deadline: Option<Timestamp>,
    /// Whether the body is not the file at all.
    pub(super) is_replaced: bool,
}

/// How a body ends too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// As if it were complete.
    Clean,
    /// By a reset.
    Reset,
}

impl Delivery {
    /// Sends no faster than that; 0 is no limit.
    pub(super) fn slow_down(&mut self, bytes_per_s: u32) {
        if bytes_per_s > 0 {
            self.bytes_per_s = Some(self.bytes_per_s.unwrap_or(u32::MAX).min(bytes_per_s));
        }
    }

    /// Whether the client gets the file as it is.
    pub(super) fn is_faithful(&self) -> bool {
        let is_altered =
            self.is_replaced || self.endless.is_some() || self.is_head_cut || self.is_head_endless;
        !is_altered && self.cut.is_none() && self.flipped_bit.is_none() && self.declared_bytes.is_none()
    }
}

impl Reply {
    fn new(status: u16, content_type: &'static str, body: Source) -> Self {
        let delivery = Delivery::default();
        Self {
            status,
            content_type,
            location: None,
            retry_after_s: None,
            is_gzip: false,
            has_many_headers: false,
            body,
            delivery,
            ticket: None,
            recording: None,
            listed: Vec::new(),
        }
    }

    /// JSON with status 200, whatever it says.
    pub(super) fn json(value: &Value, profile: Profile) -> Self {
        Self::new(200, "application/json", Source::bytes(value.to_bytes(profile == Profile::Compatible)))
    }

    /// JSON as it stands, well formed or not.
    pub(super) fn raw_json(text: &'static str, profile: Profile) -> Self {
        Self { body: Source::bytes(text), ..Self::json(&Value::Object(Vec::new()), profile) }
    }

    /// `Failed`, with an error number.
    pub(super) fn failure(errno: u32, profile: Profile) -> Self {
        let members = vec![("status", Value::text("Failed")), ("errno", Value::text(errno.to_string()))];
        Self::json(&Value::Object(members), profile)
    }

    /// `Success`, with these members behind it.
    pub(super) fn success(mut members: Vec<(&'static str, Value)>, profile: Profile) -> Self {
        members.insert(0, ("status", Value::text("Success")));
        Self::json(&Value::Object(members), profile)
    }

    /// A recording or a message, paid for by a ticket.
    pub(super) fn audio(body: Source, ticket: String) -> Self {
        Self { ticket: Some(ticket), ..Self::new(200, "audio/x-wav", body) }
    }

    /// JSON that says `Success` and never ends.
    pub(super) fn endless_json() -> Self {
        let mut reply =
            Self::new(200, "application/json", Source::bytes("{\"status\":\"Success\",\"notes\":\""));
        reply.delivery.endless = Some(Bytes::from_static(&[b'a'; ENDLESS_BYTES]));
        reply
    }

    /// A head without end.
    pub(super) fn endless_head() -> Self {
        let mut reply = Self::html(200);
        reply.delivery.is_head_endless = true;
        reply
    }

    /// A CDR file.
    pub(super) fn csv(bytes: Vec<u8>, listed: Vec<Naming>) -> Self {
        Self { listed, ..Self::new(200, "text/csv", Source::bytes(bytes)) }
    }

    /// A page of the web server.
    pub(super) fn html(status: u16) -> Self {
        let title = format!("{status} {}", reason(status));
        let page =
            format!("<html><head><title>{title}</title></head>\n<body><h1>{title}</h1></body></html>\n");
        Self::new(status, "text/html", Source::bytes(page))
    }

    /// A redirect.
    pub(super) fn redirect(status: u16, location: &str) -> Self {
        Self { location: Some(location.to_owned()), ..Self::html(status) }
    }

    /// Too busy for now.
    pub(super) fn busy(seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..Self::html(503) }
    }

    /// Whether it is JSON that ends.
    pub(super) fn is_json(&self) -> bool {
        self.content_type == "application/json" && self.delivery.endless.is_none()
    }

    /// Whether it is JSON or a CDR file that ends.
    pub(super) fn is_text(&self) -> bool {
        self.is_json() || self.content_type == "text/csv" && self.delivery.endless.is_none()
    }

    /// Prints JSON as firmware does, in one of six forms that all mean the same.
    pub(super) fn misprint(&mut self, form: u64) {
        let json = self.bytes();
        let Some(end) = json.iter().rposition(|byte| *byte == b'}') else { return };
        let printed = match form % 6 {
            0 => [&json[..end], b",", &json[end..]].concat(),
            1 => [json.as_slice(), &b"\0"[..]].concat(),
            2 => [json.as_slice(), &b"\n<!-- 0.01 s -->"[..]].concat(),
            3 => [&b"\xef\xbb\xbf\r\n"[..], &json, b"\0\0"].concat(),
            4 => [json.as_slice(), &b" // ok\r\n"[..]].concat(),
            _ => String::from_utf8_lossy(&json)
                .replace("},{", "}{")
                .replacen("\":", "\" /* */:", 1)
                .into_bytes(),
        };
        self.body = Source::bytes(printed);
    }

    /// Compresses the body.
    pub(super) fn compress(&mut self) {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let compressed = encoder.write_all(&self.bytes()).and_then(|()| encoder.finish());
        if let Ok(compressed) = compressed {
            (self.body, self.is_gzip) = (Source::bytes(compressed), true);
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < self.body.len() {
            bytes.extend_from_slice(self.body.chunk(bytes.len() as u64, ENDLESS_BYTES));
        }
        bytes
    }

    /// The request itself, in one of four forms, as a proxy or a device with a fault may show it.
    pub(super) fn echo(request: &Request, form: u64, profile: Profile) -> Self {
        let told =
            format!("{} {}\n{}", request.method, request.target, String::from_utf8_lossy(&request.body));
        match form % 4 {
            0 => Self { body: Source::bytes(format!("<html><body>{told}</body></html>")), ..Self::html(502) },
            1 => Self::redirect(302, &request.target),
            2 => {
                let members = vec![("status", Value::text("Failed")), ("errno", Value::text(told))];
                Self::json(&Value::Object(members), profile)
            }
            _ => {
                Self::new(200, "application/json", Source::bytes(format!("{{\"status\":\"Success\",{told}")))
            }
        }
    }

    /// Lines of JSON, for whoever observes the simulator.
    pub(super) fn observation(status: u16, text: String) -> Self {
        Self::new(status, "application/x-ndjson", Source::bytes(text))
    }

    /// The status line and the headers, in the order in which such a device sends them.
    pub(super) fn head(&self, profile: Profile, content_length: bool) -> Vec<u8> {
        use std::fmt::Write as _;
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let mut line = |line: std::fmt::Arguments<'_>| {
            write!(head, "{line}\r\n").expect("writing to a String cannot fail");
        };
        if profile != Profile::Compatible {
            line(format_args!("Server: Boa/0.94.14rc21"));
            line(format_args!("Accept-Ranges: bytes"));
            line(format_args!("Connection: close"));
        }
        // The compatible device's printed JSON replies have no Content-Type.
        if profile != Profile::Compatible || self.content_type != "application/json" {
            line(format_args!("Content-Type: {}", self.content_type));
        }
        line(format_args!("Access-control-allow-origin: *"));
        line(format_args!("Access-control-allow-methods: GET, POST, OPTIONS, PUT, DELETE"));
        if let Some(location) = &self.location {
            line(format_args!("Location: {location}"));
        }
        if let Some(seconds) = self.retry_after_s {
            line(format_args!("Retry-After: {seconds}"));
        }
        if self.is_gzip {
            line(format_args!("Content-Encoding: gzip"));
        }
        for number in 0..if self.has_many_headers { MANY_HEADERS } else { 0 } {
            line(format_args!("X-Note-{number}: v"));
        }
        let declared = self.declared(content_length);
        // Without this, a client that knows where the reply ends would keep the connection for its next request.
        if profile == Profile::Compatible && (declared.is_some() || self.delivery.is_chunked) {
            line(format_args!("Connection: close"));
        }
        if self.delivery.is_chunked {
            line(format_args!("Transfer-Encoding: chunked"));
        }
        if let Some(length) = declared {
            line(format_args!("Content-Length: {length}"));
        }
        line(format_args!(""));
        head.into_bytes()
    }

    /// Whether its last chunk tells a client where it ends.
    pub(super) fn ends_by_a_chunk(&self) -> bool {
        self.delivery.is_chunked && self.delivery.endless.is_none() && self.delivery.cut.is_none()
    }

    /// The Content-Length that is sent, if one is: chunks are instead of it.
    pub(super) fn declared(&self, content_length: bool) -> Option<u64> {
        if self.delivery.is_chunked {
            return None;
        }
        self.delivery.declared_bytes.or(content_length.then(|| self.body.len()))
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        404 => "Not Found",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unknown",
    }
}
