//! What an HTTP status other than 200 means here, what a web page says that came instead, and what the operator can do.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::base::recording::printable;
use crate::pbx::error::{Failure, RETRY_AFTER_MAX, Reason, When};
use crate::pbx::transport::Origin;

/// Where a reply sends the client instead, without path and query: they may repeat ours.
pub(super) fn origin_of_location(location: Option<&HeaderValue>, to: &Origin) -> Option<String> {
    let text = std::str::from_utf8(location?.as_bytes()).ok()?;
    let url = Url::parse(&to.text).ok()?.join(text).ok()?;
    url.host_str().is_some().then(|| url.origin().ascii_serialization())
}

/// A redirect. None is followed: one of a POST loses its body, and any of them carries the token elsewhere.
pub(super) fn redirected(when: When, location: Option<&str>, to: &Origin) -> Failure {
    let host = |origin: &str| Url::parse(origin).ok().and_then(|url| url.host_str().map(str::to_owned));
    let what = match location {
        None => "it redirects elsewhere; write the address of the API itself in `url`".to_owned(),
        Some(origin) if origin == to.text => format!(
            "it redirects to {origin}; that is the address in `url`, so the API is not at this path: check \
             `api_version` and that the API is enabled"
        ),
        Some(origin) if host(origin) == host(&to.text) => {
            format!("it redirects to {origin}; write the address of the API itself in `url`")
        }
        Some(origin) => format!(
            "it redirects to {origin}; if that is the PBX, write it in `url`, else a login page or a proxy stands \
             before the PBX"
        ),
    };
    let what = match when {
        When::LoggingIn => what,
        // A single file may be redirected by a filter on the way.
        _ => format!("instead of a reply {what}"),
    };
    Failure::new(Reason::Redirect, what)
}

/// Any other status than 200; `page` is what came with it, in words, if it was a page.
pub(super) fn refused(when: When, status: StatusCode, page: Option<String>) -> Failure {
    let with_page = page.map_or_else(String::new, |page| format!(" and {page}"));
    let what = format!("the reply has HTTP status {status}{with_page}");
    Failure::new(Reason::Http(status.as_u16()), what).with_remedy(remedy(when, status))
}

fn remedy(when: When, status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => {
            "the API itself never answers so: a proxy or the PBX's web page wants a login; check `url` and \
             `api_version`"
        }
        403 => {
            "check that the API is enabled, and that the PBX and any proxy before it permit this machine's address"
        }
        404 if when == When::LoggingIn => {
            "there is no API at this path: check `api_version`, and that the API is enabled"
        }
        404 => "this version of the API has no such call: check `api_version`",
        405 => "what answers knows the path but not the method: check `url` and `api_version`",
        407 => "a proxy stands between and wants a login: let this machine reach the PBX directly",
        408 | 504 => {
            "the PBX took too long for a proxy, or for its own web server; if this persists, restart it"
        }
        413 | 414 | 431 => {
            "a proxy or the PBX takes the request for too large; see what stands before the PBX"
        }
        429 => "it is asked too often: lower `requests_per_min_max`",
        400..=499 => "check that `url` and `api_version` are those of the PBX's API",
        502 => {
            "a proxy, or the PBX's own web server, does not reach the API; if this persists, restart the PBX"
        }
        503 => "the PBX, or a proxy before it, is too busy for now",
        500..=599 => "if this persists, restart the PBX",
        _ => "check that `url` is the address of the PBX's API",
    }
}

/// How long to leave the PBX alone, from `Retry-After`: seconds, or a date (RFC 9110, §10.2.3), which counts from the
/// reply's own `Date`, for nobody says that our clock is right.
///
/// At most [`RETRY_AFTER_MAX`]. A date that is past, or no reading of the header, is none.
pub(super) fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        // Digits that no number holds are a very long time.
        true => Duration::from_secs(text.parse().unwrap_or(u64::MAX)),
        false => {
            let said_at = date(headers.get(DATE)?.to_str().ok()?)?;
            Duration::try_from(date(text)?.duration_since(said_at)).ok()?
        }
    };
    Some(wait.min(RETRY_AFTER_MAX)).filter(|wait| !wait.is_zero())
}

/// A date of HTTP, whose format is that of mail, but for the name of the zone.
fn date(text: &str) -> Option<Timestamp> {
    let text = text.trim().strip_suffix("GMT").map_or_else(|| text.to_owned(), |date| format!("{date}+0000"));
    rfc2822::parse(&text).ok().map(|date| date.timestamp())
}

/// How far into a page its title is looked for, in bytes.
pub(super) const PAGE_BYTES_MAX: u64 = 64 << 10;
/// The most characters of a title that are shown.
const TITLE_MAX: usize = 60;
/// From this length on a word with a digit in it may be a token or a ticket.
const SECRET_WORD_MIN: usize = 12;

