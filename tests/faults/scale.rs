//! A queue of a million recordings: start-up and memory stay small.
//!
//! `CALLVAULT_FULL=1` queues 1,000,000 recordings instead of 100,000. Figures are printed; `cargo test --release` gives
//! those that count.

use std::fs;
use std::time::{Duration, Instant};

use callvault::store::db::Db;
use rustix::process::{Pid, Signal};

use crate::support::program::{Folder, Pbx, eventually};

/// Far more than the 1 s that is promised: machines that run tests have other things to do too.
const START_MAX: Duration = Duration::from_secs(5);
const MEMORY_KIB_MAX: u64 = 64 << 10;

/// Fills the queue of PBX `hq` with recordings of the last 150 days, which the simulator does not have.
fn fill_queue(folder: &Folder, recordings: i64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let db = Db::open(&folder.path("state")).await.unwrap();
        db.write(async move |tx| {
sqlx::query(
                    "with recursive n (i) as (select 0 union all select i + 1 from n where i + 1 < ?),
                     named (i, day, name) as (
                         select i, date('now', '-' || (150 - i * 150 / ?1) || ' days'),
                             format('20260101-%08d-10%02d-0%010d-Inbound.wav', i, i % 97, i) from n)
                     insert into recordings (pbx, kind, sn, name, day, started_at_ms, path, salt, ready)
                     select 'hq', 'call', '369392500001', cast(name as blob), day, unixepoch(day) * 1000 + i % 86400000,
                         'hq/' || replace(day, '-', '/') || '/' || name, randomblob(32), 1 from named",
                )
                .bind(recordings)
                .execute(tx)
                .await?;
                Ok(())
})
        .await
        .unwrap();
    });
}

/// The most memory that a process has had, in KiB; `None` once it has ended.
fn memory_peak_kib(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[test]
fn a_long_queue_neither_delays_the_start_nor_takes_memory() {
    let full = std::env::var("CALLVAULT_FULL").is_ok_and(|full| full == "1");
    let recordings: i64 = if full { 1_000_000 } else { 100_000 };
    let pbx = Pbx::with(3);
    let folder = Folder::for_pbx(&pbx.url());
    // The state is the program's own: a first start has things to do that no later one has.
    folder.run(&["backfill", "--dry-run", "--json"]).exits(0);
    let requests = pbx.counters().requests;
    let began = Instant::now();
    fill_queue(&folder, recordings);
    println!("{recordings} recordings queued in {:.2} s", began.elapsed().as_secs_f64());

    let began = Instant::now();
    let mut running = folder.start(folder.command(["backfill"]));
    eventually("the PBX hears of it", || pbx.counters().requests > requests);
    let start = began.elapsed();
    let answers = if full { 3_000 } else { 300 };
    eventually("many were asked for", || pbx.counters().absences_told > answers);
    let mut memory_kib = memory_peak_kib(running.pid()).unwrap();
    println!(
        "backfill: {:.3} s from start to the first request; {memory_kib} KiB at most while {answers} were asked for",
        start.as_secs_f64()
    );
    // Its end writes down all that is owed, which takes a while, and memory too: looked at in the full run.
    let stopping = Instant::now();
    running.signal(if full { Signal::INT } else { Signal::KILL });
    eventually("it ends", || {
        memory_kib = memory_kib.max(memory_peak_kib(running.pid()).unwrap_or(0));
        running.has_ended()
    });
    drop(running);
    println!("stopped after {:.2} s, {memory_kib} KiB at most", stopping.elapsed().as_secs_f64());

    let began = Instant::now();
    let said = folder.run(&["backfill", "--dry-run", "--json"]).exits(0);
    println!("backfill --dry-run: {:.3} s", began.elapsed().as_secs_f64());
    assert_eq!(said.count("listed"), recordings + 3);
    let began = Instant::now();
    let status = folder.run(&["status", "--json"]).exits(3);
    let status_s = began.elapsed();
    println!("status: {:.3} s", status_s.as_secs_f64());
    assert_eq!(status.json()["pbx"]["hq"]["listed"], recordings + 3);

    assert!(memory_kib < MEMORY_KIB_MAX, "{memory_kib} KiB");
    assert!(start < START_MAX && status_s < START_MAX, "start-up takes {start:?}, status {status_s:?}");
}
