//! What a configuration may say about reports.

use std::net::IpAddr;

use super::tests::{MINIMAL, parse, said};
use super::*;

const PUSH: &str = "[push]\nlisten = '0.0.0.0:8260'\n";

fn mode(pbx: &str, rest: &str) -> PushMode {
    parse(&format!("{MINIMAL}{pbx}\n{rest}")).unwrap().pbx.remove(0).push
}

#[test]
fn reports_are_off_unless_asked_for() {
    assert_eq!(mode("", ""), PushMode::Off);
    assert_eq!(mode("push = 'off'\npush_from = '192.0.2.1'\nlogin_port = 8260", PUSH), PushMode::Off);
}

#[test]
fn a_pbx_is_told_of_the_listener_in_the_words_of_the_api() {
    let PushMode::Http(address) = mode("push = 'http'", "[push]\nlisten = '192.0.2.20:9260'") else {
        panic!()
    };
    assert_eq!((address.host.is_none(), address.port, address.to_string().as_str()), (true, 9260, "hq"));
    for (url, port, told) in [
        ("http://192.0.2.20:8261", 8261, "192.0.2.20:8261/hq"),
        ("http://vault.example", 80, "vault.example:80/hq"),
        ("http://[2001:db8::1]:8260/reports/hq", 8260, "[2001:db8::1]:8260/reports/hq"),
    ] {
        let PushMode::Http(address) = mode(&format!("push = 'http'\npush_url = '{url}'"), PUSH) else {
            panic!()
        };
        assert_eq!((address.port, address.to_string().as_str()), (port, told));
    }
}

#[test]
fn a_stream_has_a_port_of_the_pbx() {
    let v2 = "api_version = 'v2.0.0'\nallow_plain_http = true\npush = 'tcp'";
    assert_eq!(mode(v2, ""), PushMode::Tcp { port: 8333 });
    assert_eq!(mode(&format!("{v2}\npush_tcp_port = 9333"), ""), PushMode::Tcp { port: 9333 });
}

#[test]
fn sources_are_addresses() {
    let config =
        parse(&format!("{MINIMAL}push = 'http'\npush_from = ['192.0.2.1', '2001:db8::1']\n{PUSH}")).unwrap();
    assert_eq!(
        config.pbx[0].push_from,
        ["192.0.2.1", "2001:db8::1"].map(|text| text.parse::<IpAddr>().unwrap())
    );
    assert_eq!(config.push.listen, "0.0.0.0:8260".parse().unwrap());
}

#[test]
fn what_cannot_work_is_refused_with_the_remedy() {
    let said = [
        said("push = 'http'\nlogin_port = 8260", PUSH),
        said("push = 'tcp'", ""),
        said("push = 'tcp'\napi_version = 'v2.0.0'\nallow_plain_http = true\nlogin_port = 8260", ""),
        said("push = 'yes'", ""),
        said("push_tcp_port = 8333", ""),
        said("push_url = 'http://192.0.2.20'\npush_from = '192.0.2.1'", PUSH),
        said("push = 'http'\npush_url = 'https://192.0.2.20'", PUSH),
        said("push = 'http'\npush_url = 'http://api:hunter2@192.0.2.20'", PUSH),
        said("push = 'http'\npush_from = ['hq.example', '192.0.2.1']", PUSH),
        said("push = 'http'", "[push]\nlisten = '8260'"),
        said("", "[push]\nlisten = '0.0.0.0:0'"),
    ];
    let said = said.map(|text| {
        text.lines().filter(|line| line.starts_with("callvault.toml")).collect::<Vec<_>>().join("\n")
    });
    insta::assert_snapshot!(said.join("\n"), @r#"
    callvault.toml:11:14: pbx.login_port = 8260: stands beside push, which decides where the PBX's reports go; remove the line: the port of [push] listen, or of push_url, is sent
    callvault.toml:10:8: pbx.push = 'tcp': needs API v2.0.0, and api_version is v1.1.0; use push = "http", or set api_version = "v2.0.0" if the PBX has it
    callvault.toml:10:8: pbx.push = 'tcp': would send the password's MD5 unencrypted: the PBX's event stream knows no TLS; use push = "http", or add allow_plain_http = true
    callvault.toml:13:14: pbx.login_port = 8260: stands beside push, which decides where the PBX's reports go; remove the line: with TCP, callvault sends the PBX no port
    callvault.toml:10:8: pbx.push = 'yes': must be "off", "http" or "tcp"; write one of them
    callvault.toml:10:17: pbx.push_tcp_port = 8333: has no effect without push, which is off; add push = "tcp", or remove the line
    callvault.toml:10:12: pbx.push_url = 'http://192.0.2.20': has no effect without push, which is off; add push = "http", or remove the line
    callvault.toml:11:13: pbx.push_from = '192.0.2.1': has no effect without push, which is off; add push = "http", or remove the line
    callvault.toml:11:12: pbx.push_url = 'https://192.0.2.20': must begin with http://: the PBX reports in plain HTTP only; write the listener's address as the PBX sees it, such as "http://192.0.2.20:8260"
    callvault.toml:11:12: pbx.push_url: holds more than scheme, host, port and path; write the listener's address as the PBX sees it, such as "http://192.0.2.20:8260"
    callvault.toml:11:14: pbx.push_from = 'hq.example': is not an IP address; write the address from which the PBX's reports arrive here, such as "192.0.2.10"
    callvault.toml:12:10: push.listen = '8260': is not an address with a port; write an address of this machine and a port, such as "0.0.0.0:8260"
    callvault.toml:12:10: push.listen = '0.0.0.0:0': has the port 0, which is another one at each start; write an address of this machine and a port, such as "0.0.0.0:8260"
    "#);
}
