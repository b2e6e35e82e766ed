//! Connections are counted as a client would count them, and observers are not.

use std::io::{Read, Write};
use std::net::TcpStream;

use callvault::simulator::Counters;

use crate::wire::{Client, PASSWORD_MD5, get, login, post, start, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_reads_the_counters_and_the_truth_and_sets_faults() {
    let simulator = start(|_| {}).await;
    let address = simulator.address();
    let truth = get(address, "/simulator/truth").text();
    let lines: Vec<serde_json::Value> =
        truth.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 20);
    assert_eq!(lines[0]["sha256"].as_str().unwrap(), simulator.truth()[0].sha256.to_string());
    let set = post(address, "/simulator/faults", "{\"reset\":0.5}");
    assert!(set.text().contains("\"reset\":0.5"));
    let wrong = post(address, "/simulator/faults", "{\"reste\":0.5}");
    assert!(wrong.head.starts_with("HTTP/1.1 400") && wrong.text().contains("reste"), "{}", wrong.text());
    let counters = get(address, "/simulator/counters").text();
    let expected = serde_json::to_string(&Counters::default()).unwrap();
    assert_eq!(counters.trim_end(), expected, "an observer is not counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_open_together_are_in_the_peak() {
    let simulator = start(|_| {}).await;
    let address = simulator.address();
    let idle: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    wait_until(|| simulator.counters().connections_peak == 3).await;
    drop(idle);
    wait_until(|| simulator.counters().connections_now == 0).await;
    simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_after_another_is_a_peak_of_one() {
    for content_length in [false, true] {
        let simulator = start(|options| options.content_length = content_length).await;
        for _ in 0..300 {
            login(simulator.address(), "v1.1.0", PASSWORD_MD5);
        }
        assert_eq!(simulator.counters().connections_peak, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_when_it_has_what_it_needs_is_not_counted_twice() {
    for content_length in [false, true] {
        let simulator = start(|options| options.content_length = content_length).await;
        let token = Client::new(&simulator, "v1.1.0").token;
        let request =
            format!("POST /api/v1.1.0/heartbeat?token={token} HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
        for _ in 0..300 {
            let mut stream = TcpStream::connect(simulator.address()).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let (mut got, mut buffer) = (Vec::new(), [0; 1024]);
            while !got.ends_with(b"}") {
                let count = stream.read(&mut buffer).unwrap();
                got.extend_from_slice(&buffer[..count]);
            }
        }
        assert_eq!(simulator.counters().connections_peak, 1);
    }
}
