//! The way to the PBX: each thing that can be wrong with it, in one sentence; and no secret in any of them.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fake::*;
use crate::base::digest::Digest;
use crate::pbx::Policy;
use crate::pbx::s_series::*;

async fn failure(config: &PbxConfig) -> PbxError {
    PbxClient::new(config).unwrap().device().await.unwrap_err()
}

fn tls_config(fake: &FakePbx, pin: Option<Digest>) -> PbxConfig {
    PbxConfig { tls_pin_sha256: pin, ..config(&format!("https://127.0.0.1:{}", fake.port)) }
}

#[tokio::test]
async fn nothing_listening_and_unknown_hosts_pause_the_pbx() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = failure(&config(&format!("http://127.0.0.1:{port}"))).await;
    assert_eq!((error.reason(), error.policy()), (Reason::Refused, Policy::PausePbx));
    assert_eq!(
        error.to_string(),
        format!(
            "pbx `hq`: nothing listens at http://127.0.0.1:{port}; check `url` and that the PBX's API is enabled"
        )
    );
    let error = failure(&config("http://pbx.invalid:8088")).await;
    assert_eq!((error.reason(), error.policy()), (Reason::Dns, Policy::PausePbx));
    assert!(error.to_string().contains("no address was found for the host `pbx.invalid` ("), "{error}");
}

#[tokio::test]
async fn an_unknown_certificate_shows_its_key_and_a_pin_accepts_it() {
    let fake = FakePbx::start_tls(healthy).await;
    let key = fake.key.unwrap();
    let error = failure(&tls_config(&fake, None)).await;
    assert_eq!((error.reason(), error.policy()), (Reason::TlsUnknownCertificate, Policy::Operator));
    assert!(error.to_string().contains(&format!("its key has the SHA-256 {key};")), "{error}");
    assert!(error.to_string().contains("run `callvault trust hq`"), "{error}");
    assert_eq!(fake.count("login"), 0);
    let client = PbxClient::new(&tls_config(&fake, Some(key))).unwrap();
    assert_eq!(client.device().await.unwrap().unwrap().sn, "3693");
}

#[tokio::test]
async fn another_key_than_the_pinned_one_gets_no_request() {
    let fake = FakePbx::start_tls(healthy).await;
    let error = failure(&tls_config(&fake, Some(Digest::of("another")))).await;
    assert_eq!((error.reason(), error.policy()), (Reason::TlsPinMismatch, Policy::Operator));
    assert_eq!(fake.count("login"), 0);
}

#[tokio::test]
async fn a_body_over_tls_may_end_without_a_farewell() {
    // The fake drops its TLS connections without close_notify.
    let fake = FakePbx::start_tls(healthy).await;
    let client = PbxClient::new(&tls_config(&fake, fake.key)).unwrap();
    let mut slot = client.slot().await;
    let ticket = slot.ticket(&name("a.wav")).await.unwrap();
    let mut download = slot.download(ticket).await.unwrap();
    while download.next().await.unwrap().is_some() {}
    assert_eq!(download.body.received, 116);
}

