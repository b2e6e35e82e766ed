//! The requests that the documents of the compatible device print, to the letter, and our own over the same paths.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callvault::base::counts::Counts;
use callvault::base::digest::Digest;
use callvault::simulator::{Profile, SimulatorOptions};
use jiff::civil::date;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::station::{NONE, Station, counts, small};

const RECORDING: &str = "exten-101-106-20200505-042135-1588641695.1772.wav";

/// As printed under "请求示例" of the recording document: line feeds only, no length, no blank line before the body.
const RECORDING_REQUEST: &str = "\
POST /api/v0.0.1/recording/get_random?token=813b621cfe8eecf445a2ce1f4a079ffe HTTP/1.1
Content-Type:application/json; charset=utf-8
Host: 172.16.6.150
{
\t\"recording\":\"exten-101-106-20200505-042135-1588641695.1772.wav\",
\t\"allowedip\":\"172.16.6.150\"
}
";

/// As printed under "响应示例" of it.
const RECORDING_REPLY: &str = "\
HTTP/1.1 200 OK
Access-control-allow-origin: *
Access-control-allow-methods: GET, POST, OPTIONS, PUT, DELETE
{
    \"status\": \"Success\",
    \"recording\": \"exten-101-106-20200505-042135-1588641695.1772.wav\",
    \"random\": \"fc19203cddc1d7846c2236f9eafe826b\"
}
";

/// As printed in the voicemail document: a comma too many in the body.
const VOICEMAIL_REQUEST: &str = "\
POST /api/v1.1.0/voicemail/get_random?token=1e3b3ebb6a974cb42ed31de5413df52d HTTP/1.1
Content-Type:application/json; charset=utf-8
Host: 192.168.5.150
{
    \"extid\": \"1004\",
    \"voicemailfile\": \"msg0000.wav\",
}
";

const VOICEMAIL_REPLY: &str = "\
HTTP/1.1 200 OK
Access-control-allow-origin: *
Access-control-allow-methods: GET, POST, OPTIONS, PUT, DELETE
{
    \"status\": \"Success\",
    \"extid\": \"1004\",
    \"voicemailfile\": \"msg0000.wav\",
    \"random\": \"70f477822e6a379d7359b2d926ea95a5\"
}
";

const RECORDING_LINK: &str = "/api/v1.1.0/recording/download?recording=exten-101-106-20200505-042135-1588641695.1772.wav&random=1c574a38b96a0a94fe631208ce30ae53&token=1733765a8f15fef25c90075c394e6b45";
const VOICEMAIL_LINK: &str = "/api/v1.1.0/voicemail/download?extid=102&token=1733765a8f15fef25c90075c394e6b45&voicemailfile=msg0001.wav&random=385d9c3cdf0fd31b90887d1b5815151b";

/// A compatible device with one recorded call in 2020, whose tokens and first tickets are the printed ones.
async fn documented() -> Station {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let mut station = Station::of(SimulatorOptions {
        profile: Profile::Compatible,
        preset_tokens: owned(&[
            "813b621cfe8eecf445a2ce1f4a079ffe",
            "1e3b3ebb6a974cb42ed31de5413df52d",
            "1733765a8f15fef25c90075c394e6b45",
        ]),
        preset_randoms: owned(&[
            "fc19203cddc1d7846c2236f9eafe826b",
            "70f477822e6a379d7359b2d926ea95a5",
            "1c574a38b96a0a94fe631208ce30ae53",
            "385d9c3cdf0fd31b90887d1b5815151b",
        ]),
        ..small(0)
    })
    .await;
    station.days = (date(2020, 5, 5), date(2020, 5, 5));
    station
}

/// Sends bytes and reads until the device closes.
async fn say(address: SocketAddr, request: impl Into<Vec<u8>>) -> Vec<u8> {
    let request = request.into();
    let talk = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&request).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).unwrap();
        reply
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

/// A reply as the documents print one: line feeds, and no blank line between head and body.
fn printed(reply: &[u8]) -> String {
    let text = String::from_utf8(reply.to_vec()).unwrap();
    format!("{}\n", text.replace("\r\n\r\n", "\r\n").replace("\r\n", "\n").trim_end())
}

