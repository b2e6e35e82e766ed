//! Each fault does what it says.

use std::io::ErrorKind;
use std::net::SocketAddr;

use callvault::base::digest::Digest;
use callvault::simulator::{Faults, Growing, Simulator};

use crate::wire::{
    Client, PASSWORD_MD5, Reply, exchange, first_name, get, login, read_wav, start, wait_until,
};

/// What a client meets when it downloads under a fault: the reply, or the error of the connection.
pub(crate) fn download_under(simulator: &Simulator, faults: Faults) -> std::io::Result<Reply> {
    simulator.set_faults(Faults::default());
    let client = Client::new(simulator, "v1.1.0");
    let name = first_name(simulator);
    let random = client.ticket(&name).member("random");
    simulator.set_faults(faults);
    let target = client.target(&name, &random);
    exchange(client.address, format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes())
}

/// Of a file without a byte there is no middle: it is sent as it is.
#[tokio::test(flavor = "multi_thread")]
async fn faults_that_strike_an_empty_file_end_all_the_same() {
    let simulator = start(|_| ()).await;
    let nothing = Faults { growing_asks: 1_000, growing_as: Growing::Nothing, ..Faults::default() };
    for fault in [
        Faults { truncate: 1.0, ..nothing.clone() },
        Faults { truncate_wav_header: 1.0, ..nothing.clone() },
        Faults { reset: 1.0, ..nothing.clone() },
        Faults { stall: 1.0, stall_s: 0.01, ..nothing.clone() },
        Faults { bit_flip: 1.0, wrong_length: 1.0, ..nothing },
    ] {
        // What is reset may not arrive.
        let body = download_under(&simulator, fault.clone()).map_or(Vec::new(), |reply| reply.body);
        assert!(body.is_empty(), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_download_does_what_it_says() {
    let simulator = start(|options| options.size_bytes = (300_000, 300_000)).await;
    let truth = simulator.truth()[0].clone();
    let whole = truth.size_bytes as usize;
    let none = Faults::default;
    let reply = download_under(&simulator, none()).unwrap();
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
        let reply = download_under(&simulator, fault).unwrap();
        assert!(reply.head.starts_with(&format!("HTTP/1.1 {status} ")), "{}", reply.head);
        assert!(reply.text().starts_with(start), "{}", reply.text());
    }
    let empty = download_under(&simulator, Faults { empty_body: 1.0, ..none() }).unwrap();
    assert!(empty.head.starts_with("HTTP/1.1 200") && empty.body.is_empty());
    let cut = download_under(&simulator, Faults { truncate: 1.0, ..none() }).unwrap();
    assert!(!cut.body.is_empty() && cut.body.len() < whole - 1);
    let cut = download_under(&simulator, Faults { truncate_wav_header: 1.0, ..none() }).unwrap();
    assert!((1..44).contains(&cut.body.len()));
    let cut = download_under(&simulator, Faults { truncate_head: 1.0, ..none() }).unwrap();
    assert!(!cut.head.ends_with("\r\n\r\n") && cut.body.is_empty());
    let wrong = download_under(&simulator, Faults { wrong_length: 1.0, ..none() }).unwrap();
    assert_eq!(wrong.body.len(), whole);
    assert!(
        wrong.head.contains("Content-Length: ")
            && !wrong.head.contains(&format!("Content-Length: {whole}\r"))
    );
    let flipped = download_under(&simulator, Faults { bit_flip: 1.0, ..none() }).unwrap();
    read_wav(&flipped.body);
    assert_ne!(Digest::of(&flipped.body), truth.sha256);
    let growing = Faults { growing_asks: 1, ..none() };
    read_wav(&download_under(&simulator, growing.clone()).unwrap().body);
    assert_eq!(download_under(&simulator, growing).unwrap().body.len(), 44);
    for fault in [Faults { reset: 1.0, ..none() }, Faults { refuse: 1.0, ..none() }] {
        let error = download_under(&simulator, fault).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    let redirect = Faults { redirect: 1.0, redirect_to: "https://pbx:8088/".to_owned(), ..none() };
    let redirect = download_under(&simulator, redirect).unwrap();
    assert!(
        redirect.head.starts_with("HTTP/1.1 302")
            && redirect.head.contains("Location: https://pbx:8088/\r\n")
    );
    let counters = simulator.counters();
    assert_eq!(counters.downloads_ok, 1, "only the faultless one: {counters:?}");
    assert_eq!((counters.tickets_refused, counters.tickets_expired, counters.tickets_reused), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_with_a_limit_goes_on() {
    let simulator = start(|_| {}).await;
    let sha256 = simulator.truth()[0].sha256;
    let faults = Faults { stall: 1.0, stall_s: 0.05, ..Faults::default() };
    let reply = download_under(&simulator, faults).unwrap();
    assert_eq!(Digest::of(reply.body), sha256);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_comes_back_and_a_lock_out_can_be_ordered() {
    let simulator = start(|_| {}).await;
    let client = Client::new(&simulator, "v1.1.0");
    let name = first_name(&simulator);
    simulator.set_faults(Faults { missing_asks: 2, ..Faults::default() });
    let errnos: Vec<String> = (0..3).map(|_| client.ticket(&name).errno()).collect();
    assert_eq!(errnos, ["20014", "20014", ""]);
    simulator.set_faults(Faults { locked_out: true, ..Faults::default() });
    assert_eq!(login(client.address, "v1.1.0", PASSWORD_MD5).errno(), "20002");
    assert_eq!(simulator.counters().absences_told, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_download_spends_its_ticket_or_not_as_told() {
    for consumes in [true, false] {
        let simulator = start(|options| options.abort_consumes_ticket = consumes).await;
        let client = Client::new(&simulator, "v1.1.0");
        let name = first_name(&simulator);
        let target = client.target(&name, &client.ticket(&name).member("random"));
        simulator.set_faults(Faults { truncate: 1.0, ..Faults::default() });
        get(client.address, &target);
        simulator.set_faults(Faults::default());
        assert_eq!(get(client.address, &target).body.starts_with(b"RIFF"), !consumes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_counted_and_unknown_afterwards() {
    let simulator = start(|_| {}).await;
    simulator.set_faults(Faults { token_revoked: 1.0, ..Faults::default() });
    let client = Client::new(&simulator, "v1.1.0");
    let name = first_name(&simulator);
    let reply = client.download(&name);
    assert_eq!(reply.errno(), "20004");
    let counters = simulator.counters();
    assert_eq!((counters.revocations, counters.logins_ok, counters.tickets_issued), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_cdr_touch_rows() {
    let simulator = start(|_| {}).await;
    let under = |faults: Faults| {
        simulator.set_faults(faults);
        Client::new(&simulator, "v1.1.0").cdr("2000-01-01 00:00:00", "2030-01-01 00:00:00")
    };
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let none = Faults::default;
    let plain = under(none()).text();
    let count = plain.lines().count();
    let reordered = under(Faults { cdr_reordered: 1.0, ..none() }).text();
    assert_ne!(reordered, plain);
    assert_eq!(sorted(&reordered), sorted(&plain));
    let lines = |faults: Faults| under(faults).text().lines().count();
    assert_eq!(lines(Faults { cdr_row_cap: 5, ..none() }), 6);
    assert_eq!(lines(Faults { cdr_duplicate: 1.0, ..none() }), 2 * count - 1);
    assert!(lines(Faults { cdr_missing: 0.5, ..none() }) < count);
    let broken = under(Faults { cdr_broken: 1.0, ..none() }).text();
    assert_eq!(broken.lines().count(), count);
    assert!(broken.lines().skip(1).all(|line| line.split(',').count() < 14));
    let altered = under(Faults { cdr_altered: 1.0, ..none() }).text();
    let recordings = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.rsplit(',').nth(2).unwrap().to_owned()).collect()
    };
    assert_eq!(recordings(&altered), recordings(&plain), "the names stay");
    assert!(altered.lines().zip(plain.lines()).skip(1).all(|(altered, plain)| altered != plain));
    simulator.set_faults(Faults { cdr_504: 1.0, ..none() });
    let reply = Client::new(&simulator, "v1.1.0").post("cdr/get_random", "{}");
    assert!(reply.head.starts_with("HTTP/1.1 504"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_cut_off_does_not_count_as_listed() {
    let simulator = start(|_| {}).await;
    for rows in [1, 2] {
        simulator.set_faults(Faults { cdr_cut: 1.0, cdr_row_cap: rows, ..Faults::default() });
        let client = Client::new(&simulator, "v1.1.0");
        let text = client.cdr("2000-01-01 00:00:00", "2030-01-01 00:00:00").text();
        assert_eq!((text.ends_with('\n'), text.lines().count() as u64), (false, 1 + rows), "{text}");
        for listed in simulator.ever_listed() {
            let name = String::from_utf8(listed.name).unwrap();
            let whole = text.lines().rev().skip(1).any(|line| line.contains(&name));
            assert!(whole, "{name} counts as listed, and its row was cut off: {text}");
        }
    }
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
    wait_until(|| simulator.counters().connections_now == 0).await;
    assert_eq!(simulator.counters().certificates_accepted, [(0, 1)].into());
    simulator.set_faults(Faults::default());
    login_over_tls(simulator.address(), first).await.unwrap();
    wait_until(|| simulator.counters().connections_now == 0).await;
    assert_eq!(simulator.counters().connections_peak, 1);
}
