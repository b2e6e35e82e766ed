//! A device that is down, hangs, is slow, was swapped, or has locked us out: and comes back.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use callvault::base::digest::Digest;
use callvault::simulator::{Faults, Outage};
use md5::{Digest as _, Md5};
use tokio::task::spawn_blocking;

use crate::wire::{Client, PASSWORD_MD5, exchange, first_name, get, login, post, start, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_down_refuses_and_comes_back_on_its_port() {
    let simulator = start(|_| {}).await;
    let client = Client::new(&simulator, "v1.1.0");
    for _ in 0..3 {
        simulator.set_down(true).await.unwrap();
        simulator.set_down(true).await.unwrap();
        let error = TcpStream::connect(client.address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        simulator.set_down(false).await.unwrap();
        assert_eq!(client.post("deviceinfo/query", "").member("status"), "Success", "its tokens live on");
    }
    simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_gets_its_port_at_any_moment_of_an_outage() {
    let simulator = start(|_| {}).await;
    let (address, over) = (simulator.address(), Arc::new(AtomicBool::new(false)));
    let seen = Arc::clone(&over);
    let thief = spawn_blocking(move || {
        while !seen.load(Relaxed) {
            if TcpListener::bind(address).is_ok() {
                return true;
            }
        }
        false
    });
    for _ in 0..1000 {
        simulator.set_outage(Outage::Refused).await.unwrap();
        simulator.set_outage(Outage::None).await.unwrap();
    }
    over.store(true, Relaxed);
    assert!(!thief.await.unwrap(), "the port was free for a moment");
    simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_may_accept_and_reset_while_observers_are_served() {
    let simulator = start(|_| {}).await;
    let address = simulator.address();
    simulator.set_outage(Outage::Reset).await.unwrap();
    let error = exchange(address, b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(get(address, "/simulator/counters").text().contains("\"outage\":1"));
    simulator.set_outage(Outage::None).await.unwrap();
    assert_eq!(login(address, "v1.1.0", PASSWORD_MD5).member("status"), "Success");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_when_an_outage_begins_is_reset() {
    for outage in [Outage::Refused, Outage::Reset] {
        let simulator = start(|options| options.size_bytes = (500_000, 500_000)).await;
        let client = Client::new(&simulator, "v1.1.0");
        let name = first_name(&simulator);
        let target = client.target(&name, &client.ticket(&name).member("random"));
        simulator.set_faults(Faults { drip: 1.0, ..Faults::default() });
        let mut stream = TcpStream::connect(client.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        stream.read_exact(&mut [0; 1000]).unwrap();
        simulator.set_outage(outage).await.unwrap();
        let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{outage:?}");
        wait_until(|| simulator.counters().connections_now == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_can_order_an_outage_that_ends_by_itself() {
    let simulator = start(|_| {}).await;
    let address = simulator.address();
    assert!(post(address, "/simulator/outage?s=0.3", "").text().starts_with("down for 0.3 s"));
    wait_until(|| TcpStream::connect(address).is_err()).await;
    wait_until(|| TcpStream::connect(address).is_ok()).await;
    for wrong in ["outage?s=x", "outage?s=1&how=softly", "clock?at=noon", "advance"] {
        let reply = post(address, &format!("/simulator/{wrong}"), "");
        assert!(reply.head.starts_with("HTTP/1.1 400"), "{wrong}: {}", reply.head);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn altering_one_fault_leaves_the_others_and_what_was_counted() {
    let simulator = start(|_| {}).await;
    let client = Client::new(&simulator, "v1.1.0");
    let name = first_name(&simulator);
    simulator.set_faults(Faults { missing_asks: 2, serial_number: Some("9".into()), ..Faults::default() });
    assert_eq!(client.ticket(&name).errno(), "20014");
    simulator.alter_faults(|faults| faults.clock_offset_s = 7);
    assert_eq!(client.ticket(&name).errno(), "20014");
    let altered = post(client.address, "/simulator/alter", "{\"store_offline\":true}").text();
    assert!(altered.contains("\"serial_number\":\"9\"") && altered.contains("\"store_offline\":true"));
    assert_eq!(client.ticket(&name).errno(), "20014");
    post(client.address, "/simulator/alter", "{\"store_offline\":false}");
    assert_eq!(client.ticket(&name).errno(), "", "the storage is back");
    let wrong = post(client.address, "/simulator/alter", "{\"stor\":1}");
    assert!(wrong.head.starts_with("HTTP/1.1 400") && wrong.text().contains("stor"), "{}", wrong.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_hangs_reads_and_says_nothing() {
    let simulator = start(|_| {}).await;
    simulator.alter_faults(|faults| faults.hang = 1.0);
    let mut stream = TcpStream::connect(simulator.address()).unwrap();
    stream.write_all(b"POST /api/v1.1.0/login HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let error = stream.read(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert_eq!(simulator.counters().faults["hang"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_device_keeps_every_reply_waiting_and_drips_it() {
    let simulator = start(|_| {}).await;
    let took = |faults: Faults| {
        simulator.set_faults(faults);
        let begun = Instant::now();
        assert_eq!(login(simulator.address(), "v1.1.0", PASSWORD_MD5).member("status"), "Success");
        begun.elapsed()
    };
    let none = Faults::default;
    assert!(took(Faults { reply_delay_ms: 80, ..none() }) >= Duration::from_millis(80));
    // 61 bytes of body.
    assert!(took(Faults { reply_bytes_per_s: 200, ..none() }) >= Duration::from_millis(290));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_locked_out_and_let_in_again() {
    let simulator = start(|_| {}).await;
    let address = simulator.address();
    let client = Client::new(&simulator, "v1.1.0");
    simulator.lock_out(IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert_eq!(login(address, "v1.1.0", PASSWORD_MD5).errno(), "20002");
    assert_eq!(client.post("deviceinfo/query", "").errno(), "", "whoever is in stays in");
    simulator.set_clock(simulator.clock() + jiff::SignedDuration::from_hours(2));
    assert_eq!(login(address, "v1.1.0", PASSWORD_MD5).errno(), "20002");
    simulator.advance(Duration::from_secs(600));
    assert_eq!(login(address, "v1.1.0", PASSWORD_MD5).errno(), "");
    post(address, "/simulator/lockout", "");
    assert_eq!(login(address, "v1.1.0", PASSWORD_MD5).errno(), "20002");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_refuses_the_old_one() {
    let simulator = start(|_| {}).await;
    let address = simulator.address();
    simulator.alter_faults(|faults| faults.password = Some("Another2".into()));
    assert_eq!(login(address, "v1.1.0", PASSWORD_MD5).errno(), "20003");
    let another = callvault::base::digest::hex(&Md5::digest("Another2"));
    assert_eq!(login(address, "v1.1.0", &another).errno(), "");
    simulator.set_faults(Faults::default());
    assert_eq!(login(address, "v1.1.0", PASSWORD_MD5).errno(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_device_shows_its_number_in_every_row() {
    let simulator = start(|_| {}).await;
    simulator.alter_faults(|faults| faults.serial_number = Some("777".into()));
    let client = Client::new(&simulator, "v1.1.0");
    let csv = client.cdr("2000-01-01 00:00:00", "2040-01-01 00:00:00").text();
    assert!(csv.lines().count() > 1 && csv.lines().skip(1).all(|line| line.ends_with(",777")), "{csv}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_port_redirects_a_post_and_tells_the_device_nothing() {
    for tls in [false, true] {
        let simulator = start(|options| {
            options.tls = tls;
            options.redirect_from = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        })
        .await;
        let reply = login(simulator.redirect_address().unwrap(), "v1.1.0", PASSWORD_MD5);
        let location = format!("\r\nLocation: {}/api/v1.1.0/login\r\n", simulator.url());
        assert!(reply.head.starts_with("HTTP/1.1 301 ") && reply.head.contains(&location), "{}", reply.head);
        let counters = simulator.counters();
        assert_eq!((counters.redirected, counters.requests, counters.logins_ok), (1, 0, 0));
        simulator.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_counts_what_a_careless_client_does() {
    let simulator = start(|_| {}).await;
    let address = simulator.address();
    let client = Client::new(&simulator, "v1.1.0");
    let truth = simulator.truth()[0].clone();
    login(address, "v1.1.0", "wrong");
    client.post("heartbeat", "");
    login(address, "v1.1.0", "wrong");
    assert_eq!(login(address, "v1.1.0", PASSWORD_MD5).errno(), "");
    simulator.advance(Duration::from_secs(3600));
    login(address, "v1.1.0", PASSWORD_MD5);
    let again = Client::new(&simulator, "v1.1.0");
    for truncate in [1.0, 0.0] {
        simulator.set_faults(Faults { truncate, ..Faults::default() });
        let body = again.download(&truth.name).body;
        assert_eq!(Digest::of(body) == truth.sha256, truncate == 0.0);
    }
    let counters = simulator.counters();
    assert_eq!((counters.requests_after_refusal, counters.logins_after_refusal), (3, 2));
    assert_eq!(counters.logins_by_hour.values().copied().collect::<Vec<_>>(), [4, 2]);
    assert_eq!((counters.endpoints["login"], counters.endpoints["recording/download"]), (6, 2));
    let since = simulator.clock().duration_since(counters.last_download.unwrap());
    assert!(since.abs() < jiff::SignedDuration::from_secs(60), "{since}");
    let served = simulator.served()[&truth.name];
    assert_eq!(served.whole, 1);
    assert!(served.bytes > truth.size_bytes && served.bytes < 2 * truth.size_bytes, "{served:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_reads_the_accounts_and_sets_clock_and_retention() {
    let simulator = start(|_| {}).await;
    let client = Client::new(&simulator, "v1.1.0");
    let address = client.address;
    let csv = client.cdr("2000-01-01 00:00:00", "2040-01-01 00:00:00");
    assert!(csv.text().contains(".wav"));
    client.download(&first_name(&simulator));
    let lines = |name: &str| get(address, &format!("/simulator/{name}")).text().lines().count();
    assert_eq!((lines("listed"), lines("served"), lines("overwritten")), (20, 1, 0));
    post(address, "/simulator/retention", "{\"recording_bytes\":0}");
    assert_eq!((lines("truth"), lines("overwritten")), (0, 19));
    let set = post(address, "/simulator/clock?at=2024-10-27T00:30:00Z", "").text();
    assert!(set.starts_with("2024-10-27T00:30:00"), "{set}");
    let info = client.post("deviceinfo/query", "").text();
    assert!(info.contains("2024-10-27 02:30:0") && info.contains(" UTC+2"), "{info}");
}
