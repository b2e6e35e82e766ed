//! The campaigns: a kill at every call, and an error at every call.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::runtime::{Builder, Runtime};

use super::fault::Fault;
use super::house::House;
use super::point::{Outcome, Point, count};
use super::work::Work;
use crate::support::campaign::{is_full, seed};
use crate::support::shim::Shim;

/// Points after which a worker moves into a new house: the simulator remembers every secret that it ever gave out.
const POINTS_PER_HOUSE: usize = 250;
/// Workers for each processor: a point waits for the program for most of its time.
const WORKERS_PER_PROCESSOR: usize = 2;
/// Failures after which a campaign tells what it has.
const FAILURES_MAX: usize = 40;

/// A campaign.
struct Campaign {
    shim: Shim,
    faults: &'static [Fault],
    /// How many points there are to be, at least.
    points: usize,
}

/// What came of the points, by work.
#[derive(Default)]
struct Figures(BTreeMap<String, [usize; 3]>);

impl Campaign {
    fn run(&self) {
        let mut figures = Figures::default();
        if let Ok(point) = std::env::var("CALLVAULT_POINT") {
            let point: Point = point.parse().unwrap();
            return match self.faults.contains(&point.fault) {
                true => self.run_points(seed(), &[point], &mut figures),
                false => println!("{point} is another campaign's"),
            };
        }
        let mut seed = seed();
        while figures.reached() < self.points {
            let points = self.points_of(seed, self.points - figures.reached());
            self.run_points(seed, &points, &mut figures);
            seed += 1;
        }
    }

    fn run_points(&self, seed: u64, points: &[Point], figures: &mut Figures) {
        let failures = self.run_round(seed, points, figures);
        println!("seed {seed}: {figures}");
        assert!(failures.is_empty(), "{} points failed: {failures:#?}", failures.len());
    }

    /// The points of one world: every call of every work, or so many of them, spread over all works.
    fn points_of(&self, seed: u64, enough: usize) -> Vec<Point> {
        let runtime = runtime();
        let counts = runtime.block_on(async {
            let mut house = House::new(seed).await;
            let mut counts = Vec::new();
            for work in Work::ALL {
                counts.push((work, count(&mut house, &self.shim, work).await));
            }
            counts
        });
        println!("seed {seed}: calls of each work {counts:?}");
        let each = match is_full() {
            true => usize::MAX,
            false => enough.div_ceil(Work::ALL.len()) + 1,
        };
        let mut points: Vec<Point> =
            counts.iter().flat_map(|(work, calls)| self.points_of_work(*work, *calls, each, seed)).collect();
        // Works beside each other differ: one that is slow is not left to one worker at the end.
        points.sort_by_key(|point| point.at * 2_654_435_761 % 4_294_967_296);
        points
    }

    fn points_of_work(&self, work: Work, calls: usize, each: usize, seed: u64) -> Vec<Point> {
        let stride = (calls / each.min(calls)).max(1);
        let first = 1 + usize::try_from(seed).unwrap() % stride;
        let ats = (first..=calls).step_by(stride);
        let faults = self.faults.iter().cycle().skip(usize::try_from(seed).unwrap() % self.faults.len());
        ats.zip(faults).map(|(at, fault)| Point { work, fault: *fault, at }).collect()
    }

    /// Tells the points that failed.
    fn run_round(&self, seed: u64, points: &[Point], figures: &mut Figures) -> Vec<String> {
        let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let all = Mutex::new(figures);
        let worker = || {
            let runtime = runtime();
            let mut house = None;
            let mut done = 0;
            while failures.lock().unwrap().len() < FAILURES_MAX
                && let Some(point) = points.get(next.fetch_add(1, Relaxed))
            {
                if done % POINTS_PER_HOUSE == 0 {
                    house = None;
                    println!("seed {seed}: {} points", all.lock().unwrap().reached());
                }
                done += 1;
                let run = || {
                    runtime.block_on(async {
                        let mut entered = match house.take() {
                            Some(house) => house,
                            None => House::new(seed).await,
                        };
                        let outcome = point.run(&mut entered, &self.shim).await;
                        house = Some(entered);
                        outcome
                    })
                };
                match catch_unwind(AssertUnwindSafe(run)) {
                    Ok(outcome) => all.lock().unwrap().note(*point, outcome),
                    Err(_) => {
                        let again = format!("CALLVAULT_SEED={seed} CALLVAULT_POINT={point}");
                        println!("FAILED, see above: {again}");
                        failures.lock().unwrap().push(again);
                    }
                }
            }
        };
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..processors * WORKERS_PER_PROCESSOR {
                scope.spawn(worker);
            }
        });
        failures.into_inner().unwrap()
    }
}

/// The simulator answers on a thread of its own while a point waits for the program.
fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

impl Figures {
    fn note(&mut self, point: Point, outcome: Outcome) {
        let counts = self.0.entry(point.work.to_string()).or_default();
        counts[match outcome {
            Outcome::Ended => 0,
            Outcome::Survived => 1,
            Outcome::NotReached => 2,
        }] += 1;
    }

    /// Points that were reached.
    fn reached(&self) -> usize {
        self.0.values().map(|[ended, survived, _]| ended + survived).sum()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} points (ended, survived, not reached):", self.reached())?;
        self.0.iter().try_for_each(|(work, [ended, survived, not_reached])| {
            write!(f, " {work} {ended}, {survived}, {not_reached};")
        })
    }
}

#[test]
fn killed_before_any_call_it_loses_nothing() {
    let Some(shim) = Shim::build() else { return };
    Campaign { shim, faults: &[Fault::Kill], points: if is_full() { 20_000 } else { 500 } }.run();
}

#[test]
fn whichever_call_fails_it_loses_nothing() {
    let Some(shim) = Shim::build() else { return };
    Campaign { shim, faults: &Fault::ERRORS, points: if is_full() { 10_000 } else { 240 } }.run();
}
