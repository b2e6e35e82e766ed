//! What the device overwrites by itself, and what of that nobody had yet.

use std::collections::BTreeSet;
use std::time::Duration;

use callvault::simulator::{Retention, Simulator, Store};

use crate::wire::{Client, start};

const DAY: Duration = Duration::from_secs(86_400);
const ALL: [&str; 2] = ["2000-01-01 00:00:00", "2040-01-01 00:00:00"];

/// Thirty recordings of the three days before 2024-03-31.
async fn keeping(retention: Retention) -> Simulator {
    start(|options| {
        options.recordings = 30;
        options.retention = retention;
    })
    .await
}

/// The recordings in the order of their calls.
async fn in_order() -> Vec<Vec<u8>> {
    let simulator = keeping(Retention::default()).await;
    let rows = simulator.world(|world| world.all_rows());
    rows.into_iter().filter(|row| row.audio.is_some()).map(|row| row.recording).collect()
}

fn held(simulator: &Simulator) -> BTreeSet<Vec<u8>> {
    simulator.truth().into_iter().map(|truth| truth.name).collect()
}

fn named(simulator: &Simulator) -> BTreeSet<Vec<u8>> {
    let rows = simulator.world(|world| world.all_rows());
    rows.into_iter().map(|row| row.recording).filter(|name| !name.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_go_by_days_and_their_rows_stay() {
    let simulator = keeping(Retention { recording_days: Some(2), ..Retention::default() }).await;
    // Three days ago: 10 recordings; a recording of the second day before today is kept.
    assert_eq!((held(&simulator).len(), named(&simulator).len()), (20, 30));
    let first = in_order().await.remove(0);
    assert_eq!(Client::new(&simulator, "v1.1.0").ticket(&first).errno(), "20014");
    simulator.advance(DAY);
    assert_eq!((held(&simulator).len(), named(&simulator).len()), (10, 30));
    simulator.advance(DAY);
    assert_eq!(held(&simulator).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_go_by_bytes_the_oldest_first() {
    let sizes: Vec<(Vec<u8>, u64)> = {
        let simulator = keeping(Retention::default()).await;
        let truth = simulator.truth();
        let size = |name: &Vec<u8>| truth.iter().find(|truth| truth.name == *name).unwrap().size_bytes;
        in_order().await.into_iter().map(|name| (name.clone(), size(&name))).collect()
    };
    let newest: Vec<_> = sizes.iter().rev().take(7).collect();
    let most = newest.iter().map(|(_, size)| size).sum();
    let simulator = keeping(Retention { recording_bytes: Some(most), ..Retention::default() }).await;
    assert_eq!(held(&simulator), newest.into_iter().map(|(name, _)| name.clone()).collect());
    assert_eq!(named(&simulator).len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_by_number_and_by_days_and_the_audio_stays() {
    let simulator = keeping(Retention { cdr_rows: Some(5), ..Retention::default() }).await;
    assert_eq!(simulator.world(|world| world.all_rows().len()), 5);
    assert_eq!(held(&simulator).len(), 30);
    let simulator = keeping(Retention { cdr_days: Some(1), ..Retention::default() }).await;
    assert_eq!((named(&simulator).len(), held(&simulator).len()), (10, 30));
    simulator.advance(DAY);
    let client = Client::new(&simulator, "v1.1.0");
    assert_eq!(client.cdr(ALL[0], ALL[1]).errno(), "20021");
    let orphan = in_order().await.remove(0);
    assert!(client.download(&orphan).body.starts_with(b"RIFF"), "nobody lists it, but it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_overwritten_before_anyone_had_it_is_told() {
    let simulator = keeping(Retention::default()).await;
    let (order, truth) = (in_order().await, simulator.truth());
    let client = Client::new(&simulator, "v1.1.0");
    assert!(client.download(&order[0]).body.starts_with(b"RIFF"));
    simulator.world(|world| world.delete_audio(&order[1]));
    simulator.set_retention(Retention { recording_days: Some(2), ..Retention::default() });
    let lost = simulator.overwritten();
    // Neither what was fetched nor what an administrator deleted.
    assert_eq!(
        lost.iter().map(|lost| &lost.name).collect::<Vec<_>>(),
        order[2..10].iter().collect::<Vec<_>>()
    );
    for lost in &lost {
        let known = truth.iter().find(|truth| truth.name == lost.name).unwrap();
        assert_eq!((lost.store, lost.sha256), (Store::Recordings, Some(known.sha256)));
    }
    let csv = client.cdr("2024-03-29 00:00:00", "2024-03-29 23:59:59");
    assert!(csv.text().contains(".wav"));
    simulator.set_retention(Retention { cdr_rows: Some(0), ..Retention::default() });
    let rows: BTreeSet<Vec<u8>> = simulator
        .overwritten()
        .into_iter()
        .filter(|lost| lost.store == Store::Cdr)
        .map(|lost| lost.name)
        .collect();
    let listed: BTreeSet<Vec<u8>> = simulator.ever_listed().into_iter().map(|listed| listed.name).collect();
    assert_eq!((listed.len(), rows.len()), (10, 20));
    assert!(rows.is_disjoint(&listed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_lives_overwrites_as_its_clock_moves() {
    let simulator = start(|options| {
        options.live = true;
        options.days = 20;
        options.recordings = 200;
        options.today = Some(jiff::civil::date(2024, 4, 19));
        options.retention = Retention { recording_days: Some(3), cdr_days: Some(5), ..Retention::default() };
    })
    .await;
    simulator.advance(5 * DAY);
    for _ in 0..8 {
        simulator.advance(DAY);
        let (held, named) = (held(&simulator).len(), named(&simulator).len());
        assert!((30..=42).contains(&held), "{held}");
        assert!(named > held && named <= 62, "{named}");
    }
    simulator.set_clock(simulator.clock() + jiff::SignedDuration::from_hours(365 * 24));
    assert_eq!((held(&simulator).len(), named(&simulator).len()), (0, 0), "it cleans by its own clock");
}
