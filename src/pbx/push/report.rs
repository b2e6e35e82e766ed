//! One message of HTTP, read within bounds, and what the report in it says: the name of the event, and who sends it.
//!
//! Reports of v1 are no JSON: members stand twice, objects lack keys (`docs/pbx-api.md` §7). So nothing is parsed; the
//! few members that matter are looked for in the bytes, whatever stands around them. Everything else, the callers'
//! numbers and PIN codes among it, is never looked at.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::pbx::push::PushKind;

/// The longest name of an event or a device that is looked at, in bytes.
const VALUE_BYTES_MAX: usize = 64;

/// Longer than any member that names an event, with as many blanks in it as anybody writes.
const MEMBER_BYTES_MAX: usize = 4 * VALUE_BYTES_MAX;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What happened; nothing if it concerns nobody here.
    pub kind: Option<PushKind>,
    /// The serial number of the PBX, as the report has it.
    pub sn: Option<String>,
    /// The id of the call that has ended, if it has the form of one: `<epoch>.<number>`.
    pub callid: Option<String>,
}

impl Report {
    /// Reads a report; nothing if no event is named.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (event, _) = next_event(bytes)?;
        let sn = member(bytes, "sn").map(|(value, _)| String::from_utf8_lossy(value).into_owned());
        let kind = kind_of(event);
        let callid = member(bytes, "callid").and_then(|(value, _)| callid_of(value));
        Some(Self { kind, sn, callid: callid.filter(|_| kind == Some(PushKind::NewCdr)) })
    }
}

/// Whether bytes name an event, of which the first `searched` named none before. Of those only the last are looked at
/// again, in which one may have begun: a report that comes byte by byte costs no more than any other.
pub(super) fn names_event(bytes: &[u8], searched: usize) -> bool {
    next_event(&bytes[searched.saturating_sub(MEMBER_BYTES_MAX)..]).is_some()
}

/// Takes the events named in `stream` out of it, and leaves what may be the beginning of another.
pub fn take_events(stream: &mut Vec<u8>) -> Vec<Option<PushKind>> {
    let mut events = Vec::new();
    let mut at = 0;
    while let Some((event, end)) = next_event(&stream[at..]) {
        events.push(kind_of(event));
        at += end;
    }
    stream.drain(..at.max(stream.len().saturating_sub(MEMBER_BYTES_MAX)));
    events
}

/// The first event's name, and where it ends. v1 calls it an action.
fn next_event(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let found = ["event", "action"].into_iter().filter_map(|key| member(bytes, key));
    found.min_by_key(|(_, end)| *end)
}

fn kind_of(event: &[u8]) -> Option<PushKind> {
    match event {
        _ if event.eq_ignore_ascii_case(b"NewCdr") => Some(PushKind::NewCdr),
        _ if event.eq_ignore_ascii_case(b"BootUp") => Some(PushKind::BootUp),
        _ => None,
    }
}

/// A call's id (`docs/pbx-api.md` §6.3); nothing else that may stand under that name.
fn callid_of(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let (epoch, number) = text.split_once('.')?;
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let has_form = (9..=10).contains(&epoch.len())
        && (1..=10).contains(&number.len())
        && is_number(epoch)
        && is_number(number);
    has_form.then(|| text.to_owned())
}

/// The first short text under `key`, and where it ends.
fn member<'a>(bytes: &'a [u8], key: &str) -> Option<(&'a [u8], usize)> {
    let quoted = format!("\"{key}\"");
    let mut at = 0;
    loop {
        let found = bytes[at..].windows(quoted.len()).position(|window| window == quoted.as_bytes())?;
        let key_end = at + found + quoted.len();
        if let Some((value, rest)) = text(&bytes[key_end..]) {
            return Some((value, bytes.len() - rest.len()));
        }
        // What closes this one may open the next.
        at = key_end - 1;
    }
}

/// The text behind a colon, and what comes after it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = bytes.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let length = text.iter().take(VALUE_BYTES_MAX + 1).position(|byte| *byte == b'"')?;
    Some((&text[..length], &text[length + 1..]))
}

/// The largest head, in bytes: a PBX's has about 150.
const HEAD_BYTES_MAX: usize = 8 * 1024;

const HEADERS_MAX: usize = 64;

/// The largest body, in bytes: a report has about 500.
const BODY_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub path: String,
    /// The body, as far as it was read.
    pub body: Vec<u8>,
}

/// Why a message was not read, or not to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    Gone,
    /// It is not a message of HTTP that posts something, or it breaks off.
    Malformed,
    TooLarge,
}

