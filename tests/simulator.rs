//! The simulator over the wire, spoken to without an HTTP library: what it says, to the byte.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use callvault::digest::Digest;
use callvault::simulator::{
    Counters, Faults, Profile, SimAudio, SimCall, Simulator, SimulatorOptions, WavFormat,
};
use jiff::Timestamp;

/// The MD5 of `Simulated1`.
const PASSWORD_MD5: &str = "c126898b13a07ab1dc3015408053a5d2";
const SEED_RECORDING: &str = "exten-101-106-20200505-042135-1588641695.1772.wav";

/// A reply, taken apart.
#[derive(Debug, Clone)]
struct Reply {
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A member of a JSON reply.
    fn member(&self, name: &str) -> String {
        let json: serde_json::Value =
            serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"));
        json[name].as_str().unwrap_or_default().to_owned()
    }

    fn errno(&self) -> String {
        self.member("errno")
    }
}

/// Sends bytes and reads until the server closes; an error of the connection is returned.
fn exchange(address: SocketAddr, request: &[u8]) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let body = bytes.split_off(end);
    Ok(Reply { head: String::from_utf8_lossy(&bytes).into_owned(), body })
}

fn get(address: SocketAddr, target: &str) -> Reply {
    exchange(address, format!("GET {target} HTTP/1.1\r\nHost: pbx\r\n\r\n").as_bytes()).unwrap()
}

fn post(address: SocketAddr, target: &str, body: impl AsRef<[u8]>) -> Reply {
    let body = body.as_ref();
    let head = format!("POST {target} HTTP/1.1\r\nHost: pbx\r\nContent-Length: {}\r\n\r\n", body.len());
    exchange(address, &[head.as_bytes(), body].concat()).unwrap()
}

/// A client of one simulator, logged in.
struct Client {
    address: SocketAddr,
    version: &'static str,
    token: String,
}

impl Client {
    fn new(simulator: &Simulator, version: &'static str) -> Self {
        let address = simulator.address();
        let token = login(address, version, PASSWORD_MD5).member("token");
        assert_eq!(token.len(), 32);
        Self { address, version, token }
    }

    fn post(&self, endpoint: &str, body: impl AsRef<[u8]>) -> Reply {
        post(self.address, &format!("/api/{}/{endpoint}?token={}", self.version, self.token), body)
    }

    fn ticket(&self, name: &[u8]) -> Reply {
        let name = String::from_utf8_lossy(name).into_owned();
        self.post("recording/get_random", serde_json::json!({ "recording": name }).to_string())
    }

    fn target(&self, name: &[u8], random: &str) -> String {
        let name = percent_encoding::percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        format!(
            "/api/{}/recording/download?recording={name}&random={random}&token={}",
            self.version, self.token
        )
    }

    fn download(&self, name: &[u8]) -> Reply {
        let random = self.ticket(name).member("random");
        get(self.address, &self.target(name, &random))
    }

    fn cdr(&self, from: &str, to: &str) -> Reply {
        let key = if self.version == "v2.0.0" { "number" } else { "extid" };
        let body = serde_json::json!({ key: "all", "starttime": from, "endtime": to }).to_string();
        let random = self.post("cdr/get_random", body);
        if random.member("status") != "Success" {
            return random;
        }
        let random = random.member("random");
        let (version, token) = (self.version, &self.token);
        let target = format!(
            "/api/{version}/cdr/download?{key}=all&starttime={from}&endtime={to}&token={token}&random={random}"
        );
        get(self.address, &target)
    }
}

fn login(address: SocketAddr, version: &str, md5: &str) -> Reply {
    let body = format!("{{\"username\":\"api\",\"password\":\"{md5}\"}}");
    post(address, &format!("/api/{version}/login"), body)
}

async fn start(change: impl FnOnce(&mut SimulatorOptions)) -> Simulator {
    let mut options = SimulatorOptions {
        recordings: 20,
        size_bytes: (2000, 4000),
        now: Some(Timestamp::from_second(1_711_900_000).unwrap()),
        ..SimulatorOptions::default()
    };
    change(&mut options);
    Simulator::start(options).await.unwrap()
}

