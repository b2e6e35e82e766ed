//! What a hundred simulators in one process cost: alone in its program, for a process is what is measured.

use std::time::Duration;

use callvault::simulator::{Retention, Simulator, SimulatorOptions};

/// Resident memory of this process.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_simulators_are_small_and_do_nothing_by_themselves() {
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
    assert!(each < 512, "{each} KiB each");
    // One task accepts and one reports; nothing else runs, and they wake for a connection or an event only.
    let metrics = tokio::runtime::Handle::current().metrics();
    assert_eq!(metrics.num_alive_tasks(), 200);
}