/// Reads a message. The body is not begun if it is declared too large. Without a declared length it ends where the
/// sender closes, or where it has named an event.
pub async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Result<Request, Unread> {
    let mut bytes = Vec::with_capacity(1024);
    let body_at = read_head(stream, &mut bytes).await?;
    let (path, length) = parse_head(&bytes[..body_at]).ok_or(Unread::Malformed)?;
    if length.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(Unread::TooLarge);
    }
    let mut searched = 0;
    loop {
        let body = &bytes[body_at..];
        if length.map_or_else(|| names_event(body, searched), |length| body.len() >= length) {
            break;
        }
        searched = body.len();
        if body.len() >= BODY_BYTES_MAX {
            return Err(Unread::TooLarge);
        }
        if read_more(stream, &mut bytes).await? == 0 {
            match length {
                Some(_) => return Err(Unread::Malformed),
                None => break,
            }
        }
    }
    Ok(Request { path, body: bytes.split_off(body_at) })
}

/// Reads until the head is whole; returns where the body begins.
async fn read_head(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Result<usize, Unread> {
    let mut searched = 0;
    loop {
        if let Some(end) = head_end(bytes, searched) {
            return if end <= HEAD_BYTES_MAX { Ok(end) } else { Err(Unread::TooLarge) };
        }
        if bytes.len() >= HEAD_BYTES_MAX {
            return Err(Unread::TooLarge);
        }
        searched = bytes.len();
        match read_more(stream, bytes).await? {
            0 if bytes.is_empty() => return Err(Unread::Gone),
            0 => return Err(Unread::Malformed),
            _ => {}
        }
    }
}

async fn read_more(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Result<usize, Unread> {
    let mut chunk = [0; 4096];
    let count = stream.read(&mut chunk).await.map_err(|_| Unread::Gone)?;
    bytes.extend_from_slice(&chunk[..count]);
    Ok(count)
}

/// Where the head ends; the first `searched` bytes were looked at before.
fn head_end(bytes: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(3);
    let ends = [&b"\r\n\r\n"[..], b"\n\n"].map(|blank| {
        let at = bytes[from..].windows(blank.len()).position(|window| window == blank)?;
        Some(from + at + blank.len())
    });
    ends.into_iter().flatten().min()
}

/// The path, and the declared length of the body.
fn parse_head(head: &[u8]) -> Option<(String, Option<usize>)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head).ok().filter(httparse::Status::is_complete)?;
    if request.method != Some("POST") {
        return None;
    }
    let path = request.path?.split('?').next().unwrap_or_default().to_owned();
    let mut lengths =
        request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = match lengths.next() {
        Some(header) => Some(length(header.value)?),
        None => None,
    };
    Some((path, length))
}

