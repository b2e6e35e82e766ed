//! The client against scripted connections: tickets and transfers.

mod cdr;
mod event_stream;
mod fake;
#[cfg(feature = "legacy-tls")]
mod legacy;
mod registration;
mod session;
mod voicemail;
mod way;
mod wire;

use std::time::Duration;

use crate::config::{ApiVersion, Generation};
use crate::pbx::Policy;
use crate::pbx::s_series::*;
use fake::*;

async fn fetch(client: &PbxClient) -> Result<Vec<u8>, PbxError> {
    let mut slot = client.slot().await;
    let ticket = slot.ticket(&name("a b+c.wav")).await?;
    let mut download = slot.download(ticket).await?;
    let mut audio = Vec::new();
    while let Some(bytes) = download.next().await? {
        audio.extend_from_slice(&bytes);
    }
    Ok(audio)
}

/// A healthy PBX but for its downloads.
async fn with_downloads(script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static) -> FakePbx {
    FakePbx::start(move |request| match request.endpoint() {
        "recording/download" => script(request),
        _ => healthy(request),
    })
    .await
}

fn client(config: &PbxConfig) -> PbxClient {
    PbxClient::new(config).unwrap()
}

#[tokio::test]
async fn a_recording_is_fetched_over_exactly_the_documented_requests() {
    let fake = FakePbx::start(healthy).await;
    let mut config = fake.config();
    config.api_version = ApiVersion { segment: "v0.0.1".to_owned(), generation: Generation::Compatible };
    assert_eq!(fetch(&client(&config)).await.unwrap(), wav(100));
    let [login] = &fake.heads("login")[..] else { panic!("one login") };
    assert!(login.starts_with("POST /api/v0.0.1/login HTTP/1.1"), "{login}");
    let length = login.split("Content-Length: ").nth(1).unwrap().lines().next().unwrap();
    let headers = format!(
        "\r\nHost: 127.0.0.1:{}\r\nUser-Agent: callvault/{}\r\nAccept: */*\r\nContent-Type: application/json; \
         charset=utf-8\r\nContent-Length: {length}\r\nConnection: close",
        fake.port,
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(login.split_once(" HTTP/1.1").unwrap().1, headers);
    let [asked] = &fake.heads("recording/get_random")[..] else { panic!("one ticket") };
    assert!(asked.starts_with(&format!("POST /api/v0.0.1/recording/get_random?token={TOKEN}0 ")), "{asked}");
    let [spent] = &fake.heads("recording/download")[..] else { panic!("one download") };
    let query = format!("recording=a%20b%2Bc.wav&random={RANDOM}0&token={TOKEN}0");
    assert!(spent.starts_with(&format!("GET /api/v1.1.0/recording/download?{query} ")), "{spent}");
}

#[tokio::test]
async fn a_ticket_too_old_is_refused_without_a_request() {
    let fake = FakePbx::start(healthy).await;
    let mut config = fake.config();
    config.limits.ticket_age_max = Duration::ZERO;
    let client = client(&config);
    let mut slot = client.slot().await;
    let ticket = slot.ticket(&name("a.wav")).await.unwrap();
    let error = slot.download(ticket).await.err().unwrap();
    assert_eq!((error.reason(), error.policy()), (Reason::Ticket, Policy::NewTicket));
    assert_eq!(fake.count("recording/download"), 0);
}

#[tokio::test]
async fn a_slot_serves_further_tickets_after_a_refused_one() {
    let fake = with_downloads(|request| if request.nth < 2 { errno(20012) } else { http(wav(5)) }).await;
    let client = client(&PbxConfig { concurrency: 1, ..fake.config() });
    let mut slot = client.slot().await;
    for _ in 0..2 {
        let ticket = slot.ticket(&name("a.wav")).await.unwrap();
        let error = slot.download(ticket).await.err().unwrap();
        assert_eq!((error.reason(), error.policy()), (Reason::Ticket, Policy::NewTicket));
    }
    let ticket = slot.ticket(&name("a.wav")).await.unwrap();
    slot.download(ticket).await.unwrap();
    assert_eq!(fake.peak(), 1);
}

#[tokio::test]
async fn what_is_no_whole_audio_is_a_failure_of_its_class() {
    let cases: Vec<(Reply, &str, Policy)> = vec![
        (|| errno(20010), "errno_20010", Policy::Retry),
        (|| errno(20014), "missing", Policy::NotThere),
        (|| errno(424242), "errno_other", Policy::Retry),
        (|| http(r#"{"status":"Success"}"#), "json_body", Policy::Retry),
        (|| http("\n<html>504</html>"), "html_body", Policy::Retry),
        (|| http(""), "empty_body", Policy::Retry),
        (|| http("RIFF\0\0"), "truncated", Policy::Retry),
        (|| http("%PDF-1.7 and more bytes"), "not_audio", Policy::Retry),
        (|| http_with_length(500, wav(100)), "truncated", Policy::Retry),
        (|| http_with_length(5000, wav(100)), "oversize", Policy::Retry),
        (|| http(wav(4000)), "oversize", Policy::Retry),
        (|| status("504 Gateway Timeout", "<html>"), "http_504", Policy::Retry),
        (|| status("503 Service Unavailable", ""), "http_503", Policy::Retry),
        (|| status("400 Bad", r#"{"status":"Failed","errno":"20012"}"#), "ticket", Policy::NewTicket),
        (
            || status("302 Found\r\nLocation: https://other.test/x?token=1", ""),
            "redirect",
            Policy::Unconfirmed,
        ),
        (|| vec![Step::Reset], "reset", Policy::Retry),
        (Vec::new, "reset", Policy::Retry),
        (|| vec![Step::Send(b"garbage\r\n\r\n".to_vec())], "protocol", Policy::Retry),
        (|| vec![Step::Send(b"HTTP/1.1 200 OK\r\nServ".to_vec())], "reset", Policy::Retry),
        (|| chunked("64\r\n"), "truncated", Policy::Retry),
        (|| vec![Step::Hang], "timeout", Policy::Retry),
        (|| [http(wav(10)), vec![Step::Hang]].into_iter().flatten().collect(), "stall", Policy::Retry),
        (reset_within_the_body, "reset", Policy::Retry),
        (drip, "slow", Policy::Retry),
    ];
    for (script, reason, policy) in cases {
        let fake = with_downloads(move |_| script()).await;
        let mut config = fake.config();
        config.limits.recording_bytes_max = 2000;
        config.limits.reply_timeout = Duration::from_millis(400);
        config.limits.idle_timeout = Duration::from_millis(150);
        config.limits.throughput_bytes_s_min = 10_000;
        let error = fetch(&client(&config)).await.unwrap_err();
        assert_eq!((error.reason().to_string().as_str(), error.policy()), (reason, policy), "{error}");
    }
}

/// A chunked reply that breaks off.
fn chunked(size: &str) -> Vec<Step> {
    let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}");
    vec![Step::Send([head.as_bytes(), &wav(10)].concat())]
}

fn reset_within_the_body() -> Vec<Step> {
    let mut steps = http_with_length(500, wav(10));
    steps.extend([Step::Pause(Duration::from_millis(50)), Step::Reset]);
    steps
}

fn drip() -> Vec<Step> {
    let mut steps = http(wav(10));
    for _ in 0..10 {
        steps.extend([Step::Pause(Duration::from_millis(60)), Step::Send(vec![7])]);
    }
    steps
}

#[tokio::test]
async fn a_limit_learnt_from_the_header_ends_a_body_that_never_ends() {
    let fake = with_downloads(|_| {
        let chunk = || [Step::Pause(Duration::from_millis(5)), Step::Send(vec![7; 1000])];
        http(wav(10)).into_iter().chain((0..1000).flat_map(|_| chunk())).collect()
    })
    .await;
    let client = client(&fake.config());
    let mut slot = client.slot().await;
    let ticket = slot.ticket(&name("a.wav")).await.unwrap();
    let mut download = slot.download(ticket).await.unwrap();
    assert!(download.next().await.unwrap().unwrap().starts_with(b"RIFF"));
    download.limit(10_000);
    let error = loop {
        match download.next().await {
            Ok(bytes) => assert!(bytes.is_some()),
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Reason::Oversize);
    assert!(download.body.received <= 11_026 + 65_536);
    assert_eq!(download.next().await.unwrap_err().reason(), Reason::Oversize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn downloads_given_up_midway_never_exceed_the_connections() {
    let fake = with_downloads(|request| match request.nth % 6 {
        0..=2 => http(wav(300_000)).into_iter().chain([Step::Hang]).collect(),
        3 | 4 => http_with_length(116, wav(100)),
        _ => vec![Step::Hang],
    })
    .await;
    let mut config = fake.config();
    config.limits.reply_timeout = Duration::from_millis(300);
    let client = client(&config);
    let fetches = (0..60).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut slot = client.slot().await;
            let ticket = slot.ticket(&name("a.wav")).await.unwrap();
            let Ok(mut download) = slot.download(ticket).await else { return 0 };
            download.next().await.unwrap();
            1
        })
    });
    let given_up = futures_util::future::join_all(fetches).await.into_iter().map(Result::unwrap);
    assert_eq!(given_up.sum::<usize>(), 50);
    assert_eq!(fake.peak(), 2);
}

#[tokio::test]
async fn the_device_says_who_it_is_or_has_no_such_call() {
    let fake = FakePbx::start(healthy).await;
    let info = client(&fake.config()).device().await.unwrap().unwrap();
    assert_eq!(
        (info.sn.as_str(), info.firmware.as_deref(), info.name.as_deref()),
        ("3693", Some("30"), Some("S100"))
    );
    assert_eq!(info.system_time.as_deref(), Some("2017-05-24 23:25:20 UTC-8"));
    let fake = FakePbx::start(|request| match request.endpoint() {
        "login" => healthy(request),
        _ => errno(10003),
    })
    .await;
    assert_eq!(client(&fake.config()).device().await.unwrap(), None);
}