#[tokio::test]
async fn http_and_https_mixed_up_are_told_apart() {
    let plain = FakePbx::start(healthy).await;
    let speaks_first = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = speaks_first.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = speaks_first.accept().await {
            let _ =
                tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut Vec::new()).await;
        }
    });
    let error = failure(&config(&format!("https://127.0.0.1:{port}"))).await;
    assert_eq!((error.reason(), error.policy()), (Reason::NotHttps, Policy::Operator), "{error}");
    // One that waits for the end of a request line which never comes.
    let mut silent = tls_config(&plain, None);
    silent.limits.connect_timeout = Duration::from_millis(200);
    let error = failure(&silent).await;
    assert_eq!((error.reason(), error.policy()), (Reason::Unreachable, Policy::PausePbx), "{error}");
    assert!(error.to_string().contains("that this port speaks HTTPS"), "{error}");
    // The other way round: TLS answers plain HTTP with an alert.
    let tls = FakePbx::start_tls(healthy).await;
    let error = failure(&tls.config()).await;
    assert_eq!((error.reason(), error.policy()), (Reason::NotHttps, Policy::Operator), "{error}");
    assert!(error.to_string().ends_with("speaks TLS, not plain HTTP; write `https://` in `url`"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_its_query_not_repeated() {
    let fake =
        FakePbx::start(|_| status("301 Moved\r\nLocation: https://192.0.2.1:8088/x?token=abc", "")).await;
    let error = failure(&fake.config()).await;
    assert_eq!((error.reason(), error.policy()), (Reason::Redirect, Policy::Operator));
    assert!(error.to_string().contains("https://192.0.2.1:8088;"), "{error}");
    assert!(!error.to_string().contains("abc"), "{error}");
}

#[tokio::test]
async fn a_web_page_in_place_of_the_api_pauses_the_pbx() {
    for (script, reason, policy) in [
        (http("<html>") as Vec<Step>, "html_body", Policy::PausePbx),
        (http("{\"status\":\"Suc\"cess\"}"), "protocol", Policy::PausePbx),
        (status("404 Not Found", "<html>"), "http_404", Policy::Operator),
        (http(""), "empty_body", Policy::PausePbx),
        (http("hello"), "protocol", Policy::PausePbx),
        (http("{\"status\":\"Succ"), "truncated", Policy::PausePbx),
    ] {
        let script = Mutex::new(Some(script));
        let fake = FakePbx::start(move |_| script.lock().unwrap().take().unwrap_or_default()).await;
        let mut slot = PbxClient::new(&fake.config()).unwrap().slot().await;
        let error = slot.ticket(&name("a.wav")).await.err().unwrap();
        assert_eq!((error.reason().to_string().as_str(), error.policy()), (reason, policy), "{error}");
        assert!(error.to_string().starts_with("pbx `hq`: logging in: "), "{error}");
    }
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a hostile or broken PBX may answer, with our secrets echoed wherever it can put them.
fn echoes() -> Vec<Reply> {
    vec![
        || http(format!("{{\"status\":\"Failed\",\"errno\":\"{TOKEN}\",\"random\":\"{RANDOM}\"}}")),
        || http(format!("<html>{TOKEN}{RANDOM}{PASSWORD_MD5}</html>")),
        || http(format!("{PASSWORD}{TOKEN}")),
        || status(&format!("302 Found\r\nLocation: http://x.test/{TOKEN}?random={RANDOM}"), ""),
        || status("404 Not Found", TOKEN),
        || status(&format!("500 {TOKEN}"), RANDOM),
        || vec![Step::Send(format!("{TOKEN} {RANDOM}\r\n\r\n").into_bytes())],
        || http_with_length(9999, wav(50)),
        || vec![Step::Reset],
        || vec![Step::Hang],
        || errno(20004),
        || errno(20012),
        || errno(20014),
        || errno(20003),
        || errno(20002),
        || errno(10004),
        Vec::new,
    ]
}

async fn drive(endpoint: &'static str, echo: Reply, said: &mut String) {
    use std::fmt::Write as _;
    let fake = FakePbx::start(move |request| match request.endpoint() {
        asked if asked == endpoint => echo(),
        _ => healthy(request),
    })
    .await;
    let mut config = fake.config();
    config.limits.reply_timeout = Duration::from_millis(150);
    config.limits.cdr_timeout = Duration::from_millis(150);
    let client = PbxClient::new(&config).unwrap();
    let mut slot = client.slot().await;
    // Slots, sessions, tickets and downloads have no `Debug`.
    write!(said, "{client:?}").unwrap();
    let outcome = async {
        let ticket = slot.ticket(&name("a.wav")).await?;
        let mut download = slot.download(ticket).await?;
        while download.next().await?.is_some() {}
        let day = jiff::civil::date(2024, 3, 1).at(0, 0, 0, 0);
        if let Some(mut body) = client.slot().await.cdr(day, day).await? {
            while body.next().await?.is_some() {}
        }
        Ok::<(), PbxError>(())
    };
    if let Err(error) = outcome.await {
        write!(said, "{error} {error:?} {error:#?}").unwrap();
    }
}

#[test]
fn no_error_debug_or_log_line_shows_a_secret() {
    // In a process of its own: tests that run beside it may have told the log that nobody listens.
    let name = "pbx::s_series::tests::way::what_is_said_in_every_error";
    let alone = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads=1"])
        .env("CALLVAULT_TEST_ALONE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&alone.stdout);
    assert!(alone.status.success() && said.contains("1 passed"), "{said}");
}

/// Not a test by itself: what the one above runs.
#[tokio::test]
async fn what_is_said_in_every_error() {
    if std::env::var_os("CALLVAULT_TEST_ALONE").is_none() {
        return;
    }
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("callvault=trace")
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut said = String::new();
    for endpoint in ["login", "recording/get_random", "recording/download", "cdr/get_random", "cdr/download"]
    {
        for echo in echoes() {
            drive(endpoint, echo, &mut said).await;
        }
    }
    said.push_str(&String::from_utf8_lossy(&captured.0.lock().unwrap()));
    assert!(said.contains("answered /api/v1.1.0/login with 200"), "the log is captured: {said}");
    for secret in [PASSWORD, PASSWORD_MD5, TOKEN, RANDOM] {
        let at = said.find(secret).map(|at| &said[at.saturating_sub(300)..at + 20]);
        assert_eq!(at, None, "{secret}");
    }
}
