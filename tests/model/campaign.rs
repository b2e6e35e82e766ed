//! The campaign: sequences by chance, as many as there is time for.

use std::sync::Mutex;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tokio::runtime::{Builder, Runtime};

use crate::house::House;
use crate::number;
use crate::step::{Step, sequences};

/// Sequences that are played at one time: they wait now and then.
const WORKERS: u32 = 4;
/// Sequences that are tried to make a failing one shorter.
const SHRINKS_MAX: u32 = 300;

/// Lets a sequence happen, and then all be well.
pub(crate) fn play(runtime: &Runtime, steps: &[Step]) {
    runtime.block_on(async {
        let mut house = House::new().await;
        for step in steps {
            house.apply(*step).await;
        }
        house.finish().await;
    });
}

/// The PBX answers on a thread of its own.
pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Tells the shortest sequence that fails, of so many drawn from this seed.
fn work(seed: u64, cases: u32) -> Result<(), String> {
    let config =
        Config { cases, max_shrink_iters: SHRINKS_MAX, failure_persistence: None, ..Config::default() };
    let bytes: Vec<u8> = (0..4).flat_map(|part| (seed.wrapping_mul(4) + part).to_le_bytes()).collect();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let runtime = runtime();
    let outcome = TestRunner::new_with_rng(config, rng).run(&sequences(), |steps| {
        play(&runtime, &steps);
        Ok::<(), TestCaseError>(())
    });
    match outcome {
        Ok(()) => Ok(()),
        Err(TestError::Fail(why, steps)) => Err(format!("{why}: &{steps:?}")),
        Err(TestError::Abort(why)) => Err(why.to_string()),
    }
}

#[test]
fn whatever_happens_in_whatever_order_the_model_is_right() {
    let cases = if number("CALLVAULT_FULL") == Some(1) { 10_000 } else { 1_000 };
    let seed = number("CALLVAULT_SEED").unwrap_or(1);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let failures = &failures;
            scope.spawn(move || {
                let seed = seed.wrapping_mul(u64::from(WORKERS)) + u64::from(worker);
                if let Err(failure) = work(seed, cases / WORKERS) {
                    failures.lock().unwrap().push(failure);
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "with CALLVAULT_SEED={seed}:\n{}", failures.join("\n"));
    println!("{cases} sequences, seed {seed}");
}
