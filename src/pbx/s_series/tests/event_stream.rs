//! The event stream against a scripted far side.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::client;
use super::fake::*;
use crate::pbx::s_series::*;

/// What a client meets that logs in on a stream which says `words` and ends.
async fn meet(words: &'static [u8]) -> (String, Vec<u8>, PbxError) {
    let fake = FakePbx::start(healthy).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let far_side = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut login = Vec::new();
        while !login.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut login).await.unwrap() > 0);
        }
        stream.write_all(words).await.unwrap();
        String::from_utf8(login).unwrap()
    });
    let mut stream = client(&fake.config()).event_stream(port).await.unwrap();
    let mut heard = Vec::new();
    let error = loop {
        match stream.next().await {
            Ok(bytes) => heard.extend(bytes),
            Err(error) => break error,
        }
    };
    (far_side.await.unwrap().replace(PASSWORD_MD5, "MD5"), heard, error)
}

#[tokio::test]
async fn a_stream_begins_with_a_login_and_ends_with_an_error() {
    let (login, heard, error) = meet(b"{\"event\":\"NewCdr\",\"status\":\"FAILED\"}").await;
    assert_eq!(login, "Action: login\r\nUsername: api\r\nSecret: MD5\r\nVersion: 2.0.0\r\n\r\n");
    assert_eq!(heard, b"{\"event\":\"NewCdr\",\"status\":\"FAILED\"}", "a failed call is no refused login");
    assert_eq!(error.reason(), Reason::Reset);
    let (_, _, error) = meet(b"").await;
    assert!(error.to_string().contains("closed after the login, without a word"), "{error}");
}

#[tokio::test]
async fn a_refusal_is_one_whatever_words_it_has() {
    for words in [
        &b"Response: Error\r\nMessage: Authentication failed\r\n\r\n"[..],
        b"Status: Failed\n",
        b"access DENIED",
    ] {
        let (_, heard, error) = meet(words).await;
        assert_eq!((error.reason(), heard), (Reason::PasswordRefused, vec![]));
    }
}

#[tokio::test]
async fn a_port_without_a_stream_is_named() {
    let fake = FakePbx::start(healthy).await;
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = client(&fake.config()).event_stream(port).await.err().unwrap();
    assert_eq!(error.reason(), Reason::Refused);
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}; choose TCP reports")), "{error}");
}