/// Runs blocking code beside the simulator, which lives in the test's runtime.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn first_name(simulator: &Simulator) -> Vec<u8> {
    simulator.truth()[0].name.clone()
}

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
    beside(move || {
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
            format!("{{\"recording\":\"{SEED_RECORDING}\"}}"),
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
        assert_eq!(Digest::of(&audio.body), truth[SEED_RECORDING.as_bytes()]);
        let message = get(
            address,
            "/api/v1.1.0/voicemail/download?extid=102&token=1733765a8f15fef25c90075c394e6b45&voicemailfile=msg0001.wav&random=385d9c3cdf0fd31b90887d1b5815151b",
        );
        assert_eq!(read_wav(&message.body).format, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_has_the_servers_headers_and_no_length_unless_asked() {
    for content_length in [false, true] {
        let simulator = start(|options| options.content_length = content_length).await;
        let address = simulator.address();
        let reply = beside(move || login(address, "v1.1.0", "wrong")).await;
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
    beside(move || {
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
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn version_1_0_has_the_old_numbers() {
    let simulator = start(|options| options.profile = Profile::V1_0).await;
    let client = Client::new(&simulator, "v1.0.1");
    let name = first_name(&simulator);
    simulator.world(|world| world.delete_audio(&name));
    beside(move || {
        assert_eq!(client.ticket(b"no.wav").errno(), "20012");
        assert_eq!(client.ticket(&name).errno(), "20014");
        assert_eq!(client.post("voicemail/query", "").errno(), "10003");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_passwords_lock_the_address_out_for_ten_minutes() {
    let simulator = start(|_| {}).await;
    let address = simulator.address();
    beside(move || {
        for _ in 0..5 {
            assert_eq!(login(address, "v1.1.0", "wrong").errno(), "20003");
        }
        assert_eq!(login(address, "v1.1.0", PASSWORD_MD5).errno(), "20002");
    })
    .await;
    simulator.advance(Duration::from_secs(600));
    assert_eq!(beside(move || login(address, "v1.1.0", PASSWORD_MD5).member("status")).await, "Success");
    let counters = simulator.counters();
    assert_eq!((counters.logins_refused, counters.logins_locked, counters.logins_ok), (5, 1, 1));
    assert_eq!(counters.logins_after_refusal, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_extended_by_use_and_then_expires() {
    let simulator = start(|_| {}).await;
    let client = Client::new(&simulator, "v1.10");
    let use_it = |client: Client| async move {
        beside(move || {
            let reply = get(client.address, &format!("/api/v1.1.0/heartbeat?token={}", client.token));
            (client, reply)
        })
        .await
    };
    let (client, _) = use_it(client).await;
    simulator.advance(Duration::from_secs(1700));
    let (client, reply) = use_it(client).await;
    assert_eq!(reply.member("status"), "Success");
    simulator.advance(Duration::from_secs(1700));
    let (client, reply) = use_it(client).await;
    assert_eq!(reply.member("status"), "Success");
    simulator.advance(Duration::from_secs(1801));
    assert_eq!(use_it(client).await.1.errno(), "20006");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_once_for_30_s_for_its_file_and_address() {
    let simulator = start(|_| {}).await;
    let client = Client::new(&simulator, "v1.1.0");
    let truth = simulator.truth();
    let (name, other) = (truth[0].name.clone(), truth[1].name.clone());
    let (client, late) = beside(move || {
        let random = client.ticket(&name).member("random");
        assert_eq!(get(client.address, &client.target(&other, &random)).errno(), "20012");
        assert_eq!(from_elsewhere(client.address, &client.target(&name, &random)).errno(), "20012");
        assert_eq!(Digest::of(get(client.address, &client.target(&name, &random)).body), truth[0].sha256);
        assert_eq!(get(client.address, &client.target(&name, &random)).errno(), "20012");
        let random = client.ticket(&name).member("random");
        let late = client.target(&name, &random);
        (client, late)
    })
    .await;
    simulator.advance(Duration::from_secs(30));
    beside(move || assert_eq!(get(client.address, &late).errno(), "20012")).await;
    let counters = simulator.counters();
    assert_eq!((counters.tickets_issued, counters.tickets_used), (2, 1));
    assert_eq!((counters.tickets_refused, counters.tickets_reused, counters.tickets_expired), (2, 1, 1));
    assert_eq!((counters.downloads_ok, counters.connections_peak, counters.connections_now), (1, 1, 0));
}

/// The same request from another address of this machine.
fn from_elsewhere(address: SocketAddr, target: &str) -> Reply {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0))).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    let mut stream = stream;
    stream.set_nonblocking(false).unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    Reply { body: bytes.split_off(end), head: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_may_be_for_one_more_address() {
    let simulator = start(|_| {}).await;
    let client = Client::new(&simulator, "v1.1.0");
    let name = first_name(&simulator);
    beside(move || {
        let body =
            serde_json::json!({ "recording": String::from_utf8_lossy(&name), "allowedip": "127.0.0.2" });
        let random = client.post("recording/get_random", body.to_string()).member("random");
        assert!(from_elsewhere(client.address, &client.target(&name, &random)).body.starts_with(b"RIFF"));
    })
    .await;
    assert_eq!(IpAddr::from([127, 0, 0, 1]), simulator.address().ip());
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
    let reply = beside(move || client.post("deviceinfo/query", "")).await;
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
    beside(move || client.post("heartbeat", "{\"ipaddr\":\"10.0.0.1\",\"port\":8260,\"url\":\"/x\"}")).await;
    assert_eq!(simulator.counters().event_destination.as_deref(), Some("10.0.0.1:8260/x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_options_make_equal_worlds_and_another_seed_another() {
    let one = start(|_| {}).await;
    let same = start(|_| {}).await;
    let other = start(|options| options.seed = 2).await;
    assert_eq!(one.truth(), same.truth());
    assert_ne!(one.truth(), other.truth());
    assert_eq!(one.world(|world| world.all_rows()), same.world(|world| world.all_rows()));
    assert_eq!(one.truth().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cdr_lists_every_recording_in_the_exact_columns() {
    for (profile, version) in
        [(Profile::V1_1, "v1.1.0"), (Profile::V2, "v2.0.0"), (Profile::Compatible, "v0.0.1")]
    {
        let simulator = start(|options| {
            options.profile = profile;
            options.odd_names = 100;
            options.recordings = 400;
        })
        .await;
        let client = Client::new(&simulator, version);
        let csv = beside(move || client.cdr("2000-01-01 00:00:00", "2030-01-01 00:00:00").body).await;
        let mut reader = csv::Reader::from_reader(&csv[..]);
        assert_eq!(
            reader.headers().unwrap().iter().collect::<Vec<_>>().join(","),
            "callid,timestart,callfrom,callto,callduraction,talkduraction,srctrunkname,dsttrunkname,status,type,pincode,recording,didnumber,sn"
        );
        let rows: Vec<csv::ByteRecord> = reader.byte_records().map(Result::unwrap).collect();
        let mut listed: Vec<Vec<u8>> =
            rows.iter().map(|row| row[11].to_vec()).filter(|name| !name.is_empty()).collect();
        listed.sort();
        let count = listed.len();
        listed.dedup();
        assert!(count > listed.len(), "some recordings are named by two rows");
        assert_eq!(listed, simulator.truth().into_iter().map(|truth| truth.name).collect::<Vec<_>>());
        assert!(rows.iter().any(|row| &row[9] == b"Transfer"));
        assert!(rows.iter().any(|row| row[3].starts_with(b"6200(")));
        assert!(rows.iter().any(|row| &row[8] != b"ANSWERED"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn local_time_minus_the_callids_epoch_is_the_zones_offset_on_both_sides_of_a_clock_change() {
    let simulator = start(|options| {
        options.recordings = 600;
        options.today = Some(jiff::civil::date(2024, 10, 28));
    })
    .await;
    let client = Client::new(&simulator, "v1.1.0");
    let csv = beside(move || client.cdr("2024-10-26 00:00:00", "2024-10-28 23:59:59").body).await;
    let mut offsets = BTreeMap::<i64, u32>::new();
    for row in csv::Reader::from_reader(&csv[..]).records().map(Result::unwrap) {
        let local: jiff::civil::DateTime = row[1].parse().unwrap();
        let epoch: i64 = row[0].split('.').next().unwrap().parse().unwrap();
        let offset = local.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second() - epoch;
        *offsets.entry(offset).or_default() += 1;
    }
    assert!(offsets[&7200] > 100 && offsets[&3600] > 100, "{offsets:?}");
}

/// What a WAV file says of itself.
struct Wav {
    format: u16,
    data_bytes: usize,
    samples: usize,
}

/// Reads a WAV file, strictly.
fn read_wav(bytes: &[u8]) -> Wav {
    let u16_at = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((&bytes[..4], &bytes[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
    assert_eq!(u32_at(4) + 8, bytes.len(), "the RIFF size is the file's");
    let (mut at, mut wav) = (12, Wav { format: 0, data_bytes: 0, samples: 0 });
    let mut fact = None;
    while at < bytes.len() {
        let (id, size) = (&bytes[at..at + 4], u32_at(at + 4));
        match id {
            b"fmt " => {
                wav.format = u16_at(at + 8);
                assert_eq!((u16_at(at + 10), u32_at(at + 12)), (1, 8000));
                let (rate, align) = (u32_at(at + 16), u16_at(at + 20));
                let expected = match wav.format {
                    1 => (16_000, 2),
                    6 | 7 => (8000, 1),
                    0x31 => (1625, 65),
                    other => panic!("format {other}"),
                };
                assert_eq!((rate, align), expected);
            }
            b"fact" => fact = Some(u32_at(at + 8)),
            b"data" => wav.data_bytes = size,
            other => panic!("chunk {other:?}"),
        }
        at += 8 + size + size % 2;
    }
    assert_eq!(at, bytes.len());
    wav.samples = match wav.format {
        1 => wav.data_bytes / 2,
        0x31 => wav.data_bytes / 65 * 320,
        _ => wav.data_bytes,
    };
    assert!(fact.is_none_or(|samples| samples == wav.samples));
    assert_eq!(fact.is_some(), wav.format != 1);
    wav
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recording_is_a_valid_wav_as_long_as_its_call() {
    let simulator = start(|options| {
        options.recordings = 60;
        options.size_bytes = (1000, 700_000);
    })
    .await;
    let client = Client::new(&simulator, "v1.1.0");
    let talk: BTreeMap<Vec<u8>, u32> = simulator.world(|world| {
        let rows = world.all_rows().into_iter().filter(|row| row.audio.is_some());
        rows.map(|row| (row.recording, row.talk_duration_s)).collect()
    });
    let truth = simulator.truth();
    let formats = beside(move || {
        let mut formats = BTreeMap::<u16, u32>::new();
        for truth in truth {
            let body = client.download(&truth.name).body;
            assert_eq!((Digest::of(&body), body.len() as u64), (truth.sha256, truth.size_bytes));
            let wav = read_wav(&body);
            *formats.entry(wav.format).or_default() += 1;
            let seconds = wav.samples as f64 / 8000.0;
            assert!((f64::from(talk[&truth.name]) - seconds).abs() <= 1.0);
        }
        formats
    })
    .await;
    assert_eq!(formats.keys().copied().collect::<Vec<_>>(), [1, 6, 7, 0x31]);
    let counters = simulator.counters();
    assert_eq!((counters.downloads_ok, counters.tickets_used, counters.connections_peak), (60, 60, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_change_the_world_while_it_is_served() {
    let simulator = start(|_| {}).await;
    let client = Client::new(&simulator, "v1.1.0");
    let names: Vec<Vec<u8>> = simulator.truth().into_iter().map(|truth| truth.name).collect();
    let noon = simulator.world(|world| {
        world.delete_audio(&names[0]);
        world.rename(&names[1], b"renamed.wav");
        world.remove_rows(&names[2]);
        world.rewrite(&names[3], |row| {
            row.talk_duration_s = 4321;
            true
        });
        let noon = Timestamp::from_second(1_711_800_000).unwrap();
        world.add_call(SimCall::recorded(noon, 7, *b"new.wav", SimAudio::Given("RIFFnot".into())));
        noon
    });
    let (deleted, renamed, removed) = (names[0].clone(), names[1].clone(), names[2].clone());
    let csv = beside(move || {
        assert_eq!(client.ticket(&deleted).errno(), "20014");
        assert_eq!(client.ticket(&renamed).errno(), "20014");
        assert!(client.download(b"renamed.wav").body.starts_with(b"RIFF"));
        assert!(client.download(&removed).body.starts_with(b"RIFF"));
        assert_eq!(client.download(b"new.wav").text(), "RIFFnot");
        client.cdr("2000-01-01 00:00:00", "2030-01-01 00:00:00").text()
    })
    .await;
    assert!(csv.contains("renamed.wav") && csv.contains(",4321,") && csv.contains("new.wav"));
    assert!(
        csv.contains(&*String::from_utf8_lossy(&names[0]))
            && !csv.contains(&*String::from_utf8_lossy(&names[2]))
    );
    assert_eq!(noon.as_second(), 1_711_800_000);
    assert_eq!(simulator.truth().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_any_bytes_can_be_fetched() {
    let simulator = start(|options| {
        options.recordings = 0;
        options.odd_names = 100;
    })
    .await;
    let client = Client::new(&simulator, "v1.1.0");
    let truth = simulator.truth();
    assert!(truth.len() > 20);
    beside(move || {
        for truth in truth {
            let mut body = b"{\"recording\":\"".to_vec();
            for byte in &truth.name {
                match byte {
                    b'"' | b'\\' => body.extend([b'\\', *byte]),
                    0..0x20 => body.extend(format!("\\u{byte:04x}").bytes()),
                    _ => body.push(*byte),
                }
            }
            body.extend(b"\"}");
            let reply = client.post("recording/get_random", body);
            let text = reply.text();
            let random = &text[text.len() - 34..text.len() - 2];
            let file = get(client.address, &client.target(&truth.name, random));
            assert_eq!(Digest::of(file.body), truth.sha256, "{:?}", String::from_utf8_lossy(&truth.name));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn voicemail_is_listed_by_box_and_fetched_by_place() {
    let simulator = start(|options| options.voicemails = 12).await;
    let client = Client::new(&simulator, "v1.1.0");
    let messages = simulator.world(|world| world.voicemails().clone());
    let client = beside(move || {
        let list: serde_json::Value = serde_json::from_slice(&client.post("voicemail/query", "").body).unwrap();
        let mut found = 0;
        for mailbox in list["voicemails"].as_array().unwrap() {
            for message in mailbox["voicemail"].as_array().unwrap() {
                let (extension, file) = (mailbox["extid"].as_str().unwrap(), message["voicemailfile"].as_str().unwrap());
                let status = message["voicemailstatus"].as_str().unwrap();
                let body = serde_json::json!({ "extid": extension, "voicemailfile": file, "voicemailstatus": status });
                let random = client.post("voicemail/get_random", body.to_string()).member("random");
                let target = format!(
                    "/api/v1.1.0/voicemail/download?extid={extension}&voicemailstatus={status}&token={}&voicemailfile={file}&random={random}",
                    client.token
                );
                let body = get(client.address, &target).body;
                assert!(messages.iter().any(|known| known.audio.to_vec() == body));
                found += 1;
            }
        }
        assert_eq!(found, 12);
        client
    })
    .await;
    simulator.world(|world| world.voicemails().clear());
    assert_eq!(beside(move || client.post("voicemail/query", "{}").text()).await, "{\"status\":\"Success\"}");
}

/// What a client meets when it downloads under a fault: the reply, or the error of the connection.
async fn download_under(simulator: &Simulator, faults: Faults) -> std::io::Result<Reply> {
    simulator.set_faults(Faults::default());
    let client = Client::new(simulator, "v1.1.0");
    let name = first_name(simulator);
    let random = {
        let (address, version, token, name) =
            (client.address, client.version, client.token.clone(), name.clone());
        beside(move || Client { address, version, token }.ticket(&name).member("random")).await
    };
    let target = client.target(&name, &random);
    simulator.set_faults(faults);
    beside(move || exchange(client.address, format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_download_does_what_it_says() {
    let simulator = start(|options| options.size_bytes = (300_000, 300_000)).await;
    let truth = simulator.truth()[0].clone();
    let whole = truth.size_bytes as usize;
    let none = Faults::default;
    let reply = download_under(&simulator, none()).await.unwrap();
    assert_eq!(Digest::of(&reply.body), truth.sha256);
    for (fault, status, start) in [
        (Faults { json_body: 1.0, ..none() }, "200", "{\"status\":\"Failed\",\"errno\":\"30001\"}"),
        (Faults { html_200: 1.0, ..none() }, "200", "<html>"),
        (Faults { html_503: 1.0, ..none() }, "503", "<html>"),
        (Faults { html_504: 1.0, ..none() }, "504", "<html>"),
        (Faults { gateway_timeout: 1.0, ..none() }, "504", "<html>"),
        (Faults { errno_20010: 1.0, ..none() }, "200", "{\"status\":\"Failed\",\"errno\":\"20010\"}"),
        (Faults { errno_30003: 1.0, ..none() }, "200", "{\"status\":\"Failed\",\"errno\":\"30003\"}"),
        (Faults { ticket_expired: 1.0, ..none() }, "200", "{\"status\":\"Failed\",\"errno\":\"20012\"}"),
        (Faults { store_offline: true, ..none() }, "200", "{\"status\":\"Failed\",\"errno\":\"20014\"}"),
    ] {
        let reply = download_under(&simulator, fault).await.unwrap();
        assert!(reply.head.starts_with(&format!("HTTP/1.1 {status} ")), "{}", reply.head);
        assert!(reply.text().starts_with(start), "{}", reply.text());
    }
    let empty = download_under(&simulator, Faults { empty_body: 1.0, ..none() }).await.unwrap();
    assert!(empty.head.starts_with("HTTP/1.1 200") && empty.body.is_empty());
    let cut = download_under(&simulator, Faults { truncate: 1.0, ..none() }).await.unwrap();
    assert!(!cut.body.is_empty() && cut.body.len() < whole - 1);
    let cut = download_under(&simulator, Faults { truncate_wav_header: 1.0, ..none() }).await.unwrap();
    assert!((1..44).contains(&cut.body.len()));
    let cut = download_under(&simulator, Faults { truncate_head: 1.0, ..none() }).await.unwrap();
    assert!(!cut.head.ends_with("\r\n\r\n") && cut.body.is_empty());
    let wrong = download_under(&simulator, Faults { wrong_length: 1.0, ..none() }).await.unwrap();
    assert_eq!(wrong.body.len(), whole);
    assert!(
        wrong.head.contains("Content-Length: ")
            && !wrong.head.contains(&format!("Content-Length: {whole}\r"))
    );
    let flipped = download_under(&simulator, Faults { bit_flip: 1.0, ..none() }).await.unwrap();
    read_wav(&flipped.body);
    assert_ne!(Digest::of(&flipped.body), truth.sha256);
    let growing = Faults { growing_asks: 1, ..none() };
    read_wav(&download_under(&simulator, growing.clone()).await.unwrap().body);
    assert_eq!(download_under(&simulator, growing).await.unwrap().body.len(), 44);
    for fault in [Faults { reset: 1.0, ..none() }, Faults { refuse: 1.0, ..none() }] {
        let error = download_under(&simulator, fault).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    let redirect = Faults { redirect: 1.0, redirect_to: "https://pbx:8088/".to_owned(), ..none() };
    let redirect = download_under(&simulator, redirect).await.unwrap();
    assert!(
        redirect.head.starts_with("HTTP/1.1 302")
            && redirect.head.contains("Location: https://pbx:8088/\r\n")
    );
    let counters = simulator.counters();
    assert_eq!(counters.downloads_ok, 2, "the faultless one and the one of wrong length: {counters:?}");
    assert_eq!((counters.tickets_refused, counters.tickets_expired, counters.tickets_reused), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_a_hang_and_an_endless_body_end_when_the_client_leaves() {
    let simulator = start(|_| {}).await;
    for faults in [
        Faults { stall: 1.0, ..Faults::default() },
        Faults { hang: 1.0, ..Faults::default() },
        Faults { endless: 1.0, ..Faults::default() },
        Faults { drip: 1.0, drip_bytes_per_s: 100, ..Faults::default() },
    ] {
        simulator.set_faults(Faults::default());
        let client = Client::new(&simulator, "v1.1.0");
        let name = first_name(&simulator);
        let address = simulator.address();
        let (client, random) = beside(move || {
            let random = client.ticket(&name).member("random");
            (client.target(&name, &random), random)
        })
        .await;
        assert_eq!(random.len(), 32);
        simulator.set_faults(faults.clone());
        let got = beside(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            stream.write_all(format!("GET {client} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
            let (mut got, mut buffer) = (0, [0; 4096]);
            let begun = Instant::now();
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                got += count;
                if got > 100_000 || begun.elapsed() > Duration::from_millis(300) {
                    break;
                }
            }
            got
        })
        .await;
        assert_eq!(got > 100_000, faults.endless > 0.0, "{got} bytes");
        wait_until(|| simulator.counters().connections_now == 0).await;
    }
    let counters = simulator.counters();
    assert_eq!((counters.connections_peak, counters.downloads_ok), (1, 0));
    assert_eq!(counters.faults.len(), 4);
}

async fn wait_until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(5), "this should have come true");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_with_a_limit_goes_on() {
    let simulator = start(|_| {}).await;
    let sha256 = simulator.truth()[0].sha256;
    let faults = Faults { stall: 1.0, stall_s: 0.05, ..Faults::default() };
    let reply = download_under(&simulator, faults).await.unwrap();
    assert_eq!(Digest::of(reply.body), sha256);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_download_spends_its_ticket_or_not_as_told() {
    for consumes in [true, false] {
        let simulator = start(|options| options.abort_consumes_ticket = consumes).await;
        let client = Client::new(&simulator, "v1.1.0");
        let name = first_name(&simulator);
        let address = simulator.address();
        let target = beside(move || {
            let random = client.ticket(&name).member("random");
            client.target(&name, &random)
        })
        .await;
        simulator.set_faults(Faults { truncate: 1.0, ..Faults::default() });
        let again = target.clone();
        beside(move || get(address, &again)).await;
        simulator.set_faults(Faults::default());
        let reply = beside(move || get(address, &target)).await;
        assert_eq!(reply.body.starts_with(b"RIFF"), !consumes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_counted_and_unknown_afterwards() {
    let simulator = start(|_| {}).await;
    simulator.set_faults(Faults { token_revoked: 1.0, ..Faults::default() });
    let client = Client::new(&simulator, "v1.1.0");
    let name = first_name(&simulator);
    let reply = beside(move || client.download(&name)).await;
    assert_eq!(reply.errno(), "20004");
    let counters = simulator.counters();
    assert_eq!((counters.revocations, counters.logins_ok, counters.tickets_issued), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_cdr_touch_rows() {
    let simulator = start(|_| {}).await;
    let all = |simulator: &Simulator, faults: Faults| {
        simulator.set_faults(faults);
        let client = Client::new(simulator, "v1.1.0");
        beside(move || client.cdr("2000-01-01 00:00:00", "2030-01-01 00:00:00"))
    };
    let plain = all(&simulator, Faults::default()).await.text();
    let count = plain.lines().count();
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let reordered = all(&simulator, Faults { cdr_reordered: 1.0, ..Faults::default() }).await.text();
    assert_ne!(reordered, plain);
    assert_eq!(sorted(&reordered), sorted(&plain));
    let capped = all(&simulator, Faults { cdr_row_cap: 5, ..Faults::default() }).await.text();
    assert_eq!(capped.lines().count(), 6);
    let doubled = all(&simulator, Faults { cdr_duplicate: 1.0, ..Faults::default() }).await.text();
    assert_eq!(doubled.lines().count(), 2 * count - 1);
    let missing = all(&simulator, Faults { cdr_missing: 0.5, ..Faults::default() }).await.text();
    assert!(missing.lines().count() < count);
    let timeout = all(&simulator, Faults { cdr_504: 1.0, ..Faults::default() });
    let address = simulator.address();
    drop(timeout);
    let token = beside(move || login(address, "v1.1.0", PASSWORD_MD5).member("token")).await;
    let reply =
        beside(move || post(address, &format!("/api/v1.1.0/cdr/get_random?token={token}"), "{}")).await;
    assert!(reply.head.starts_with("HTTP/1.1 504"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_reads_the_counters_and_the_truth_and_sets_faults() {
    let simulator = start(|_| {}).await;
    let address = simulator.address();
    let (counters, truth, set, wrong) = beside(move || {
        (
            get(address, "/simulator/counters").text(),
            get(address, "/simulator/truth").text(),
            post(address, "/simulator/faults", "{\"reset\":0.5}"),
            post(address, "/simulator/faults", "{\"reste\":0.5}"),
        )
    })
    .await;
    let expected = serde_json::to_string(&Counters::default()).unwrap();
    assert_eq!(counters.trim_end(), expected, "an observer is not counted");
    let lines: Vec<serde_json::Value> =
        truth.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 20);
    assert_eq!(lines[0]["sha256"].as_str().unwrap(), simulator.truth()[0].sha256.to_string());
    assert!(set.text().contains("\"reset\":0.5"));
    assert!(wrong.head.starts_with("HTTP/1.1 400") && wrong.text().contains("reste"), "{}", wrong.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_downloads_are_in_the_peak() {
    let simulator = start(|_| {}).await;
    let address = simulator.address();
    let idle = beside(move || (0..3).map(|_| TcpStream::connect(address).unwrap()).collect::<Vec<_>>()).await;
    wait_until(|| simulator.counters().connections_peak == 3).await;
    drop(idle);
    wait_until(|| simulator.counters().connections_now == 0).await;
    simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_after_another_is_a_peak_of_one() {
    for content_length in [false, true] {
        let simulator = start(|options| options.content_length = content_length).await;
        let address = simulator.address();
        beside(move || {
            for _ in 0..300 {
                login(address, "v1.1.0", PASSWORD_MD5);
            }
        })
        .await;
        assert_eq!(simulator.counters().connections_peak, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_calls_are_planned_at_once_and_read_by_day() {
    let begun = Instant::now();
    let simulator = start(|options| {
        options.recordings = 1_000_000;
        options.days = 180;
        options.size_bytes = (1_000_000, 1_000_000);
        options.formats = vec![WavFormat::Pcm16];
    })
    .await;
    let day = simulator.world(|world| world.rows(world.today(), world.today()));
    assert!(day.len() > 5000);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let name = day.into_iter().rev().find(|row| row.audio.is_some()).unwrap().recording;
    let client = Client::new(&simulator, "v1.1.0");
    assert_eq!(beside(move || client.download(&name).body.len()).await, 1_000_000);
}

/// Logs in over TLS, trusting exactly one certificate.
async fn login_over_tls(address: SocketAddr, trusted: Vec<u8>) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.into()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = tokio::net::TcpStream::connect(address).await?;
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await?;
    let body = format!("{{\"username\":\"api\",\"password\":\"{PASSWORD_MD5}\"}}");
    let request = format!("POST /api/v1.1.0/login HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    Ok(reply)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_it_shows_its_own_certificate_until_a_fault_changes_it() {
    let simulator = start(|options| options.tls = true).await;
    assert!(simulator.url().starts_with("https://127.0.0.1:"));
    let first = simulator.certificate().unwrap().unwrap();
    let reply = login_over_tls(simulator.address(), first.clone()).await.unwrap();
    assert!(reply.contains("\"status\":\"Success\""), "{reply}");
    simulator.set_faults(Faults { certificate: 1, ..Faults::default() });
    assert_ne!(simulator.certificate().unwrap().unwrap(), first);
    login_over_tls(simulator.address(), first.clone()).await.unwrap_err();
    simulator.set_faults(Faults::default());
    login_over_tls(simulator.address(), first).await.unwrap();
    wait_until(|| simulator.counters().connections_now == 0).await;
    assert_eq!(simulator.counters().connections_peak, 1);
}
