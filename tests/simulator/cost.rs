//! What a hundred simulators in one process cost.

use std::process::Command;
use std::time::Duration;

use callvault::simulator::{Retention, Simulator, SimulatorOptions};

/// Resident memory of this process.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A process is what is measured, and here other tests may run beside: so the measurement has one of its own.
#[test]
fn a_hundred_simulators_are_small_and_do_nothing_by_themselves() {
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone.args(["--exact", "cost::the_measurement", "--nocapture"]).env("CALLVAULT_ALONE", "1");
    let ended = alone.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success() && said.contains("KiB each"),
        "{said}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

/// Not a test: what the one above runs in a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_measurement() {
    if std::env::var_os("CALLVAULT_ALONE").is_none() {
        return;
    }
    let fleet = |live: bool| async move {
        let mut fleet = Vec::new();
        for seed in 0..50 {
            let options = SimulatorOptions {
                seed,
                live,
                tls: live,
                days: 31,
                recordings: 200,
                retention: if live { Retention::VENDOR } else { Retention::default() },
                ..SimulatorOptions::default()
            };
            fleet.push(Simulator::start(options).await.unwrap());
        }
        fleet
    };
    let before = resident_kib();
    let fleet: Vec<Simulator> = [fleet(false).await, fleet(true).await].into_iter().flatten().collect();
    for simulator in &fleet {
        simulator.advance(Duration::from_secs(86_400));
        simulator.world(|world| world.today());
    }
    let each = (resident_kib() - before) / 100;
    println!("{each} KiB each");
    assert!(each < 512, "{each} KiB each");
    // One task accepts and one reports; nothing else runs, and they wake for a connection or an event only.
    let metrics = tokio::runtime::Handle::current().metrics();
    assert_eq!(metrics.num_alive_tasks(), 200);
}
