//! TLS by OpenSSL: the same PBX, the same failures, the same words as with rustls.

use std::time::Duration;

use super::fake::*;
use crate::base::digest::Digest;
use crate::config::{TlsBackend, TlsVersion};
use crate::pbx::s_series::*;

const BACKENDS: [TlsBackend; 2] = [TlsBackend::Rustls, TlsBackend::OpenSsl];

fn config_for(port: u16, pin: Option<Digest>, backend: TlsBackend) -> PbxConfig {
    PbxConfig {
        tls_pin_sha256: pin,
        tls_backend: backend,
        tls_version_min: TlsVersion::V1_2,
        ..config(&format!("https://127.0.0.1:{port}"))
    }
}

/// Downloads one recording: its size, or the class of the failure and its sentence.
async fn download(config: &PbxConfig) -> Result<u64, (String, String)> {
    let told = |error: PbxError| (error.reason().to_string(), error.to_string());
    let mut slot = PbxClient::new(config).map_err(told)?.slot().await;
    let ticket = slot.ticket(&name("a.wav")).await.map_err(told)?;
    let mut download = slot.download(ticket).await.map_err(told)?;
    while download.next().await.map_err(told)?.is_some() {}
    Ok(download.body.received)
}

fn then(mut begun: Vec<Step>, end: Step) -> Vec<Step> {
    // So that what was sent has been read before the connection goes.
    begun.extend([Step::Pause(Duration::from_millis(30)), end]);
    begun
}

#[tokio::test]
async fn a_download_ends_or_fails_in_the_same_words_with_either_backend() {
    let table: [(Reply, Result<u64, &str>); 9] = [
        (|| http(wav(100)), Ok(116)),
        (|| http_with_length(1_000_016, wav(1_000_000)), Ok(1_000_016)),
        (|| http_with_length(9999, wav(100)), Err("truncated")),
        (|| then(http_with_length(9999, wav(100)), Step::Reset), Err("reset")),
        // Without a length, only the break tells that this is not all.
        (|| then(http(wav(100)), Step::Reset), Err("reset")),
        (|| then(http(wav(100)), Step::Hang), Err("stall")),
        (|| vec![Step::Reset], Err("reset")),
        (Vec::new, Err("reset")),
        (|| status("503 Busy", ""), Err("http_503")),
    ];
    for (reply, expected) in table {
        let fake = FakePbx::start_tls(move |request| match request.endpoint() {
            "recording/download" => reply(),
            _ => healthy(request),
        })
        .await;
        let mut outcomes = Vec::new();
        for backend in BACKENDS {
            let mut config = config_for(fake.port, fake.key, backend);
            config.limits.idle_timeout = Duration::from_millis(200);
            let outcome = download(&config).await;
            let class = outcome.as_ref().map_err(|(reason, _)| reason.as_str());
            assert_eq!(class.copied(), expected, "{backend:?}: {outcome:?}");
            outcomes.push(class.map(|_| ()).map_err(str::to_owned));
        }
        assert_eq!(outcomes[0], outcomes[1]);
        assert_eq!(fake.peak(), 1);
    }
}

#[tokio::test]
async fn a_way_that_leads_nowhere_is_told_in_the_same_words_with_either_backend() {
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let speaks_first = plain.local_addr().unwrap().port();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closes = FakePbx::start_tls(healthy).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = plain.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 400 Bad\r\n\r\n").await;
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut Vec::new()).await;
        }
    });
    let silent_port = silent.local_addr().unwrap().port();
    for (port, reason) in [
        (speaks_first, "not_https"),
        (silent_port, "unreachable"),
        (free, "refused"),
        (closes.port, "tls_pin_mismatch"),
    ] {
        let mut told = Vec::new();
        for backend in BACKENDS {
            let mut config = config_for(port, Some(Digest::of("another")), backend);
            config.limits.connect_timeout = Duration::from_millis(300);
            told.push(download(&config).await.unwrap_err());
        }
        assert_eq!(told[0], told[1]);
        assert_eq!(told[0].0, reason, "{told:?}");
    }
    assert_eq!(closes.count("login"), 0, "nothing is said to a stranger");
    let mut nobody = config_for(1, Some(Digest::of("any")), TlsBackend::OpenSsl);
    nobody.url = "https://pbx.invalid:8088".parse().unwrap();
    assert_eq!(download(&nobody).await.unwrap_err().0, "dns");
}

#[tokio::test]
async fn without_a_pin_nobody_is_trusted() {
    let (reason, told) = download(&config_for(1, None, TlsBackend::OpenSsl)).await.unwrap_err();
    assert_eq!(reason, "tls_unknown_certificate");
    assert!(told.ends_with("and none is pinned; run `callvault trust hq`"), "{told}");
}

#[tokio::test]
async fn a_redirect_is_told_without_leaving_https() {
    let fake = FakePbx::start_tls(|_| status("302 Found\r\nLocation: /login.html?x=1", "")).await;
    let config = config_for(fake.port, fake.key, TlsBackend::OpenSsl);
    let (reason, told) = download(&config).await.unwrap_err();
    assert_eq!(reason, "redirect");
    assert!(told.contains(&format!("redirects to https://127.0.0.1:{};", fake.port)), "{told}");
}

#[tokio::test]
async fn the_host_is_named_as_over_https() {
    let fake = FakePbx::start_tls(healthy).await;
    let config = config_for(fake.port, fake.key, TlsBackend::OpenSsl);
    download(&config).await.unwrap();
    let host = format!("\r\nHost: 127.0.0.1:{}", fake.port);
    assert!(fake.heads("login")[0].contains(&host), "{:?}", fake.heads("login"));
}
