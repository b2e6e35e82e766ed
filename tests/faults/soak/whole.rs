//! The course of a soak.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use super::house::House;
use super::keeper::Kept;
use super::length::Length;
use super::stop::Stop;
use super::{ending, feed_reader, gauge, judgement, life, operator};

/// Soaks two installations at once, and judges them.
pub(crate) fn run(length: Length) {
    println!("{length:?}");
    let began = Instant::now();
    let killed = std::thread::spawn(move || soak("killed", length.seed, length, Some(length.kill_every)));
    let wrong: Vec<String> = {
        let mut wrong = soak("unharmed", length.seed + 1, length, None);
        wrong.extend(killed.join().expect("the other one is well too"));
        wrong
    };
    println!("\n{:.0} s in all", began.elapsed().as_secs_f64());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Lives through it all with one installation; what grew.
fn soak(name: &'static str, seed: u64, length: Length, kill_every: Option<Duration>) -> Vec<String> {
    let house = House::build(name, seed);
    let kept = Kept::default();
    kept.start(&house);
    let (stop, end) = (Stop::default(), Stop::default());
    let (looks, (codes, mut wrong)) = std::thread::scope(|scope| {
        let looks = scope.spawn(|| gauge::watch(&house, &kept, length.look_every, &stop));
        let codes = scope.spawn(|| operator::operate(&house, length.command_every, seed, &stop));
        let life = scope.spawn(|| life::live(&house.devices, length.event_every, seed, &stop));
        let keeper = scope.spawn(|| kept.keep(&house, kill_every, &stop));
        let reader = scope.spawn(|| feed_reader::follow(house.web_port, &end, &house.reader));
        // If one of them fails, the others are not to go on for an hour.
        let began = Instant::now();
        let mut is_over = false;
        while !is_over {
            is_over = stop.comes_within(Duration::from_millis(200))
                || began.elapsed() >= length.whole
                || looks.is_finished()
                || life.is_finished()
                || codes.is_finished()
                || keeper.is_finished()
                || reader.is_finished();
        }
        stop.set();
        let looks = looks.join();
        let codes = codes.join();
        let all_well = [life.join(), keeper.join()].iter().all(Result::is_ok);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert!(all_well && looks.is_ok() && codes.is_ok(), "{name}: see above");
            ending::check(&house, &kept);
        }));
        end.set();
        reader.join().unwrap();
        if let Err(panic) = checked {
            keep_for_a_look(&house, &kept);
            std::panic::resume_unwind(panic);
        }
        (looks.unwrap(), codes.unwrap())
    });
    report(&house, &kept, &codes);
    wrong.extend(judgement::judge(name, &looks));
    wrong
}

/// Tells what the service says of itself, and keeps its log and its database: they are gone with the folder.
fn keep_for_a_look(house: &House, kept: &Kept) {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("soak-failed-{}", house.name));
    std::fs::create_dir_all(&place).unwrap();
    let said = kept.with(|service| service.so_far()).unwrap_or_default();
    std::fs::write(place.join("log"), said).unwrap();
    for name in ["callvault.db", "callvault.db-wal"] {
        // Others may be at it: what can be had is better than nothing.
        drop(std::fs::copy(house.folder.path(&format!("state/{name}")), place.join(name)));
    }
    println!("{}: {}", house.name, house.folder.run(&["status"]).stdout);
    println!("{}: log and database are kept in {}", house.name, place.display());
}

fn report(house: &House, kept: &Kept, codes: &operator::Codes) {
    let name = house.name;
    let reader = house.reader.lock().unwrap();
    println!(
        "{name}: killed {} times; feed: {} entries in {} answers, {} broken off, {} audio fetched, {} pages of metrics",
        kept.kills.lock().unwrap(),
        reader.read.len(),
        reader.answers,
        reader.broken,
        reader.fetched,
        reader.scraped
    );
    println!(
        "{name}: {} alerts and pings, {} mails, {:?} time stamps, {} deliveries of the ledger; commands by exit code: {codes:?}",
        house.far_sides.received().len(),
        house.far_sides.mail.mails().len(),
        house.far_sides.stamped(),
        house.receiver.tries().len()
    );
    for device in &house.devices {
        let counters = device.pbx.counters();
        let faults: BTreeMap<_, _> = counters.faults;
        let struck: u64 = faults.values().sum();
        println!(
            "{name}/{}: {} requests, {} downloads begun, {} whole; {struck} faults of {} kinds; {} overwritten; push: {:?}",
            device.id,
            counters.requests,
            counters.downloads_started,
            counters.downloads_ok,
            faults.len(),
            device.pbx.overwritten().len(),
            device.pbx.push_counters()
        );
    }
}
