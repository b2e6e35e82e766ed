//! The one session against scripted connections.

use std::time::Duration;

use super::fake::*;
use super::{client, fetch, with_downloads};
use crate::pbx::Policy;
use crate::pbx::s_series::*;

#[tokio::test]
async fn a_login_sends_the_md5_and_a_port_only_if_configured() {
    for (port, expected) in [
        (None, format!(r#"{{"password":"{PASSWORD_MD5}","username":"api"}}"#)),
        (Some(8260), format!(r#"{{"password":"{PASSWORD_MD5}","port":"8260","username":"api"}}"#)),
    ] {
        let fake = FakePbx::start(move |request| match request.endpoint() {
            "login" if request.body != expected.as_bytes() => errno(20003),
            _ => healthy(request),
        })
        .await;
        let config = PbxConfig { login_port: port, ..fake.config() };
        fetch(&client(&config)).await.unwrap();
    }
}

#[tokio::test]
async fn a_revoked_token_costs_one_login_however_many_requests_meet_it() {
    let fake = FakePbx::start(|request| match request.endpoint() {
        "recording/get_random" if request.head.contains(&format!("{TOKEN}0")) => errno(20006),
        _ => healthy(request),
    })
    .await;
    let config = PbxConfig { concurrency: 4, ..fake.config() };
    let client = client(&config);
    let fetches = (0..12).map(|_| fetch(&client));
    for outcome in futures_util::future::join_all(fetches).await {
        assert_eq!(outcome.unwrap(), wav(100));
    }
    assert_eq!(fake.count("login"), 2);
    assert!(fake.peak() <= 4, "{}", fake.peak());
}

#[tokio::test]
async fn a_token_revoked_before_the_download_asks_for_a_new_ticket_and_one_login() {
    let fake = with_downloads(|request| if request.nth == 0 { errno(20004) } else { http(wav(100)) }).await;
    let client = client(&fake.config());
    assert_eq!(fetch(&client).await.unwrap_err().policy(), Policy::LogIn);
    fetch(&client).await.unwrap();
    assert_eq!((fake.count("login"), fake.count("recording/get_random")), (2, 2));
}

#[tokio::test]
async fn a_session_refused_for_ever_ends_after_a_few_logins() {
    let fake = FakePbx::start(|request| match request.endpoint() {
        "login" => healthy(request),
        _ => errno(20004),
    })
    .await;
    let error = fetch(&client(&fake.config())).await.unwrap_err();
    assert_eq!((error.reason(), error.policy()), (Reason::Errno(20004), Policy::LogIn));
    assert!(fake.count("login") <= 4);
}

#[tokio::test]
async fn a_refused_password_is_not_sent_again() {
    let fake = FakePbx::start(|_| errno(20003)).await;
    let client = client(&fake.config());
    for _ in 0..3 {
        let error = fetch(&client).await.unwrap_err();
        assert_eq!((error.reason(), error.policy()), (Reason::PasswordRefused, Policy::Operator));
        assert_eq!(
            error.to_string(),
            "pbx `hq`: user or password refused; correct `username` or the password in /etc/callvault/hq-password, \
             then `callvault retry --pbx hq`"
        );
    }
    assert_eq!(fake.count("login"), 1);
}

#[tokio::test]
async fn nothing_is_asked_of_a_pbx_that_locked_us_out_until_the_time_is_over() {
    for endpoint in ["login", "recording/get_random", "recording/download"] {
        let fake = FakePbx::start(move |request| match (request.endpoint(), request.nth) {
            (asked, 0) if asked == endpoint => errno(20002),
            _ => healthy(request),
        })
        .await;
        let mut config = fake.config();
        config.limits.lockout_wait = Duration::from_millis(200);
        let client = client(&config);
        let asked = std::time::Instant::now();
        for _ in 0..2 {
            let error = fetch(&client).await.unwrap_err();
            assert_eq!((error.reason(), error.policy()), (Reason::LockedOut, Policy::WaitOutLockout));
        }
        assert_eq!(fake.count(endpoint), 1);
        while let Err(error) = fetch(&client).await {
            assert_eq!(error.policy(), Policy::WaitOutLockout);
            assert!(asked.elapsed() < Duration::from_secs(2), "it is over by now");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(asked.elapsed() >= Duration::from_millis(200));
        assert_eq!(fake.count("login"), if endpoint == "login" { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_pbx_that_wants_a_port_says_which_key_to_set() {
    let fake = FakePbx::start(|_| errno(10004)).await;
    let error = fetch(&client(&fake.config())).await.unwrap_err();
    assert_eq!(error.policy(), Policy::Operator);
    assert!(error.to_string().contains("set `login_port`"), "{error}");
}
