//! The CDR reading against scripted connections.

use std::time::Duration;

use jiff::civil::{DateTime, date};

use super::fake::*;
use crate::config::{ApiVersion, Generation};
use crate::pbx::Policy;
use crate::pbx::s_series::*;

fn day() -> (DateTime, DateTime) {
    (date(2024, 3, 1).at(0, 0, 0, 0), date(2024, 3, 1).at(23, 59, 59, 0))
}

async fn read(config: &PbxConfig) -> Result<Option<String>, PbxError> {
    let (from, to) = day();
    let client = PbxClient::new(config).unwrap();
    let reading = tokio::spawn(async move { client.slot().await.cdr(from, to).await });
    let Some(mut body) = reading.await.unwrap()? else { return Ok(None) };
    let mut csv = Vec::new();
    while let Some(bytes) = body.next().await? {
        csv.extend_from_slice(&bytes);
    }
    Ok(Some(String::from_utf8(csv).unwrap()))
}

async fn with_cdr(script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static) -> FakePbx {
    FakePbx::start(move |request| match request.endpoint() {
        "cdr/download" => script(request),
        _ => healthy(request),
    })
    .await
}

#[tokio::test]
async fn each_version_asks_in_its_own_words() {
    let csv = "callid,timestart\n1.1,2024-03-01 12:05:02\n";
    for (generation, key) in
        [(Generation::V1_1, "extid"), (Generation::Compatible, "extid"), (Generation::V2, "number")]
    {
        let expected =
            format!(r#"{{"endtime":"2024-03-01 23:59:59","{key}":"all","starttime":"2024-03-01 00:00:00"}}"#);
        let fake = FakePbx::start(move |request| match request.endpoint() {
            "cdr/get_random" => {
                let asked: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
                assert_eq!(asked, serde_json::from_str::<serde_json::Value>(&expected).unwrap());
                healthy(request)
            }
            _ => healthy(request),
        })
        .await;
        let mut config = fake.config();
        config.api_version = ApiVersion { segment: "v9".to_owned(), generation };
        assert_eq!(read(&config).await.unwrap().as_deref(), Some(csv));
        let query = format!(
            "{key}=all&starttime=2024-03-01%2000%3A00%3A00&endtime=2024-03-01%2023%3A59%3A59&token={TOKEN}0&random={RANDOM}0"
        );
        assert!(fake.heads("cdr/download")[0].contains(&query), "{:?}", fake.heads("cdr/download"));
    }
}

#[tokio::test]
async fn no_calls_in_the_range_is_no_error_at_either_stage() {
    let fake = with_cdr(|_| errno(20021)).await;
    assert_eq!(read(&fake.config()).await.unwrap(), None);
    let fake = FakePbx::start(|request| match request.endpoint() {
        "cdr/get_random" => errno(20021),
        _ => healthy(request),
    })
    .await;
    assert_eq!(read(&fake.config()).await.unwrap(), None);
}

#[tokio::test]
async fn version_1_0_has_no_cdr_and_is_not_asked() {
    let fake = FakePbx::start(healthy).await;
    let mut config = fake.config();
    config.api_version = ApiVersion { segment: "v1.0.1".to_owned(), generation: Generation::V1_0 };
    let error = read(&config).await.unwrap_err();
    assert_eq!((error.reason(), error.policy()), (Reason::Unsupported, Policy::Operator));
    assert_eq!(fake.count("login"), 0);
}

#[tokio::test]
async fn an_expired_ticket_is_replaced_twice() {
    let fake = with_cdr(|request| if request.nth < 2 { errno(20020) } else { healthy(request) }).await;
    assert!(read(&fake.config()).await.unwrap().is_some());
    let fake = with_cdr(|_| errno(20020)).await;
    assert_eq!(read(&fake.config()).await.unwrap_err().reason(), Reason::Ticket);
    assert_eq!(fake.count("cdr/get_random"), 3);
}

#[tokio::test]
async fn a_range_that_is_too_much_can_be_told_from_other_failures() {
    let cases: Vec<(Reply, Reason, bool)> = vec![
        (|| status("504 Gateway Timeout", "<html>"), Reason::Http(504), true),
        (|| vec![Step::Hang], Reason::Timeout, true),
        (|| http(vec![b'x'; 5000]), Reason::Oversize, true),
        (|| http("<html>"), Reason::HtmlBody, false),
        (|| http(""), Reason::EmptyBody, false),
        (|| http_with_length(900, "callid"), Reason::Truncated, false),
    ];
    for (script, reason, is_too_much) in cases {
        let fake = with_cdr(move |_| script()).await;
        let mut config = fake.config();
        config.limits.cdr_timeout = Duration::from_millis(200);
        config.limits.cdr_bytes_max = 2000;
        let error = read(&config).await.unwrap_err();
        assert_eq!((error.reason(), error.is_too_much_at_once()), (reason, is_too_much), "{error}");
    }
}