/// What must not be shown, whoever says it.
pub(super) struct Secrets(pub(super) Vec<SecretString>);

impl Secrets {
    fn are_in(&self, text: &str) -> bool {
        self.0
            .iter()
            .map(|secret| secret.expose_secret())
            .any(|secret| !secret.is_empty() && text.contains(secret))
    }
}

/// A page in words: `a web page (“Login”)`, or without a title `a web page`; XML by its name.
pub(super) fn describe(bytes: &[u8], secrets: &Secrets) -> String {
    if is_xml(bytes) {
        return "XML".to_owned();
    }
    match title(bytes, secrets) {
        Some(title) => format!("a web page (\"{title}\")"),
        None => "a web page".to_owned(),
    }
}

fn is_xml(bytes: &[u8]) -> bool {
    let start = bytes[..bytes.len().min(512)].to_ascii_lowercase();
    let has = |word: &[u8]| start.windows(word.len()).any(|window| window == word);
    has(b"<?xml") && !has(b"html")
}

fn title(bytes: &[u8], secrets: &Secrets) -> Option<String> {
    let page = &bytes[..bytes.len().min(PAGE_BYTES_MAX as usize)];
    let lower = page.to_ascii_lowercase();
    let find = |from: usize, word: &[u8]| {
        Some(from + lower.get(from..)?.windows(word.len()).position(|window| window == word)?)
    };
    let opened = find(0, b"<title")?;
    let from = find(opened, b">")? + 1;
    let to = find(from, b"<")?;
    let text = String::from_utf8_lossy(&page[from..to]);
    if secrets.are_in(&text) {
        return None;
    }
    let words: Vec<&str> =
        text.split_whitespace().map(|word| if may_be_secret(word) { "…" } else { word }).collect();
    let shown: String = printable(words.join(" ").as_bytes()).chars().take(TITLE_MAX).collect();
    (!shown.is_empty()).then_some(shown)
}

fn may_be_secret(word: &str) -> bool {
    word.len() >= SECRET_WORD_MIN && word.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_as_seconds_or_as_a_date_and_is_bounded() {
        let headers = |wait: &str, date: &str| {
            let given =
                [(RETRY_AFTER, wait), (DATE, date)].into_iter().filter(|(_, value)| !value.is_empty());
            given.map(|(name, value)| (name, value.parse().unwrap())).collect::<HeaderMap>()
        };
        let (busy, now) = (StatusCode::SERVICE_UNAVAILABLE, "Sun, 31 Mar 2024 15:46:40 GMT");
        for (header, wait_s) in [
            ("5", Some(5)),
            (" 120 ", Some(120)),
            ("86400", Some(600)),
            ("99999999999999999999999", Some(600)),
            ("0", None),
            ("", None),
            ("-5", None),
            ("soon", None),
            ("Sun, 31 Mar 2024 15:47:10 GMT", Some(30)),
            ("Sun, 31 Mar 2024 15:46:00 GMT", None),
            ("Mon, 01 Apr 2024 15:46:00 GMT", Some(600)),
        ] {
            let wait = retry_after(busy, &headers(header, now));
            assert_eq!(wait, wait_s.map(Duration::from_secs), "{header}");
        }
        let five = Some(Duration::from_secs(5));
        assert_eq!(retry_after(StatusCode::TOO_MANY_REQUESTS, &headers("5", "")), five);
        assert_eq!(retry_after(StatusCode::NOT_FOUND, &headers("5", now)), None);
        assert_eq!(retry_after(busy, &headers("Sun, 31 Mar 2024 15:47:10 GMT", "")), None);
    }
}

#[cfg(test)]
mod page_tests {
    use super::*;

    #[test]
    fn a_page_is_told_by_its_title_without_what_may_be_secret() {
        let secrets = Secrets(vec!["Passw0rd".to_owned().into(), String::new().into()]);
        for (page, told) in [
            ("<html><head><TITLE>\n Hotspot  login </title>", "a web page (\"Hotspot login\")"),
            ("<html><title lang=\"en\">504 Gateway Timeout</title>", "a web page (\"504 Gateway Timeout\")"),
            ("<title>token 70c37070c37070c37070c370 here</title>", "a web page (\"token … here\")"),
            ("<title>my Passw0rd</title>", "a web page"),
            ("<title></title>", "a web page"),
            ("<title>never closed", "a web page"),
            ("<html><body>no title", "a web page"),
            ("<?xml version=\"1.0\"?><reply/>", "XML"),
            ("<?xml version=\"1.0\"?><html><title>Page</title>", "a web page (\"Page\")"),
        ] {
            assert_eq!(describe(page.as_bytes(), &secrets), told, "{page}");
        }
        let long = format!("<title>{}\x1b[31m</title>", "word ".repeat(50));
        let told = describe(long.as_bytes(), &secrets);
        assert!(told.chars().count() < 80 && !told.contains('\x1b'), "{told}");
    }
}
