//! The service has the ledger anchored by itself, and archives and seals whatever becomes of that.

use std::process::Command;

use callvault::base::clock::Clock;
use callvault::service::{Orders, Service};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::house::{House, eventually};
use crate::support::authority::{Authority, Manner, openssl_accepts};

#[tokio::test(flavor = "multi_thread")]
async fn the_service_seals_beside_a_silent_authority_and_has_another_stamp_what_it_sealed() {
    let house = House::new();
    let silent = Authority::start_by(&house.clock, Manner::Silent).await;
    let honest = Authority::start(Manner::Honest).await;
    let lines = silent.section("silent") + &honest.section("honest") + "[anchors]\ntimeout_s = 300\n";
    let service = Service::open(house.config(&lines), Clock::system()).await.unwrap();
    let (stop, (_reload, reloads)) = (CancellationToken::new(), mpsc::channel(1));
    let running = tokio::spawn(service.run(Orders { stop: stop.clone(), reload: reloads }));
    let token = || house.anchors().into_iter().find(|name| name.ends_with(".honest.tsr"));
    eventually("a token is there", || token().is_some()).await;
    eventually("the silent one is asked", || silent.requests() > 0).await;
    let token = token().unwrap();
    let stamped = token.replace("honest.tsr", "checkpoint");
    let file = |name: &str| house.file("anchor").join(name);
    assert!(openssl_accepts(&file(&stamped), &file(&token), &file("honest.ca.pem")));
    let output = Command::new(env!("CARGO_BIN_EXE_callvault"))
        .args(["status", "--config"])
        .arg(house.folder.path().join("callvault.toml"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("authority `honest` confirmed "), "{told}");
    assert!(told.contains("authority `silent` has not confirmed the ledger yet"), "{told}");
    // It waits for the silent one still, and ends and seals all the same.
    stop.cancel();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(60), running).await;
    ended.expect("it stops").unwrap().unwrap();
    assert_eq!(house.damages(), Vec::<String>::new());
}