/// A length that no number can hold is too large, and not malformed.
fn length(value: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Report> {
        Report::read(text.as_bytes())
    }

    fn report(kind: Option<PushKind>, sn: Option<&str>) -> Option<Report> {
        Some(Report { kind, sn: sn.map(str::to_owned), callid: None })
    }

    #[test]
    fn every_form_of_a_report_is_heard() {
        let call = || report(Some(PushKind::NewCdr), Some("369"));
        assert_eq!(read(r#"{"action":"NewCdr","callid":"1.1","pincode":"77","sn":"369"}"#), call());
        assert_eq!(read("{\n    \"event\" : \"NewCdr\",\n    \"sn\": \"369\"\n}"), call());
        assert_eq!(read(r#"{"action":"NewCdr",{"ext":"1"},"ext":"2","ext":"3","sn":"369",}"#), call());
        assert_eq!(read(r#"{"event":"BootUp"}"#), report(Some(PushKind::BootUp), None));
        assert_eq!(read(r#"{"action":"ExtensionStatus","sn":"369"}"#), report(None, Some("369")));
        assert_eq!(read(r#"{"x":"event"event":"NewCdr"}"#), report(Some(PushKind::NewCdr), None));
    }

    #[test]
    fn of_a_call_that_ended_the_id_is_read_and_nothing_that_only_stands_there() {
        let callid = |text: &str| read(text).and_then(|report| report.callid);
        let told =
            callid(r#"{"action":"NewCdr",{"ext":"1"},"callid":"1709287502.118","callfrom":"5550142"}"#);
        assert_eq!(told.as_deref(), Some("1709287502.118"));
        for text in [
            r#"{"event":"BootUp","callid":"1709287502.118"}"#,
            r#"{"event":"NewCdr","callid":"5550142"}"#,
            r#"{"event":"NewCdr","callid":"1709287502.118x"}"#,
            r#"{"event":"NewCdr","callid":"17092875021.1"}"#,
            r#"{"event":"NewCdr","callid":1709287502.118}"#,
        ] {
            assert_eq!(callid(text), None, "{text}");
        }
    }

    #[test]
    fn what_names_no_event_is_no_report() {
        for text in
            ["", "{}", "NewCdr", r#"{"action":7}"#, r#"{"action":"#, r#"{"x":"\"action\":\"NewCdr\""}"#]
        {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&format!(r#"{{"action":"{}"}}"#, "N".repeat(65))), None);
    }

    #[test]
    fn what_was_looked_at_is_looked_at_again_only_as_far_as_an_event_may_have_begun_there() {
        let report = br#"{"x":"y","event" : "NewCdr"}"#;
        let named_at = report.len() - 1;
        for searched in 0..report.len() {
            assert!(names_event(&report[..named_at], searched.min(named_at)), "{searched}");
            assert!(!names_event(&report[..named_at - 1], searched.min(named_at - 1)), "{searched}");
        }
        let long_ago = [&report[..], &[b' '; MEMBER_BYTES_MAX]].concat();
        assert!(names_event(&long_ago, 0) && !names_event(&long_ago, long_ago.len()));
    }

    #[test]
    fn events_of_a_stream_are_heard_however_it_is_cut() {
        let stream = br#"Response: Success {"event":"NewCdr","a":"b"}{"event":"RING"} {"event":"BootUp"}"#;
        for size in 1..stream.len() {
            let (mut pending, mut events) = (Vec::new(), Vec::new());
            for chunk in stream.chunks(size) {
                pending.extend_from_slice(chunk);
                events.extend(take_events(&mut pending));
                assert!(pending.len() <= 256);
            }
            assert_eq!(events, [Some(PushKind::NewCdr), None, Some(PushKind::BootUp)], "in pieces of {size}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Report::read(&bytes);
            let mut stream = bytes.clone();
            take_events(&mut stream);
            prop_assert!(stream.len() <= bytes.len());
        }
    }
}

#[cfg(test)]
mod request_tests {
    use super::*;

    async fn of(text: impl AsRef<[u8]>) -> Result<Request, Unread> {
        read_request(&mut text.as_ref()).await
    }

    fn posted(path: &str, body: &str) -> Result<Request, Unread> {
        Ok(Request { path: path.to_owned(), body: body.as_bytes().to_vec() })
    }

    const REPORT: &str = r#"{"action":"NewCdr"}"#;

    #[tokio::test]
    async fn a_message_ends_by_its_length_its_event_or_its_connection() {
        assert_eq!(
            of("POST /hq?a=b HTTP/1.1\r\nContent-Length: 4\r\n\r\nbodymore").await,
            posted("/hq", "bodymore")
        );
        let head = "POST / HTTP/1.1\nHost: 192.0.2.1: 8260\n\n";
        assert_eq!(of(format!("{head}{REPORT}")).await, posted("/", REPORT));
        assert_eq!(of(format!("{head}{{}}")).await, posted("/", "{}"));
        // Chunks are not taken apart: the event stands in one of them.
        let chunked = format!("13\r\n{REPORT}\r\n0\r\n\r\n");
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(of(format!("{head}{chunked}")).await, posted("/", &chunked));
    }

    #[tokio::test]
    async fn a_message_that_is_too_large_is_not_read_on() {
        let mut endless = tokio::io::repeat(b'x');
        assert_eq!(read_request(&mut endless).await, Err(Unread::TooLarge));
        for length in ["65537", "10485760", "99999999999999999999999999"] {
            let head = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
            let mut stream = head.as_bytes().chain(tokio::io::repeat(b'x'));
            assert_eq!(read_request(&mut stream).await, Err(Unread::TooLarge), "{length}");
        }
        let mut stream = (&b"POST / HTTP/1.1\r\n\r\n"[..]).chain(tokio::io::repeat(b'x'));
        assert_eq!(read_request(&mut stream).await, Err(Unread::TooLarge));
    }

    #[tokio::test]
    async fn what_is_no_message_is_malformed() {
        let headers = "a: b\r\n".repeat(100);
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "nonsense\r\n\r\n",
            "POST / HTT",
            "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort",
            &format!("POST / HTTP/1.1\r\n{headers}\r\n"),
        ] {
            assert_eq!(of(text).await, Err(Unread::Malformed), "{text}");
        }
        assert_eq!(of("").await, Err(Unread::Gone));
    }
}
