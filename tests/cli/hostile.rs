//! A PBX that lies: replies that are small on the wire and large in memory, and rows without end that name one recording.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use callvault::simulator::SimAudio;

use crate::support::program::folder::Running;
use crate::support::program::{Folder, Said};

/// What the program may take at most, whatever a PBX answers.
pub(crate) const PEAK_KIB_MAX: u64 = 128 << 10;
/// The size of a reply that is made to be large.
const REPLY_BYTES: usize = 32 << 20;
const NAME: &str = "20260305090003-1772701200.1-5550142-1003-Inbound.wav";

/// What a PBX answers by the path of a request behind its version, and to all others.
struct Liar {
    replies: BTreeMap<&'static str, Vec<u8>>,
    /// The size of the audio that it delivers, if that is not among the replies.
    audio_bytes: Option<u64>,
}

impl Liar {
    /// A PBX that answers as one should, but for these requests; its address.
    fn start(lies: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> String {
        Self::deliver(None, lies)
    }

    /// The same with a recording of so many bytes.
    fn deliver(audio_bytes: Option<u64>, lies: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> String {
        let ticket = r#"{"status":"Success","random":"0123456789abcdef0123456789abcdef"}"#;
        let now = callvault::base::clock::now().strftime("%Y-%m-%d %H:%M:%S UTC+0");
        let device = format!(
            r#"{{"status":"Success","deviceinfo":{{"devicename":"S100","sn":"369392500001","systemtime":"{now}"}}}}"#
        );
        let mut replies: BTreeMap<&'static str, Vec<u8>> = [
            ("login", r#"{"status":"Success","token":"fedcba9876543210fedcba9876543210"}"#),
            ("deviceinfo/query", device.as_str()),
            ("cdr/get_random", ticket),
            ("recording/get_random", ticket),
            ("voicemail/query", r#"{"status":"Success","voicemail":[]}"#),
            ("logout", r#"{"status":"Success"}"#),
        ]
        .map(|(path, reply)| (path, reply.into()))
        .into();
        replies.insert("cdr/download", rows(1));
        replies.insert("recording/download", SimAudio::pcm(16_000, 1).to_vec());
        replies.extend(lies);
        let (listener, liar) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(Self { replies, audio_bytes }));
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let liar = liar.clone();
                std::thread::spawn(move || liar.answer(client));
            }
        });
        url
    }

    /// Answers one request, and closes. Whoever goes away meanwhile is let go.
    fn answer(&self, mut client: TcpStream) {
        let mut request = Vec::new();
        let mut chunk = [0; 4096];
        while !is_whole(&request) {
            match client.read(&mut chunk) {
                Ok(count) if count > 0 => request.extend_from_slice(&chunk[..count]),
                _ => return,
            }
        }
        let target = String::from_utf8_lossy(&request);
        let target = target.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default().splitn(4, '/').nth(3).unwrap_or_default();
        if path == "recording/download"
            && let Some(bytes) = self.audio_bytes
        {
            let _ = send_audio(&mut client, bytes);
            return;
        }
        let nothing = br#"{"status":"Failed","errno":"10003"}"#.to_vec();
        let reply = self.replies.get(path).unwrap_or(&nothing);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", reply.len());
        let _ = client.write_all(head.as_bytes()).and_then(|()| client.write_all(reply));
    }
}

/// A WAV file of so many bytes, a piece at a time.
fn send_audio(client: &mut TcpStream, bytes: u64) -> std::io::Result<()> {
    let small = SimAudio::pcm(4096, 1).to_vec();
    let data = bytes - 44;
    write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n")?;
    client.write_all(&small[..4])?;
    client.write_all(&u32::try_from(bytes - 8).unwrap().to_le_bytes())?;
    client.write_all(&small[8..40])?;
    client.write_all(&u32::try_from(data).unwrap().to_le_bytes())?;
    let piece: Vec<u8> = small[44..].iter().copied().cycle().take(1 << 20).collect();
    let mut left = usize::try_from(data).unwrap();
    while left > 0 {
        let now = left.min(piece.len());
        client.write_all(&piece[..now])?;
        left -= now;
    }
    Ok(())
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.is_none_or(|length| body.len() >= length.trim().parse().unwrap_or(0))
}

/// A call list of so many legs of one call, all of which name one recording.
fn rows(count: usize) -> Vec<u8> {
    let mut csv = String::from(
        "callid,timestart,callfrom,callto,callduraction,talkduraction,srctrunkname,dsttrunkname,status,type,pincode,recording,didnumber,sn\n",
    );
    for leg in 0..count {
        csv += &format!(
            "1772701200.1,2026-03-05 09:00:00,5550142,{leg},6,1,siptrunk1,,ANSWERED,Inbound,,{NAME},5550100,369392500001\n"
        );
    }
    csv.into_bytes()
}

/// Many values of few bytes.
fn values(before: &str, value: &str, after: &str) -> Vec<u8> {
    format!("{before}{}{after}", value.repeat(REPLY_BYTES / value.len())).into_bytes()
}

/// Runs a backfill of the day; the most memory that it took, in KiB, and its exit code.
fn backfill(folder: &Folder) -> (u64, i32) {
    let day = ["backfill", "--voicemail", "--from", "2026-03-05", "--to", "2026-03-05"];
    let (peak_kib, said) = measured(folder, &day);
    (peak_kib, said.code)
}

