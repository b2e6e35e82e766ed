//! Requests as they come over the wire, read below what an HTTP library would allow.

use std::io;

use percent_encoding::percent_decode;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The largest request that is read.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// The most header lines.
const HEADERS_MAX: usize = 100;

/// One request.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// `GET`, `POST`, …
    pub(super) method: String,
    /// The target up to the question mark.
    pub(super) path: String,
    query: Vec<(String, Vec<u8>)>,
    /// All of the target, as it came.
    pub(super) target: String,
    /// The body.
    pub(super) body: Vec<u8>,
}

impl Request {
    /// A parameter of the query with `%XX` and `+` decoded; empty if it is absent.
    pub(super) fn parameter(&self, name: &str) -> Vec<u8> {
        let spaced = self.raw(name).iter().map(|byte| if *byte == b'+' { b' ' } else { *byte });
        percent_decode(&spaced.collect::<Vec<u8>>()).collect()
    }

    /// A parameter as text; empty if it is absent or not UTF-8.
    pub(super) fn text(&self, name: &str) -> String {
        String::from_utf8(self.parameter(name)).unwrap_or_default()
    }

    /// A parameter as a file name: a plus sign in it may stand for itself or for a space.
    pub(super) fn names(&self, name: &str) -> [Vec<u8>; 2] {
        [percent_decode(self.raw(name)).collect(), self.parameter(name)]
    }

    fn raw(&self, name: &str) -> &[u8] {
        self.query.iter().find(|(known, _)| known == name).map_or(&[], |(_, value)| value)
    }
}

/// How a server reads requests.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// Whether it accepts the requests that the compatible device's documents print: a body without Content-Length,
    /// even without an empty line before it.
    pub(super) is_lenient: bool,
    /// Whether it knows headers only in the case in which people write them.
    pub(super) knows_title_case_only: bool,
}

/// Reads a request; `None` if the client left before it was whole.
///
/// # Errors
/// If the connection fails or what comes is no request.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    manner: Manner,
) -> io::Result<Option<Request>> {
    let lenient = manner.is_lenient;
    let mut bytes = Vec::with_capacity(2048);
    let (head_end, body_start) = loop {
        if let Some(ends) = head_end(&bytes, lenient) {
            break ends;
        }
        if !read_more(stream, &mut bytes).await? {
            return Ok(None);
        }
        // A TLS client's greeting has no end that HTTP knows: nobody would answer it.
        if !bytes[0].is_ascii_graphic() && !bytes[0].is_ascii_whitespace() {
            return Err(invalid());
        }
    };
    let mut request = parse_head(&bytes[..head_end]).ok_or_else(invalid)?;
    let length = content_length(&bytes[..head_end], manner.knows_title_case_only)?;
    while !is_whole(&request.method, &bytes[body_start..], length, lenient) {
        if !read_more(stream, &mut bytes).await? {
            if length.is_some() {
                return Ok(None);
            }
            break;
        }
    }
    request.body = bytes.split_off(body_start);
    Ok(Some(request))
}

async fn read_more(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> io::Result<bool> {
    if bytes.len() > REQUEST_BYTES_MAX {
        return Err(invalid());
    }
    Ok(stream.read_buf(bytes).await? > 0)
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not an HTTP request")
}

/// Where the head ends and where the body starts.
fn head_end(bytes: &[u8], lenient: bool) -> Option<(usize, usize)> {
    let find = |pattern: &[u8]| bytes.windows(pattern.len()).position(|window| window == pattern);
    let blank = [(&b"\r\n\r\n"[..], 4), (b"\n\n", 2)];
    let blank = blank.into_iter().filter_map(|(pattern, length)| Some((find(pattern)?, length)));
    let end = blank.min().map(|(at, length)| (at + length, at + length));
    let bare = find(b"\n{").filter(|_| lenient).map(|at| (at + 1, at + 1));
    [end, bare].into_iter().flatten().min()
}

fn is_whole(method: &str, body: &[u8], length: Option<usize>, lenient: bool) -> bool {
    match length {
        Some(length) => body.len() >= length,
        None => !lenient || method != "POST" || body.trim_ascii_end().ends_with(b"}"),
    }
}

fn parse_head(head: &[u8]) -> Option<Request> {
    let line = head.split(|byte| *byte == b'\n').next()?.trim_ascii_end();
    let line = String::from_utf8_lossy(line);
    let (method, rest) = line.split_once(' ')?;
    // The query may hold raw spaces: the vendor's own samples do.
    let (target, _version) = rest.rsplit_once(" HTTP/1.")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), value.as_bytes().to_vec())
    });
    Some(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.collect(),
        target: target.to_owned(),
        body: Vec::new(),
    })
}

fn content_length(head: &[u8], knows_title_case_only: bool) -> io::Result<Option<usize>> {
    let start = head.iter().position(|byte| *byte == b'\n').map_or(head.len(), |at| at + 1);
    let mut lines = head[start..].to_vec();
    lines.extend_from_slice(b"\r\n\r\n");
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let Ok(httparse::Status::Complete((_, headers))) = httparse::parse_headers(&lines, &mut headers) else {
        return Err(invalid());
    };
    let found = headers.iter().find(|header| match knows_title_case_only {
        true => header.name == "Content-Length",
        false => header.name.eq_ignore_ascii_case("content-length"),
    });
    let Some(header) = found else { return Ok(None) };
    let length = std::str::from_utf8(header.value).ok().and_then(|text| text.trim().parse().ok());
    length.filter(|length| *length <= REQUEST_BYTES_MAX).map(Some).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parse(bytes: &[u8], lenient: bool) -> Option<Request> {
        read(&mut &bytes[..], Manner { is_lenient: lenient, ..Manner::default() }).await.unwrap()
    }

    #[tokio::test]
    async fn a_request_is_read_with_raw_spaces_and_escapes_in_its_query() {
        let request = parse(b"GET /a/b?t=2024-01-01 00:00:00&n=a%2Fb+c HTTP/1.1\r\nHost: x\r\n\r\n", false)
            .await
            .unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/a/b"));
        assert_eq!(request.text("t"), "2024-01-01 00:00:00");
        assert_eq!(request.names("n"), [b"a/b+c".to_vec(), b"a/b c".to_vec()]);
        assert_eq!(request.text("absent"), "");
    }

    #[tokio::test]
    async fn a_documented_request_is_read_without_length_and_empty_line() {
        let printed = b"POST /x?token=1 HTTP/1.1\nContent-Type:application/json; charset=utf-8\nHost: 192.168.5.150\n{\n    \"extid\": \"1004\",\n}\n";
        assert_eq!(parse(printed, true).await.unwrap().body, b"{\n    \"extid\": \"1004\",\n}\n");
    }

    #[tokio::test]
    async fn an_unfinished_request_is_none_and_a_wrong_one_an_error() {
        assert!(parse(b"POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\n{}", false).await.is_none());
        assert!(parse(b"POST /x HT", false).await.is_none());
        assert!(read(&mut &b"nonsense\r\n\r\n"[..], Manner::default()).await.is_err());
    }
}
