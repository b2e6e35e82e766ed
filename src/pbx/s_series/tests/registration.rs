//! What a PBX is told of our listener, and when.

use std::sync::{Arc, Mutex};

use url::Host;

use super::fake::*;
use super::{client, fetch};
use crate::config::{PushAddress, PushMode};
use crate::pbx::s_series::*;

fn over_http(host: Option<Host>) -> PushMode {
    PushMode::Http(PushAddress { host, port: 8260, path: "hq".to_owned() })
}

/// The bodies of logins and heartbeats that a PBX with `push` and `version` gets from a fetch and a heartbeat.
async fn told(version: &str, push: PushMode) -> Vec<String> {
    let bodies: Arc<Mutex<Vec<String>>> = Arc::default();
    let fake = FakePbx::start({
        let bodies = Arc::clone(&bodies);
        move |request| {
            if matches!(request.endpoint(), "login" | "heartbeat") {
                bodies.lock().unwrap().push(String::from_utf8(request.body.clone()).unwrap());
            }
            healthy(request)
        }
    })
    .await;
    let mut config = PbxConfig { push, ..fake.config() };
    config.api_version = version.parse().unwrap();
    let client = client(&config);
    fetch(&client).await.unwrap();
    client.heartbeat().await.unwrap();
    let bodies = bodies.lock().unwrap();
    bodies.iter().map(|body| body.replace(PASSWORD_MD5, "MD5")).collect()
}

#[tokio::test]
async fn with_push_off_nothing_is_told_and_no_heartbeat_sent() {
    assert_eq!(told("v1.1.0", PushMode::Off).await, [r#"{"password":"MD5","username":"api"}"#]);
    assert_eq!(
        told("v2.0.0", PushMode::Tcp { port: 8333 }).await,
        [r#"{"password":"MD5","username":"api"}"#]
    );
}

#[tokio::test]
async fn with_push_over_http_login_and_heartbeat_name_the_listener() {
    let here = || Some(Host::Ipv4([192, 0, 2, 20].into()));
    for (version, host, listener, ip) in [
        ("v1.1.0", None, r#""port":"8260","url":"hq","urltag":"0""#, "127.0.0.1"),
        ("v1.1.0", here(), r#""port":"8260","url":"192.0.2.20:8260/hq","urltag":"1""#, "192.0.2.20"),
        ("v2.0.0", here(), r#""port":"8260","url":"192.0.2.20:8260/hq","urltag":"1""#, "192.0.2.20"),
        ("v0.0.1", None, r#""port":"8260","url":"hq","urltag":0"#, "127.0.0.1"),
    ] {
        let form = if version == "v2.0.0" { "2.0.0" } else { "1.0.2" };
        let urls = listener.split_once(',').unwrap();
        let expected = [
            format!(r#"{{"password":"MD5",{},{},"username":"api","version":"{form}"}}"#, urls.0, urls.1),
            format!(r#"{{"ipaddr":"{ip}",{listener},"version":"{form}"}}"#),
        ];
        assert_eq!(told(version, over_http(host)).await, expected);
    }
}

#[tokio::test]
async fn a_heartbeat_with_a_token_that_is_gone_logs_in() {
    let fake = FakePbx::start(|request| match request.endpoint() {
        "heartbeat" if request.head.contains(&format!("{TOKEN}0")) => errno(20004),
        _ => healthy(request),
    })
    .await;
    let client = client(&PbxConfig { push: over_http(None), ..fake.config() });
    client.heartbeat().await.unwrap();
    assert_eq!((fake.count("login"), fake.count("heartbeat")), (2, 2));
    let token = client.slot().await.session(None).await.unwrap();
    client.shared.session.forget(&token).await;
    client.heartbeat().await.unwrap();
    assert_eq!((fake.count("login"), fake.count("heartbeat")), (3, 3));
}
