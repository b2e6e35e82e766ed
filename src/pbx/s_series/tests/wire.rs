//! Replies as old servers, proxies and other services write them, byte by byte.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::fake::*;
use crate::pbx::s_series::*;
use crate::pbx::{Policy, RETRY_AFTER_MAX};

const DEVICE: &str = r#"{"status":"Success","deviceinfo":{"sn":"3693"}}"#;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// What comes of asking for the serial number, if `endpoint` is answered by exactly these bytes.
async fn asked(endpoint: &'static str, bytes: impl Into<Vec<u8>>) -> Result<String, PbxError> {
    let bytes = bytes.into();
    let fake = FakePbx::start(move |request| match request.endpoint() {
        asked if asked == endpoint => vec![Step::Send(bytes.clone())],
        _ => healthy(request),
    })
    .await;
    let info = PbxClient::new(&fake.config()).unwrap().device().await?;
    Ok(info.unwrap().sn)
}

#[tokio::test]
async fn replies_are_read_as_old_servers_write_them() {
    let many: String = (0..120).map(|number| format!("X-{number}: v\r\n")).collect();
    let length = DEVICE.len();
    for head in [
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 200\r\n",
        "\r\nHTTP/1.1 200 OK\r\n",
        &format!("HTTP/1.1 200 OK\r\n{many}"),
        "HTTP/1.1 200 OK\r\nX-Folded: a\r\n  b\r\nServer: Boa\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type : text/plain\r\n",
        "HTTP/1.1 200 OK\r\nno header at all\r\nServer: Boa\r\n",
        &format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Length: {length}\r\n"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n",
        "HTTP/1.1 200 OK\r\nContent-Encoding: utf-8\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
    ] {
        let sn = asked("deviceinfo/query", format!("{head}\r\n{DEVICE}")).await;
        assert_eq!(sn.map_err(|error| error.to_string()).as_deref(), Ok("3693"), "{head}");
    }
    let bare = format!("HTTP/1.1 200 OK\nServer: Boa\n\n{DEVICE}");
    assert_eq!(asked("deviceinfo/query", bare).await.unwrap(), "3693");
}

#[tokio::test]
async fn json_and_lists_are_inflated_and_audio_is_not() {
    for head in ["Content-Encoding: gzip\r\n", "Content-Encoding: x-gzip\r\n", ""] {
        let reply = [format!("HTTP/1.1 200 OK\r\n{head}\r\n").into_bytes(), gzip(DEVICE)].concat();
        assert_eq!(asked("deviceinfo/query", reply).await.unwrap(), "3693", "{head}");
    }
    let unknown =
        asked("deviceinfo/query", "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\nxyz").await.unwrap_err();
    assert!(unknown.to_string().contains("the reply came compressed (Content-Encoding: br)"), "{unknown}");

    let table = "callid,timestart\n1.1,2024-03-01 12:05:02\n";
    let fake = FakePbx::start(move |request| {
        let body = match request.endpoint() {
            "cdr/download" => gzip(table),
            "recording/download" => gzip(&String::from_utf8(wav(100)).unwrap()),
            _ => return healthy(request),
        };
        let head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n".to_vec();
        vec![Step::Send([head, body].concat())]
    })
    .await;
    let client = PbxClient::new(&fake.config()).unwrap();
    let day = jiff::civil::date(2024, 3, 1).at(0, 0, 0, 0);
    let mut body = client.slot().await.cdr(day, day).await.unwrap().unwrap();
    let mut csv = Vec::new();
    while let Some(bytes) = body.next().await.unwrap() {
        csv.extend_from_slice(&bytes);
    }
    assert_eq!(csv, table.as_bytes());
    let mut slot = client.slot().await;
    let ticket = slot.ticket(&name("a.wav")).await.unwrap();
    let refused = slot.download(ticket).await.err().unwrap();
    assert!(refused.to_string().contains("the audio came compressed (Content-Encoding: gzip)"), "{refused}");
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_not_taken_for_another_protocol() {
    let many: String = (0..1200).map(|number| format!("X-{number}: v\r\n")).collect();
    for (head, why) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5O\r\n", "its Content-Length is not a number"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 47\r\n",
            "it has several Content-Length headers that differ",
        ),
        (&format!("HTTP/1.1 200 OK\r\n{many}"), "it has more than 1000 headers"),
        ("http/1.1 200 OK\r\n", "its status line is not one of HTTP/1"),
        ("HTTP/1.1 2OO OK\r\n", "its status line is not one of HTTP/1"),
        ("warning: disk full\r\nHTTP/1.1 200 OK\r\n", "something comes before its status line"),
    ] {
        for (endpoint, policy) in [("login", Policy::PausePbx), ("deviceinfo/query", Policy::Retry)] {
            let error = asked(endpoint, format!("{head}\r\n{DEVICE}")).await.unwrap_err();
            assert_eq!((error.reason(), error.policy()), (Reason::Protocol, policy), "{head}: {error}");
            let told = error.to_string();
            assert!(told.contains(&format!("the reply's headers cannot be read ({why})")), "{head}: {told}");
            assert!(!told.contains("HTTPS"), "{head}: {told}");
        }
    }
    let cut = asked("login", "HTTP/1.1 200 OK\r\nServer: Bo").await.unwrap_err();
    assert_eq!(cut.reason(), Reason::Reset);
    assert!(cut.to_string().contains("closed within the reply's headers"), "{cut}");
}

