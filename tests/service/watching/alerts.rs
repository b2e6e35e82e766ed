//! Alerts from the first sign of trouble to its end, over channels that fail.

use callvault::base::bell::Bell;
use callvault::http::feed::Delivery;
use callvault::store::findings::FindingKind;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::far_sides::{MailServer, Receiver};
use super::fixture::{Watched, eventually, within};

fn webhook(receiver: &Receiver) -> String {
    format!("[[alerts.webhook]]\nurl = \"{}\"\nsecret_file = \"secret\"\n", receiver.url())
}

fn email(server: &MailServer) -> String {
    format!(
        "[alerts.email]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nusername = \"me\"\npassword_file = \"password\"\n\
         from = \"callvault@example.org\"\nto = [\"you@example.org\", \"Other <other@example.org>\"]\n",
        server.port
    )
}

/// What a message says happened to what.
fn events(message: &Value) -> Vec<String> {
    let alerts = message["data"]["alerts"].as_array().unwrap();
    alerts.iter().map(|alert| format!("{} {} {}", alert["event"], alert["condition"], alert["pbx"])).collect()
}

#[tokio::test]
async fn a_pbx_that_goes_down_is_told_once_again_each_day_and_when_it_is_back() {
    let mut receiver = Receiver::start().await;
    let lines = format!("[alerts]\ndigest = false\nsweep_overdue_after_s = 864000\n{}", webhook(&receiver));
    let watched = Watched::with(&["hq", "lyon"], &lines).await;
    let alerts = watched.alerter();
    watched.breaks("lyon", "unreachable", "pbx `lyon`: no answer; check the network").await;
    alerts.consider(&watched).await;
    watched.pass(14);
    alerts.consider(&watched).await;
    receiver.has_no_more();

    watched.pass(2);
    alerts.consider(&watched).await;
    let message = receiver.next().await;
    assert_eq!(events(&message), ["\"firing\" \"pbx_down\" \"lyon\""]);
    assert_eq!(
        (&message["type"], &message["timestamp"]),
        (&"callvault.alerts".into(), &"2026-03-02T09:16:00Z".into())
    );
    insta::assert_snapshot!(message["data"]["title"].as_str().unwrap(), @"callvault: lyon: pbx down");
    insta::assert_snapshot!(message["data"]["text"].as_str().unwrap(), @r"
    Began:
    - lyon: pbx down (since 2026-03-02 09:00 UTC)
      pbx `lyon`: no answer; check the network
    ");
    for _ in 0..3 {
        watched.pass(5);
        alerts.consider(&watched).await;
    }
    watched.pass(24 * 60);
    alerts.consider(&watched).await;
    assert_eq!(events(&receiver.next().await), ["\"reminder\" \"pbx_down\" \"lyon\""]);

    watched.heals("lyon").await;
    alerts.consider(&watched).await;
    watched.pass(4);
    alerts.consider(&watched).await;
    assert_eq!(watched.standing().await.firing, 1, "it may be down again in a moment");
    watched.pass(2);
    alerts.consider(&watched).await;
    assert_eq!(events(&receiver.next().await), ["\"recovered\" \"pbx_down\" \"lyon\""]);
    assert_eq!(watched.standing().await.firing, 0);
    receiver.has_no_more();
    alerts.ends().await;
}

#[tokio::test]
async fn a_pbx_that_comes_and_goes_does_not_send_two_messages_each_time() {
    let mut receiver = Receiver::start().await;
    let lines = format!("[alerts]\ndigest = false\ndown_after_s = 0\n{}", webhook(&receiver));
    let watched = Watched::with(&["hq"], &lines).await;
    let alerts = watched.alerter();
    for _ in 0..20 {
        watched.breaks("hq", "timeout", "pbx `hq`: no reply").await;
        alerts.consider(&watched).await;
        watched.pass(2);
        watched.heals("hq").await;
        alerts.consider(&watched).await;
        watched.pass(2);
    }
    receiver.next().await;
    receiver.has_no_more();
    alerts.ends().await;
}

#[tokio::test]
async fn a_thousand_stuck_recordings_and_conflicts_are_one_message() {
    let mut receiver = Receiver::start().await;
    let lines = format!("[alerts]\ndigest = false\n{}", webhook(&receiver));
    let watched = Watched::with(&["hq"], &lines).await;
    let alerts = watched.alerter();
    watched.queues("hq", "stuck", "json_body", 1000).await;
    for number in 0..100 {
        let subject = format!("hq/2026/03/01/{number}.wav");
        watched.finds("hq", FindingKind::Conflict, &subject, "two contents").await;
    }
    alerts.consider(&watched).await;
    let message = receiver.next().await;
    assert_eq!(events(&message).len(), 2, "{message}");
    insta::assert_snapshot!(message["data"]["text"].as_str().unwrap(), @r"
    Began:
    - hq: stuck (since 2026-03-02 09:00 UTC)
      1000 stuck: the PBX sent something else instead of audio, such as stuck-00001.wav; run the backfill again; to ask at once for what is stuck, run `callvault retry --stuck`
    - hq: conflict (since 2026-03-02 09:00 UTC)
      hq/2026/03/01/99.wav: two contents; both files are kept: compare them, then note with `callvault retry --pbx hq` that you have
    ");
    alerts.consider(&watched).await;
    receiver.has_no_more();
    alerts.ends().await;
}

#[tokio::test]
async fn what_cannot_be_delivered_is_tried_again_and_shown_and_blocks_nothing() {
    let (mut receiver, mut server) = (Receiver::start().await, MailServer::start().await);
    receiver.set_broken(true);
    server.set_broken(true);
    let lines = format!("[alerts]\ndigest = false\n{}{}", webhook(&receiver), email(&server));
    let watched = Watched::with(&["hq"], &lines).await;
    let alerts = watched.alerter();
    watched.breaks("hq", "password_refused", "pbx `hq`: user or password refused").await;
    alerts.consider(&watched).await;
    eventually("both have failed", || async {
        let attempts: i64 = sqlx::query_scalar("select sum(attempts) from outbox")
            .fetch_one(&mut *watched.db.read().await.unwrap())
            .await
            .unwrap();
        attempts >= 2
    })
    .await;
    watched.pass(30);
    let standing = watched.standing().await;
    assert_eq!((standing.firing, standing.undelivered), (1, 2));
    let age = watched.clock.now().duration_since(standing.oldest_undelivered.unwrap());
    assert_eq!(age.as_secs() / 60, 30);
    let page = callvault::cli::status_page::of(&watched.status().await, false);
    let told = page.lines().find(|line| line.contains("not delivered")).unwrap();
    insta::assert_snapshot!(told, @"  WRONG: 2 alert messages not delivered, the oldest from 30 min ago (2026-03-02 09:00 UTC); webhook 1 (127.0.0.1): 127.0.0.1 answered with HTTP status 500 Internal Server Error");
    assert!(!page.contains("hunter2"), "{page}");

    // Both work again, and get what they missed. Time goes on: a try that was under way may have failed once more.
    receiver.set_broken(false);
    server.set_broken(false);
    eventually("nothing is on its way", || async {
        watched.pass(1);
        watched.standing().await.undelivered == 0
    })
    .await;
    assert_eq!(events(&receiver.next().await), ["\"firing\" \"password_refused\" \"hq\""]);
    let mail = server.next().await;
    assert!(mail.contains("Subject: callvault: hq: password refused\n"), "{mail}");
    assert!(mail.contains("To: you@example.org, Other <other@example.org>\n"), "{mail}");
    assert!(mail.contains("user or password refused"), "{mail}");
    alerts.ends().await;
}

#[tokio::test]
async fn a_message_that_nobody_takes_for_days_is_given_up() {
    let receiver = Receiver::start().await;
    receiver.set_broken(true);
    let lines = format!("[alerts]\ndigest = false\n{}", webhook(&receiver));
    let watched = Watched::with(&["hq"], &lines).await;
    let alerts = watched.alerter();
    watched.breaks("hq", "password_refused", "pbx `hq`: refused").await;
    alerts.consider(&watched).await;
    eventually("it failed", || async { watched.standing().await.last_error.is_some() }).await;
    watched.pass(3 * 24 * 60 + 1);
    eventually("it is given up", || async { watched.standing().await.undelivered == 0 }).await;
    assert!(receiver.requests() >= 1);
    alerts.ends().await;
}

#[tokio::test]
async fn the_digest_comes_once_a_day_at_its_hour_and_says_that_all_is_well() {
    let mut receiver = Receiver::start().await;
    let lines = format!(
        "[alerts]\ntimezone = \"Asia/Tokyo\"\ndigest_hour = 20\nsweep_overdue_after_s = 31536000\n{}",
        webhook(&receiver)
    );
    let watched = Watched::with(&["hq", "lyon"], &lines).await;
    watched.queues("lyon", "pending", "", 3).await;
    let alerts = watched.alerter();
    // It is 18:00 in Tokyo.
    alerts.consider(&watched).await;
    watched.set("2026-03-02T10:59:00Z");
    alerts.consider(&watched).await;
    receiver.has_no_more();
    watched.set("2026-03-02T11:00:00Z");
    alerts.consider(&watched).await;
    let message = receiver.next().await;
    assert_eq!(message["type"], "callvault.digest");
    assert_eq!(message["data"]["title"], "callvault: 2 PBXs, all well");
    let text = message["data"]["text"].as_str().unwrap();
    assert!(text.contains("lyon  0, 3, 0, 0, 0"), "{text}");
    // The day ends later than the clock says, for it is put back.
    for time in
        ["2026-03-02T14:59:00Z", "2026-03-02T10:30:00Z", "2026-03-02T12:00:00Z", "2026-03-03T10:00:00Z"]
    {
        watched.set(time);
        alerts.consider(&watched).await;
    }
    receiver.has_no_more();
    watched.set("2026-03-03T11:00:01Z");
    alerts.consider(&watched).await;
    receiver.next().await;
    // A clock that was a year ahead does not silence the digest for a year.
    watched.set("2027-03-03T12:00:00Z");
    alerts.consider(&watched).await;
    receiver.next().await;
    watched.set("2026-03-04T12:00:00Z");
    alerts.consider(&watched).await;
    receiver.next().await;
    receiver.has_no_more();
    alerts.ends().await;
}

#[tokio::test]
async fn good_cycles_ping_at_most_once_a_minute_and_a_failure_is_shown() {
    let receiver = Receiver::start().await;
    receiver.set_broken(true);
    let watched = Watched::with(&["hq"], &format!("[alerts]\nping_url = \"{}\"\n", receiver.url())).await;
    let alerts = watched.alerter();
    for _ in 0..5 {
        alerts.alerter.ping_ok();
    }
    eventually("the failure is shown", || async { watched.standing().await.ping_error.is_some() }).await;
    alerts.alerter.ping_ok();
    insta::assert_snapshot!(watched.standing().await.ping_error.unwrap(), @"127.0.0.1 answered with HTTP status 500 Internal Server Error");
    assert_eq!(receiver.requests(), 1);
    alerts.ends().await;

    receiver.set_broken(false);
    let alerts = watched.alerter();
    alerts.alerter.ping_ok();
    eventually("it is reached", || async { watched.standing().await.ping_error.is_none() }).await;
    alerts.ends().await;
}

#[tokio::test]
async fn a_far_side_that_never_answers_holds_up_neither_news_nor_the_end() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let mut receiver = Receiver::start().await;
    let lines = format!(
        "[alerts]\ndigest = false\nping_url = \"http://{address}/hunter2\"\n\
         [[alerts.webhook]]\nurl = \"http://{address}/hunter2\"\nsecret_file = \"secret\"\n{}",
        webhook(&receiver)
    );
    let watched = Watched::with(&["hq"], &lines).await;
    let alerts = watched.alerter();
    alerts.alerter.ping_ok();
    watched.breaks("hq", "password_refused", "pbx `hq`: refused").await;
    alerts.consider(&watched).await;
    receiver.next().await;
    eventually("one is delivered", || async { watched.standing().await.undelivered == 1 }).await;
    alerts.ends().await;
    assert_eq!(watched.standing().await.undelivered, 1, "it is tried again by the next run");
}

#[tokio::test]
async fn where_nothing_listens_no_address_is_told() {
    let lines = "[alerts]\nping_url = \"http://127.0.0.1:1/hunter2?token=hunter2\"\n";
    let watched = Watched::with(&["hq"], lines).await;
    let alerts = watched.alerter();
    alerts.alerter.ping_ok();
    eventually("it failed", || async { watched.standing().await.ping_error.is_some() }).await;
    let error = watched.standing().await.ping_error.unwrap();
    insta::assert_snapshot!(error, @"127.0.0.1 cannot be reached (Connection refused (os error 111))");
    alerts.ends().await;
}

#[tokio::test]
async fn messages_of_channels_that_are_gone_are_dropped() {
    let receiver = Receiver::start().await;
    receiver.set_broken(true);
    let lines = format!("[alerts]\ndigest = false\n{}", webhook(&receiver));
    let mut watched = Watched::with(&["hq"], &lines).await;
    let alerts = watched.alerter();
    watched.breaks("hq", "locked_out", "pbx `hq`: locked out").await;
    alerts.consider(&watched).await;
    eventually("it failed", || async { watched.standing().await.last_error.is_some() }).await;
    alerts.ends().await;
    watched.config.alerts.webhook.clear();
    let alerts = watched.alerter();
    eventually("it is dropped", || async { watched.standing().await.undelivered == 0 }).await;
    alerts.ends().await;
}

#[tokio::test]
async fn a_webhook_of_the_feed_that_fails_is_told_after_an_hour_and_when_it_takes_again() {
    let (mut receiver, mut reader) = (Receiver::start().await, Receiver::start().await);
    reader.set_broken(true);
    let lines = format!(
        "[alerts]\ndigest = false\n{}[feed]\n[[feed.webhook]]\nname = \"siem\"\nurl = \"{}\"\nsecret_file = \"secret\"\n",
        webhook(&receiver),
        reader.url()
    );
    let watched = Watched::with(&["hq"], &lines).await;
    watched.signs_an_entry().await;
    let delivery =
        Delivery::new(&watched.config.feed.webhook[0], watched.db.clone(), watched.clock.clone()).unwrap();
    let stop = CancellationToken::new();
    let delivering = tokio::spawn({
        let stop = stop.clone();
        async move { delivery.run(&Bell::default(), &stop).await }
    });
    let alerts = watched.alerter();
    let fails = || async { watched.status().await.feed_webhooks[0].error.is_some() };
    eventually("it fails", fails).await;
    watched.pass(59);
    alerts.consider(&watched).await;
    receiver.has_no_more();
    watched.pass(2);
    alerts.consider(&watched).await;
    let message = receiver.next().await;
    assert_eq!(events(&message), ["\"firing\" \"feed_webhook_failing\" null"]);
    insta::assert_snapshot!(message["data"]["text"].as_str().unwrap(), @r"
    Began:
    - feed webhook failing (since 2026-03-02 09:00 UTC)
      the webhook `siem` has accepted no entry of the feed for more than an hour: 127.0.0.1 answered with HTTP status 500 Internal Server Error; check the receiver and `url`: delivery is retried, and no entry is skipped
    ");
    assert!(!message.to_string().contains("hunter2"), "{message}");

    reader.set_broken(false);
    assert_eq!(reader.next().await, 1);
    eventually("it does not fail", || async { !fails().await }).await;
    alerts.consider(&watched).await;
    watched.pass(6);
    alerts.consider(&watched).await;
    assert_eq!(events(&receiver.next().await), ["\"recovered\" \"feed_webhook_failing\" null"]);
    stop.cancel();
    within("the delivery ends", delivering).await.unwrap().unwrap();
    alerts.ends().await;
}

/// Others on the machine can read a secret, or write the configuration: the service goes on, and tells of it.
#[tokio::test]
async fn what_is_open_to_others_is_told_with_the_command_and_over_when_it_was_run() {
    use std::os::unix::fs::PermissionsExt as _;

    let mut receiver = Receiver::start().await;
    let watched = Watched::with(&["hq"], &format!("[alerts]\ndigest = false\n{}", webhook(&receiver))).await;
    let alerts = watched.alerter();
    alerts.consider(&watched).await;
    receiver.has_no_more();

    let set_mode = |name: &str, mode| {
        let file = watched.config.file.with_file_name(name);
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode("password", 0o640);
    set_mode("callvault.toml", 0o646);
    alerts.consider(&watched).await;
    let message = receiver.next().await;
    let mut told = events(&message);
    told.sort();
    assert_eq!(told, ["\"firing\" \"secret_readable\" null", "\"firing\" \"writable_by_others\" null"]);
    insta::assert_snapshot!(watched.redact(message["data"]["text"].as_str().unwrap()), @r"
    Began:
    - secret readable (since 2026-03-02 09:00 UTC)
      its group can read the secret in DIR/password: fix it with `sudo chmod 600 DIR/password`
    - writable by others (since 2026-03-02 09:00 UTC)
      everyone on this machine can write to the configuration, DIR/callvault.toml: fix it with `sudo chmod go-w DIR/callvault.toml`
    ");

    set_mode("password", 0o600);
    set_mode("callvault.toml", 0o644);
    alerts.consider(&watched).await;
    watched.pass(6);
    alerts.consider(&watched).await;
    let mut told = events(&receiver.next().await);
    told.sort();
    assert_eq!(told, ["\"recovered\" \"secret_readable\" null", "\"recovered\" \"writable_by_others\" null"]);
    alerts.ends().await;
}
