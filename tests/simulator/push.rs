//! Reports as a device sends them: again until they are accepted, only while a token lives, and not always in order.

use std::time::Duration;

use callvault::simulator::{Profile, PushCounters, PushOptions, SimAudio, SimCall, Simulator};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::wire::{Client, get, post, start, wait_until};

fn call(name: &str) -> SimCall {
    SimCall::recorded(Timestamp::from_second(1_711_890_000).unwrap(), 7, name, SimAudio::pcm(2000, 7))
}

/// A device that reports to a listener, and that listener.
async fn reporting(change: impl FnOnce(&mut PushOptions)) -> (Simulator, Client, TcpListener) {
    let simulator = start(|options| change(&mut options.push)).await;
    let client = Client::new(&simulator, "v1.1.0");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    client.post("heartbeat", format!(r#"{{"port":"{port}","url":"x","version":"1.0.2"}}"#));
    (simulator, client, listener)
}

/// Accepts a report and answers it.
async fn answer(listener: &TcpListener, status: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"}") {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
    }
    stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_sent_again_until_it_is_answered_200_but_not_for_ever() {
    let (simulator, _client, listener) = reporting(|push| {
        push.resends_max = 2;
        push.resend_after = Duration::from_millis(1);
    })
    .await;
    simulator.end_call(call("a.wav"));
    let first = answer(&listener, "500 No").await;
    assert!(first.starts_with("POST /x HTTP/1.1\r\nUser-Agent: WebAPI\r\n"), "{first}");
    assert!(first.contains(r#"{"action":"NewCdr","callid":"1711890000.7""#), "{first}");
    assert_eq!(answer(&listener, "200 OK").await, first);
    wait_until(|| simulator.push_counters().accepted == 1).await;
    simulator.end_call(call("b.wav"));
    for _ in 0..3 {
        answer(&listener, "403 Forbidden").await;
    }
    wait_until(|| simulator.push_counters().given_up == 1).await;
    assert_eq!(simulator.push_counters().refused, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_needs_a_token_that_lives_and_keeps_it_alive() {
    let (simulator, client, listener) = reporting(|_| {}).await;
    simulator.advance(Duration::from_secs(1799));
    simulator.end_call(call("a.wav"));
    answer(&listener, "200 OK").await;
    simulator.advance(Duration::from_secs(1799));
    assert_eq!(client.post("deviceinfo/query", "").errno(), "", "the report was an interaction");
    simulator.advance(Duration::from_secs(1800));
    simulator.end_call(call("b.wav"));
    wait_until(|| simulator.push_counters().unwanted == 1).await;
    simulator.reboot();
    let report = answer(&listener, "200 OK").await;
    assert!(report.contains(r#"{"action":"BootUp","sn":"#), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_can_be_lost() {
    let (simulator, _client, _listener) = reporting(|push| push.dropped = 1.0).await;
    for _ in 0..3 {
        simulator.end_call(call("a.wav"));
    }
    wait_until(|| simulator.push_counters().dropped == 3).await;
    assert_eq!(simulator.push_counters(), PushCounters { dropped: 3, ..PushCounters::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_can_come_before_its_row_and_its_row_before_its_file() {
    let (simulator, client, listener) = reporting(|push| {
        push.row_after = Duration::from_millis(300);
        push.file_after = Duration::from_millis(600);
    })
    .await;
    let is_listed = || {
        let day = client.cdr("2024-03-31 00:00:00", "2024-03-31 23:59:59");
        day.text().contains("late.wav")
    };
    simulator.end_call(call("late.wav"));
    answer(&listener, "200 OK").await;
    assert!(!is_listed());
    wait_until(is_listed).await;
    assert_eq!(client.ticket(b"late.wav").errno(), "20014");
    wait_until(|| client.ticket(b"late.wav").errno().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_ends_a_call_and_reads_who_registered() {
    let (simulator, _client, listener) = reporting(|_| {}).await;
    let address = simulator.address();
    let name = post(address, "/simulator/call", "").text();
    assert!(answer(&listener, "200 OK").await.contains(name.trim()), "{name}");
    assert!(
        simulator
            .truth()
            .iter()
            .any(|truth| format!("{:?}", String::from_utf8_lossy(&truth.name)) == name.trim())
    );
    let registrations = get(address, "/simulator/registrations").text();
    assert!(registrations.starts_with(r#"{"by":"heartbeat","from":"127.0.0.1","ipaddr":null,"port":"#));
    wait_until(|| simulator.push_counters().accepted == 1).await;
    assert!(get(address, "/simulator/push").text().starts_with(r#"{"accepted":1,"refused":0,"#));
}

/// Logs in for an event stream, and returns the first line of the answer.
async fn follow(simulator: &Simulator) -> (TcpStream, String) {
    let port = simulator.stream_port().unwrap();
    let mut stream = TcpStream::connect((simulator.address().ip(), port)).await.unwrap();
    let login = b"Action: login\r\nUsername: api\r\nSecret: c126898b13a07ab1dc3015408053a5d2\r\n\r\n";
    stream.write_all(login).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") && stream.read_buf(&mut answer).await.is_ok_and(|count| count > 0) {}
    let answer = String::from_utf8(answer).unwrap().lines().next().unwrap_or_default().to_owned();
    (stream, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_ends_event_streams_and_holds_reports_back() {
    let (simulator, _client, listener) = reporting(|push| {
        push.resends_max = 10_000;
        push.resend_after = Duration::from_millis(1);
    })
    .await;
    simulator.set_down(true).await.unwrap();
    simulator.end_call(call("a.wav"));
    wait_until(|| simulator.push_counters().refused >= 3).await;
    simulator.set_down(false).await.unwrap();
    answer(&listener, "200 OK").await;
    wait_until(|| simulator.push_counters().accepted == 1).await;

    let simulator = start(|options| {
        options.profile = Profile::V2;
        options.push.stream_port = Some(0);
    })
    .await;
    let (mut stream, answer) = follow(&simulator).await;
    assert_eq!(answer, "Response: Success");
    simulator.set_down(true).await.unwrap();
    assert!(stream.read_u8().await.is_err(), "it is reset");
    simulator.set_down(false).await.unwrap();
    assert_eq!(follow(&simulator).await.1, "Response: Success");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_asks_for_the_password_of_now() {
    let simulator = start(|options| {
        options.profile = Profile::V2;
        options.push.stream_port = Some(0);
    })
    .await;
    simulator.alter_faults(|faults| faults.password = Some("Changed1".to_owned()));
    assert_eq!(follow(&simulator).await.1, "Response: Error");
    simulator.alter_faults(|faults| faults.password = None);
    assert_eq!(follow(&simulator).await.1, "Response: Success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_ends_now_is_listed_at_once_on_a_device_that_lives() {
    let simulator = start(|options| options.live = true).await;
    let name = post(simulator.address(), "/simulator/call", "").text();
    let name = name.trim().trim_matches('"').to_owned();
    let is_listed =
        simulator.world(|world| world.all_rows().iter().any(|row| row.recording == name.as_bytes()));
    assert!(is_listed, "{name}");
}