fn body(reply: &[u8]) -> &[u8] {
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    &reply[end + 4..]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_requests_get_the_printed_replies() {
    let station = documented().await;
    let address = station.pbx.address();
    assert_eq!(printed(&say(address, RECORDING_REQUEST).await), RECORDING_REPLY);
    assert_eq!(printed(&say(address, VOICEMAIL_REQUEST).await), VOICEMAIL_REPLY);
    // The links bear tickets of another session, which asks for them first.
    let token = "1733765a8f15fef25c90075c394e6b45";
    let asks = [
        ("recording", json!({ "recording": RECORDING })),
        ("voicemail", json!({ "extid": 102, "voicemailfile": "msg0001.wav" })),
    ];
    for (family, members) in asks {
        let target = format!("/api/v0.0.1/{family}/get_random?token={token}");
        say(address, format!("POST {target} HTTP/1.1\nHost: pbx\n\n{members}")).await;
    }
    let audio = say(address, format!("GET {RECORDING_LINK} HTTP/1.1\nHost: 172.16.101.37:9011\n\n")).await;
    assert_eq!(Digest::of(body(&audio)), station.pbx.truth()[0].sha256);
    let message = say(address, format!("GET {VOICEMAIL_LINK} HTTP/1.1\nHost: 172.16.101.37:9011\n\n")).await;
    assert!(body(&message).starts_with(b"RIFF"));
    assert_eq!(station.pbx.counters().tickets_used, 2);
}

/// What a client said, request by request.
type Overheard = Arc<Mutex<Vec<String>>>;

/// Stands between a client and the device and notes the client's requests, each of which has its own connection.
async fn overhear(device: SocketAddr) -> (SocketAddr, Overheard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, overheard) = (listener.local_addr().unwrap(), Overheard::default());
    let noted = overheard.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(relay(client, device, noted.clone()));
        }
    });
    (address, overheard)
}

async fn relay(mut client: tokio::net::TcpStream, device: SocketAddr, noted: Overheard) {
    let mut device = tokio::net::TcpStream::connect(device).await.unwrap();
    let (mut request, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let (mut from_client, mut to_client) = client.split();
    let (mut from_device, mut to_device) = device.split();
    loop {
        let mut chunk = [0; 4096];
        tokio::select! {
            read = from_client.read(&mut chunk) => match read {
                Ok(count) if count > 0 => {
                    request.extend_from_slice(&chunk[..count]);
                    to_device.write_all(&chunk[..count]).await.unwrap();
                }
                _ => break,
            },
            read = from_device.read(&mut buffer) => match read {
                Ok(count) if count > 0 => to_client.write_all(&buffer[..count]).await.unwrap(),
                _ => break,
            },
        }
    }
    noted.lock().unwrap().push(String::from_utf8(request).unwrap());
}

/// The requests to `endpoint`: target without its secrets, and body.
fn requests_to(overheard: &Overheard, endpoint: &str) -> Vec<(String, String)> {
    let overheard = overheard.lock().unwrap();
    let requests = overheard.iter().filter(|request| request.lines().next().unwrap().contains(endpoint));
    let taken_apart = requests.map(|request| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let line = head.lines().next().unwrap().strip_suffix(" HTTP/1.1").unwrap();
        let parts = line.split('&').map(|part| match part.rsplit_once('=') {
            Some((name, secret)) if secret.len() == 32 => format!("{name}={{}}"),
            _ => part.to_owned(),
        });
        (parts.collect::<Vec<_>>().join("&"), body.to_owned())
    });
    taken_apart.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_archives_a_recording_over_exactly_the_printed_paths() {
    let mut station = documented().await;
    let (address, overheard) = overhear(station.pbx.address()).await;
    station.section().url = format!("http://{address}").parse().unwrap();
    station.section().allowed_ip = Some("172.16.6.150".parse().unwrap());
    assert_eq!(counts(&station.backfill().await), Counts { archived: 1, ..NONE });

    let asked = requests_to(&overheard, "/recording/get_random");
    let [(target, body)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(target, "POST /api/v0.0.1/recording/get_random?token={}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, json!({ "recording": RECORDING, "allowedip": "172.16.6.150" }));
    let fetched = requests_to(&overheard, "/recording/download");
    let [(target, body)] = &fetched[..] else { panic!("{fetched:?}") };
    assert_eq!(
        *target,
        format!("GET /api/v1.1.0/recording/download?recording={RECORDING}&random={{}}&token={{}}")
    );
    assert_eq!(body, "");

    let archived = fs::read(station.path_of(RECORDING)).unwrap();
    assert_eq!(Digest::of(archived), station.pbx.truth()[0].sha256);
    station.check().await;
}
