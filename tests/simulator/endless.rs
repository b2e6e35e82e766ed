//! Replies without end, and such whose end only a chunk tells.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use callvault::base::digest::Digest;
use callvault::simulator::Faults;

use crate::faults::download_under;
use crate::wire::{Client, first_name, start, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn what_never_ends_ends_when_the_client_leaves() {
    let simulator = start(|_| {}).await;
    let none = Faults::default;
    for faults in [
        Faults { stall: 1.0, ..none() },
        Faults { hang: 1.0, ..none() },
        Faults { slow_head: 1.0, ..none() },
        Faults { endless: 1.0, ..none() },
        Faults { endless: 1.0, chunked: 1.0, ..none() },
        Faults { endless_head: 1.0, ..none() },
        Faults { endless_json: 1.0, ..none() },
        Faults { drip: 1.0, drip_bytes_per_s: 100, ..none() },
    ] {
        simulator.set_faults(none());
        let client = Client::new(&simulator, "v1.1.0");
        let name = first_name(&simulator);
        let random = client.ticket(&name).member("random");
        simulator.set_faults(faults.clone());
        let got = taste(client.address, &client.target(&name, &random));
        let is_endless = faults.endless + faults.endless_head + faults.endless_json > 0.0;
        assert_eq!(got > 100_000, is_endless, "{got} bytes");
        wait_until(|| simulator.counters().connections_now == 0).await;
    }
    let counters = simulator.counters();
    assert_eq!((counters.connections_peak, counters.downloads_ok), (1, 0));
    assert_eq!(counters.faults.len(), 8);
}

/// Reads a little of a reply, for 0.3 s or until 100 kB have come, then leaves; returns how much came.
fn taste(address: SocketAddr, target: &str) -> usize {
    let begun = Instant::now();
    let limit = Duration::from_millis(300);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(limit)).unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
    let (mut got, mut buffer) = (0, [0; 4096]);
    while got <= 100_000 && begun.elapsed() < limit {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => got += count,
            _ => break,
        }
    }
    got
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_chunks_is_the_same_body() {
    let simulator = start(|_| {}).await;
    let sha256 = simulator.truth()[0].sha256;
    let reply = download_under(&simulator, Faults { chunked: 1.0, ..Faults::default() }).unwrap();
    assert!(reply.head.contains("Transfer-Encoding: chunked\r\n"), "{}", reply.head);
    assert!(!reply.head.contains("Content-Length"), "{}", reply.head);
    let (body, rest) = unchunked(&reply.body);
    assert_eq!((Digest::of(body), rest), (sha256, &b""[..]));
    let faults = Faults { chunked: 1.0, truncate: 1.0, ..Faults::default() };
    let cut = download_under(&simulator, faults).unwrap();
    assert!(!cut.body.ends_with(b"0\r\n\r\n"), "the last chunk would say that it is whole");
}

/// What chunks hold, and what follows the last one.
fn unchunked(mut bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        let chunk = &bytes[end + 2..];
        body.extend_from_slice(&chunk[..length]);
        bytes = chunk[length..].strip_prefix(b"\r\n").unwrap();
        if length == 0 {
            return (body, bytes);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_cdr_repeats_its_rows_and_never_its_header() {
    let simulator = start(|_| {}).await;
    let client = Client::new(&simulator, "v1.1.0");
    let (from, to) = ("2000-01-01 00:00:00", "2030-01-01 00:00:00");
    let plain = client.cdr(from, to).text();
    let range = serde_json::json!({ "extid": "all", "starttime": from, "endtime": to });
    let random = client.post("cdr/get_random", range.to_string()).member("random");
    simulator.set_faults(Faults { cdr_endless: 1.0, ..Faults::default() });
    let target = format!(
        "/api/v1.1.0/cdr/download?extid=all&starttime={from}&endtime={to}&token={}&random={random}",
        client.token
    );
    let mut stream = TcpStream::connect(client.address).unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
    let mut bytes = vec![0; 3 * plain.len()];
    stream.read_exact(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let again = body.strip_prefix(&plain).unwrap();
    let rows = plain.split_once('\n').unwrap().1;
    assert!(again.starts_with(rows), "{again}");
}