/// Runs the program; the most memory that it took, in KiB, and what it said.
pub(crate) fn measured(folder: &Folder, arguments: &[&str]) -> (u64, Said) {
    let mut running = folder.start(folder.command(arguments));
    let mut peak_kib = 0;
    while !running.has_ended() {
        peak_kib = peak_kib.max(peak_of(&running));
        std::thread::sleep(Duration::from_millis(2));
    }
    (peak_kib, running.wait())
}

/// The most memory that a running program has taken so far, in KiB; 0 if it has ended.
pub(crate) fn peak_of(running: &Running) -> u64 {
    let status = format!("/proc/{}/status", running.pid().as_raw_nonzero());
    let text = fs::read_to_string(&status).unwrap_or_default();
    let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

#[test]
fn no_reply_of_a_pbx_takes_much_memory() {
    let lies = [
        ("login", values("[", "[0],", "[0]]")),
        ("login", values("{\"status\":\"Success\",\"a\":[", "{},", "{}]}")),
        ("deviceinfo/query", values("[", "[0],", "[0]]")),
        ("deviceinfo/query", values("", "[", "")),
        ("cdr/get_random", values("{\"status\":\"Success\",\"random\":[", "\"\",", "\"\"]}")),
        ("voicemail/query", values("{\"status\":\"Success\",\"voicemail\":[", "{},", "{}]}")),
        (
            "voicemail/query",
            values("{\"status\":\"Success\",\"voicemail\":[", "{\"a\":\"b\" \"c\"},", "{}]}"),
        ),
        ("recording/get_random", values("{", "\"a\":0,", "\"b\":1}")),
        ("cdr/download", values("", ",", "")),
        ("cdr/download", values("", "\n", "")),
        ("cdr/download", values("callid,recording\n\"", "x", "")),
        ("recording/download", values("{\"status\":", "[0],", "")),
    ];
    for (path, lie) in lies {
        let start = String::from_utf8_lossy(&lie[..lie.len().min(60)]).into_owned();
        let folder = Folder::for_pbx(&Liar::start([(path, lie)]));
        let (peak_kib, code) = backfill(&folder);
        println!("{path}: {start}: {} MiB, exit {code}", peak_kib >> 10);
        assert!((1..=PEAK_KIB_MAX).contains(&peak_kib), "{path}: {start}: {peak_kib} KiB");
        assert!(path == "deviceinfo/query" || path == "voicemail/query" || code != 0, "{path}: {start}");
    }
}

#[test]
fn rows_that_name_one_recording_are_all_kept_and_its_sidecar_stays_small() {
    let legs = 5000;
    let folder = Folder::for_pbx(&Liar::start([("cdr/download", rows(legs))]));
    let (peak_kib, code) = backfill(&folder);
    println!("{legs} legs: {} MiB", peak_kib >> 10);
    assert_eq!(code, 0);
    assert!((1..=PEAK_KIB_MAX).contains(&peak_kib), "{peak_kib} KiB");
    assert_eq!(folder.number("select count(*) from calls"), i64::try_from(legs).unwrap());
    let sidecar = fs::read(folder.path(&format!("archive/hq/2026/03/05/{NAME}.json"))).unwrap();
    assert!(sidecar.len() < 2 << 20, "{} bytes", sidecar.len());
    let told: serde_json::Value = serde_json::from_slice(&sidecar).unwrap();
    let rows = told["call"]["other_rows"].as_array().unwrap().len();
    let left_out = told["call"]["other_rows_left_out"].as_u64().unwrap();
    // The first page of rows was known when it was written, or more of them.
    let known = 1 + rows as u64 + left_out;
    assert!(rows <= 255 && (500..=legs as u64).contains(&known), "{rows} rows, and {left_out} left out");
    let lists = (1..).map(|number| folder.path(&format!("archive/hq/2026/03/05/calls-{number}.jsonl")));
    let lists = lists.map_while(|path| fs::read_to_string(path).ok());
    let calls: usize = lists.map(|list| list.matches("\"type\":\"call\"").count()).sum();
    assert_eq!(calls, legs, "the lists of the day tell all");
}

/// Bounds that drop the legitimate would be worse than none: beside a reply that is repelled, a long call list and a very
/// large recording are archived. At full length 100,000 rows and the largest recording that is allowed.
#[test]
fn a_long_list_and_a_large_recording_are_archived_beside_what_is_repelled() {
    let is_full = std::env::var_os("CALLVAULT_FULL").is_some();
    let (calls, bytes): (usize, u64) = if is_full { (100_000, 2 << 30) } else { (10_000, 200 << 20) };
    let mut list = String::from_utf8(rows(1)).unwrap();
    for call in 1..calls {
        let (minute, second) = (call / 60 % 60, call % 60);
        list += &format!(
            "17727{call:05}.1,2026-03-05 {:02}:{minute:02}:{second:02},5550142,1003,6,1,siptrunk1,,ANSWERED,Inbound,,,5550100,\
             369392500001\n",
            call / 3600 % 24
        );
    }
    let lie = values("{\"status\":\"Success\",\"voicemail\":[", "{},", "{}]}");
    let folder = Folder::for_pbx(&Liar::deliver(
        Some(bytes),
        [("voicemail/query", lie), ("cdr/download", list.into_bytes())],
    ));
    let (peak_kib, _) = backfill(&folder);
    println!("{calls} calls, {} MiB of audio: {} MiB", bytes >> 20, peak_kib >> 10);
    assert!((1..=PEAK_KIB_MAX).contains(&peak_kib), "{peak_kib} KiB");
    assert_eq!(folder.number("select count(*) from calls"), i64::try_from(calls).unwrap());
    assert_eq!(folder.number("select size_bytes from archived_files"), i64::try_from(bytes).unwrap());
}