#[tokio::test]
async fn another_service_at_the_port_is_named() {
    for (bytes, reason, told) in [
        (&b"SSH-2.0-dropbear_2019.78\r\n"[..], "not_http", "speaks SSH, not HTTP; give the port"),
        (b"220 mail ESMTP Exim\r\n", "not_http", "speaks SMTP or FTP, not HTTP"),
        (b"Asterisk Call Manager/2.10.4\r\n", "not_http", "speaks Asterisk's manager interface, not HTTP"),
        (b"ICY 200 OK\r\n\r\n", "not_http", "speaks ICY, as internet radio does, not HTTP"),
        (b"\x15\x03\x01\0\x02\x02\x46", "not_https", "speaks TLS, not plain HTTP; write `https://`"),
        (b"what?\r\n", "not_http", "does not answer in HTTP; check the port"),
    ] {
        let error = asked("login", bytes).await.unwrap_err();
        assert_eq!(
            (error.reason().to_string().as_str(), error.policy()),
            (reason, Policy::Operator),
            "{error}"
        );
        assert!(error.to_string().contains(told), "{error}");
    }
    // With an https address the same port is told from one that speaks plain HTTP.
    for (banner, told) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "speaks SSH, not HTTPS; give the port"),
        (b"HTTP/1.0 400 Bad Request\r\n\r\n", "answers in plain HTTP, not in HTTPS"),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, banner).await;
                let _ = tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut Vec::new()).await;
            }
        });
        let client = PbxClient::new(&config(&format!("https://127.0.0.1:{port}"))).unwrap();
        let error = client.device().await.unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[tokio::test]
async fn a_status_says_what_it_means_here_and_a_page_is_told_by_its_title() {
    for (status, page, told) in [
        ("401 Unauthorized", "", "a proxy or the PBX's web page wants a login"),
        ("403 Forbidden", "", "permit this machine's address"),
        ("404 Not Found", "", "there is no API at this path: check `api_version`"),
        ("405 Method Not Allowed", "", "check `url` and `api_version`"),
        ("407 Proxy Authentication Required", "", "let this machine reach the PBX directly"),
        (
            "502 Bad Gateway",
            "<html><title>nginx 502</title>",
            "the reply has HTTP status 502 Bad Gateway and a web page (\"nginx 502\")",
        ),
        (
            "200 OK",
            "<html><title>Hotel WiFi login</title>",
            "a web page (\"Hotel WiFi login\") came instead of",
        ),
        ("200 OK", "<?xml version=\"1.0\"?><reply/>", "XML came instead of"),
    ] {
        let reply = format!("HTTP/1.1 {status}\r\nContent-Type: text/html\r\n\r\n{page}");
        let error = asked("login", reply).await.unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
    for (location, told) in [
        ("/login.html", "so the API is not at this path"),
        ("https://127.0.0.1/x", "redirects to https://127.0.0.1; write the address of the API itself"),
        ("http://portal.example/?token=1", "http://portal.example; if that is the PBX, write it in `url`"),
    ] {
        let error =
            asked("login", format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n")).await.unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[tokio::test]
async fn a_pbx_that_asks_to_be_left_alone_is_asked_again_no_sooner() {
    let fake = FakePbx::start(|request| match (request.endpoint(), request.nth) {
        ("deviceinfo/query", 0) => status("503 Busy\r\nRetry-After: 1", ""),
        ("deviceinfo/query", 1) => status("503 Busy\r\nRetry-After: 86400", ""),
        _ => healthy(request),
    })
    .await;
    let client = PbxClient::new(&fake.config()).unwrap();
    let error = client.device().await.unwrap_err();
    assert_eq!((error.policy(), error.retry_after()), (Policy::Retry, Some(Duration::from_secs(1))));
    let begun = std::time::Instant::now();
    let error = client.device().await.unwrap_err();
    assert!(begun.elapsed() >= Duration::from_millis(990), "{:?}", begun.elapsed());
    assert_eq!(error.retry_after(), Some(RETRY_AFTER_MAX), "no PBX is left alone for a day");
}
