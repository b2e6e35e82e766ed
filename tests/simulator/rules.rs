//! The rules that hold without a fault.

use std::collections::BTreeMap;
use std::time::Duration;

use callvault::base::digest::Digest;
use callvault::simulator::{Faults, Profile};

use crate::wire::{
    Client, PASSWORD_MD5, exchange, first_name, from_elsewhere, get, login, post, read_wav, start,
};

/// The recording that the compatible device's documents name.
const DOCUMENTED: &str = "exten-101-106-20200505-042135-1588641695.1772.wav";

#[tokio::test(flavor = "multi_thread")]
async fn every_request_printed_in_the_documents_gives_the_reply_printed_there() {
    let simulator = start(|options| {
        options.profile = Profile::Compatible;
        options.preset_tokens = [
            "813b621cfe8eecf445a2ce1f4a079ffe",
            "1e3b3ebb6a974cb42ed31de5413df52d",
            "1733765a8f15fef25c90075c394e6b45",
        ]
        .map(str::to_owned)
        .to_vec();
        options.preset_randoms = [
            "fc19203cddc1d7846c2236f9eafe826b",
            "70f477822e6a379d7359b2d926ea95a5",
            "1c574a38b96a0a94fe631208ce30ae53",
            "385d9c3cdf0fd31b90887d1b5815151b",
        ]
        .map(str::to_owned)
        .to_vec();
    })
    .await;
    let address = simulator.address();
    let truth: BTreeMap<_, _> =
        simulator.truth().into_iter().map(|truth| (truth.name, truth.sha256)).collect();
    let head = "HTTP/1.1 200 OK\r\nAccess-control-allow-origin: *\r\nAccess-control-allow-methods: GET, POST, OPTIONS, PUT, DELETE\r\n\r\n";
    let printed = "POST /api/v0.0.1/recording/get_random?token=813b621cfe8eecf445a2ce1f4a079ffe HTTP/1.1\n\
            Content-Type:application/json; charset=utf-8\nHost: 172.16.6.150\n\
            {\n\t\"recording\":\"exten-101-106-20200505-042135-1588641695.1772.wav\",\n\t\"allowedip\":\"172.16.6.150\"\n}\n";
    let reply = exchange(address, printed.as_bytes()).unwrap();
    assert_eq!(reply.head, head);
    assert_eq!(
        reply.text(),
        "{\n    \"status\": \"Success\",\n    \"recording\": \"exten-101-106-20200505-042135-1588641695.1772.wav\",\n    \"random\": \"fc19203cddc1d7846c2236f9eafe826b\"\n}"
    );
    let body = "{\n    \"extid\": \"1004\",\n    \"voicemailfile\": \"msg0000.wav\",\n}";
    let printed = format!(
        "POST /api/v1.1.0/voicemail/get_random?token=1e3b3ebb6a974cb42ed31de5413df52d HTTP/1.1\r\n\
            Content-Type:application/json; charset=utf-8\r\nHost: 192.168.5.150\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let reply = exchange(address, printed.as_bytes()).unwrap();
    assert_eq!(reply.head, head);
    assert_eq!(
        reply.text(),
        "{\n    \"status\": \"Success\",\n    \"extid\": \"1004\",\n    \"voicemailfile\": \"msg0000.wav\",\n    \"random\": \"70f477822e6a379d7359b2d926ea95a5\"\n}"
    );
    // The tickets of the printed links, asked for under the other version and with `type`.
    let token = "1733765a8f15fef25c90075c394e6b45";
    post(
        address,
        &format!("/api/v0.0.1/recording/get_random?token={token}&type=json"),
        format!("{{\"recording\":\"{DOCUMENTED}\"}}"),
    );
    post(
        address,
        &format!("/api/v0.0.1/voicemail/get_random?token={token}&type=xml"),
        "{\"extid\":102,\"voicemailfile\":\"msg0001.wav\"}",
    );
    let audio = get(
        address,
        "/api/v1.1.0/recording/download?recording=exten-101-106-20200505-042135-1588641695.1772.wav&random=1c574a38b96a0a94fe631208ce30ae53&token=1733765a8f15fef25c90075c394e6b45",
    );
    assert_eq!(Digest::of(&audio.body), truth[DOCUMENTED.as_bytes()]);
    let message = get(
        address,
        "/api/v1.1.0/voicemail/download?extid=102&token=1733765a8f15fef25c90075c394e6b45&voicemailfile=msg0001.wav&random=385d9c3cdf0fd31b90887d1b5815151b",
    );
    assert_eq!(read_wav(&message.body).format, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_has_the_servers_headers_and_no_length_unless_asked() {
    for content_length in [false, true] {
        let simulator = start(|options| options.content_length = content_length).await;
        let address = simulator.address();
        let reply = login(address, "v1.1.0", "wrong");
        let mut expected =
            "HTTP/1.1 200 OK\r\nServer: Boa/0.94.14rc21\r\nAccept-Ranges: bytes\r\nConnection: close\r\n\
            Content-Type: application/json\r\nAccess-control-allow-origin: *\r\n\
            Access-control-allow-methods: GET, POST, OPTIONS, PUT, DELETE\r\n"
                .to_owned();
        if content_length {
            expected.push_str("Content-Length: 35\r\n");
        }
        assert_eq!(reply.head, expected + "\r\n");
        assert_eq!(reply.text(), "{\"status\":\"Failed\",\"errno\":\"20003\"}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_has_its_number() {
    let simulator = start(|_| {}).await;
    let client = Client::new(&simulator, "v1.1.0");
    let address = client.address;
    for (errno, reply) in [
        ("10003", client.post("cdr/list", "{}")),
        ("10003", post(address, "/api/v2.0.0/login", "{}")),
        ("10003", post(address, "/api/v1.0.1/cdr/get_random?token=x", "{}")),
        ("20001", get(address, "/api/v1.1.0/login")),
        ("20000", post(address, "/api/v1.1.0/login", "username=api")),
        ("10002", post(address, "/api/v1.1.0/login", "<login/>")),
        ("20009", post(address, "/api/v1.1.0/login", "")),
        ("10004", post(address, "/api/v1.1.0/login", "{\"username\":\"api\"}")),
        ("20005", post(address, "/api/v1.1.0/recording/get_random", "{}")),
        ("20004", post(address, "/api/v1.1.0/recording/get_random?token=no", "{}")),
        ("10004", client.post("recording/get_random", "{}")),
        ("20014", client.ticket(b"no.wav")),
        ("20015", client.post("recording/get_random", "{\"recording\":\"x\",\"allowedip\":\"x\"}")),
        ("20012", get(address, &client.target(b"no.wav", "00"))),
        ("20019", client.cdr("2024-03-01", "2024-03-02")),
        ("20021", client.cdr("2023-03-01 00:00:00", "2023-03-01 23:59:59")),
        (
            "20018",
            client.post(
                "voicemail/get_random",
                "{\"extid\":\"1\",\"voicemailfile\":\"m\",\"voicemailstatus\":\"read\"}",
            ),
        ),
        (
            "20016",
            client.post(
                "voicemail/get_random",
                "{\"extid\":\"1\",\"voicemailfile\":\"m\",\"voicemailstatus\":\"old\"}",
            ),
        ),
    ] {
        assert_eq!(reply.errno(), errno, "{}", reply.text());
    }
    assert!(client.post("logout", "").text().contains("Success"));
    assert_eq!(client.ticket(b"x").errno(), "20004");
}

#[tokio::test(flavor = "multi_thread")]
async fn version_1_0_has_the_old_numbers() {
    let simulator = start(|options| options.profile = Profile::V1_0).await;
    let client = Client::new(&simulator, "v1.0.1");
    let name = first_name(&simulator);
    simulator.world(|world| world.delete_audio(&name));
    assert_eq!(client.ticket(b"no.wav").errno(), "20012");
    assert_eq!(client.ticket(&name).errno(), "20014");
    assert_eq!(client.post("voicemail/query", "").errno(), "10003");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_passwords_lock_the_address_out_for_ten_minutes() {
    let simulator = start(|_| {}).await;
    let address = simulator.address();
    for _ in 0..5 {
        assert_eq!(login(address, "v1.1.0", "wrong").errno(), "20003");
    }
    assert_eq!(login(address, "v1.1.0", PASSWORD_MD5).errno(), "20002");
    simulator.advance(Duration::from_secs(600));
    assert_eq!(login(address, "v1.1.0", PASSWORD_MD5).member("status"), "Success");
    let counters = simulator.counters();
    assert_eq!((counters.logins_refused, counters.logins_locked, counters.logins_ok), (5, 1, 1));
    assert_eq!(counters.logins_after_refusal, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_extended_by_use_and_then_expires() {
    let simulator = start(|_| {}).await;
    let client = Client::new(&simulator, "v1.10");
    let beat = || get(client.address, &format!("/api/v1.1.0/heartbeat?token={}", client.token));
    for _ in 0..3 {
        assert_eq!(beat().member("status"), "Success");
        simulator.advance(Duration::from_secs(1700));
    }
    simulator.advance(Duration::from_secs(101));
    assert_eq!(beat().errno(), "20006");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_once_for_30_s_for_its_file_and_address() {
    let simulator = start(|_| {}).await;
    let client = Client::new(&simulator, "v1.1.0");
    let truth = simulator.truth();
    let (name, other) = (&truth[0].name, &truth[1].name);
    let address = client.address;
    let random = client.ticket(name).member("random");
    assert_eq!(get(address, &client.target(other, &random)).errno(), "20012");
    assert_eq!(from_elsewhere(address, &client.target(name, &random)).await.errno(), "20012");
    assert_eq!(Digest::of(get(address, &client.target(name, &random)).body), truth[0].sha256);
    assert_eq!(get(address, &client.target(name, &random)).errno(), "20012");
    let random = client.ticket(name).member("random");
    simulator.advance(Duration::from_secs(30));
    assert_eq!(get(address, &client.target(name, &random)).errno(), "20012");
    let counters = simulator.counters();
    assert_eq!((counters.tickets_issued, counters.tickets_used), (2, 1));
    assert_eq!((counters.tickets_refused, counters.tickets_reused, counters.tickets_expired), (2, 1, 1));
    assert_eq!((counters.downloads_ok, counters.connections_peak, counters.connections_now), (1, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_may_be_for_one_more_address() {
    let simulator = start(|_| {}).await;
    let client = Client::new(&simulator, "v1.1.0");
    let name = first_name(&simulator);
    let body = serde_json::json!({ "recording": String::from_utf8_lossy(&name), "allowedip": "127.0.0.2" });
    let random = client.post("recording/get_random", body.to_string()).member("random");
    assert!(from_elsewhere(client.address, &client.target(&name, &random)).await.body.starts_with(b"RIFF"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_device_tells_its_clock_and_its_serial_number() {
    let simulator = start(|_| {}).await;
    let client = Client::new(&simulator, "v1.1.0");
    simulator.set_faults(Faults {
        serial_number: Some("777".to_owned()),
        clock_offset_s: 3600,
        ..Faults::default()
    });
    let reply = client.post("deviceinfo/query", "");
    let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(json["deviceinfo"]["sn"], "777");
    // 1711900000 is 2024-03-31 15:46:40 UTC, the day on which Berlin went to summer time.
    let time = json["deviceinfo"]["systemtime"].as_str().unwrap();
    assert!(time.starts_with("2024-03-31 18:46:") && time.ends_with(" UTC+2"), "{time}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_destination_is_noted_only_when_it_is_given() {
    let simulator = start(|_| {}).await;
    let client = Client::new(&simulator, "v1.1.0");
    assert_eq!(simulator.counters().event_destination, None);
    client.post("heartbeat", "{\"ipaddr\":\"10.0.0.1\",\"port\":8260,\"url\":\"/x\"}");
    assert_eq!(simulator.counters().event_destination.as_deref(), Some("10.0.0.1:8260/x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absence_is_told_by_the_download_if_so_chosen() {
    let simulator = start(|options| options.absence_told_at_download = true).await;
    let client = Client::new(&simulator, "v1.1.0");
    let reply = client.ticket(b"no.wav");
    assert_eq!(get(client.address, &client.target(b"no.wav", &reply.member("random"))).errno(), "20014");
    assert_eq!(client.cdr("2023-03-01 00:00:00", "2023-03-01 23:59:59").errno(), "20021");
    assert_eq!(simulator.counters().tickets_issued, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_ends_the_sessions_before_it_if_so_chosen() {
    for only in [false, true] {
        let simulator = start(|options| options.one_token_only = only).await;
        let first = Client::new(&simulator, "v1.1.0");
        let second = Client::new(&simulator, "v1.1.0");
        assert_eq!(first.post("deviceinfo/query", "").errno(), if only { "20004" } else { "" });
        assert_eq!(second.post("deviceinfo/query", "").errno(), "");
        simulator.reboot();
        assert_eq!(second.post("deviceinfo/query", "").errno(), "20004");
    }
}
