//! A campaign: cases by chance, as many as there is time for. One that fails is made as short as it can be.

use std::sync::Mutex;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tokio::runtime::{Builder, Runtime};

/// Cases that are tried to make a failing one shorter.
const SHRINKS_MAX: u32 = 300;

/// The PBX answers on a thread of its own.
pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A number that the environment says.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Whether all is to be done that can be.
pub(crate) fn is_full() -> bool {
    number("CALLVAULT_FULL") == Some(1)
}

/// What all draws depend on.
pub(crate) fn seed() -> u64 {
    number("CALLVAULT_SEED").unwrap_or(1)
}

/// Plays `reduced` cases, or `full` ones with `CALLVAULT_FULL=1`, so many at one time: they wait now and then.
/// `CALLVAULT_SEED` chooses others.
pub(crate) fn run<S: Strategy>(
    (reduced, full): (u32, u32),
    at_once: u32,
    strategy: impl Fn() -> S + Sync,
    play: impl Fn(&Runtime, &S::Value) + Sync,
) {
    let cases = if is_full() { full } else { reduced };
    let seed = seed();
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..at_once {
            let (failures, strategy, play) = (&failures, &strategy, &play);
            scope.spawn(move || {
                let seed = seed.wrapping_mul(u64::from(at_once)) + u64::from(worker);
                if let Err(failure) = work(seed, cases / at_once, &strategy(), play) {
                    failures.lock().unwrap().push(failure);
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "with CALLVAULT_SEED={seed}:\n{}", failures.join("\n"));
    println!("{cases} cases, seed {seed}");
}

/// Tells the shortest case that fails, of so many drawn from this seed.
fn work<S: Strategy>(
    seed: u64,
    cases: u32,
    strategy: &S,
    play: impl Fn(&Runtime, &S::Value),
) -> Result<(), String> {
    let config =
        Config { cases, max_shrink_iters: SHRINKS_MAX, failure_persistence: None, ..Config::default() };
    let bytes: Vec<u8> = (0..4).flat_map(|part| (seed.wrapping_mul(4) + part).to_le_bytes()).collect();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let runtime = runtime();
    let outcome = TestRunner::new_with_rng(config, rng).run(strategy, |case| {
        play(&runtime, &case);
        Ok::<(), TestCaseError>(())
    });
    match outcome {
        Ok(()) => Ok(()),
        Err(TestError::Fail(why, case)) => Err(format!("{why}: {case:?}")),
        Err(TestError::Abort(why)) => Err(why.to_string()),
    }
}
