//! A simulated PBX with a runtime of its own: tests may block while it serves.

use std::ops::Deref;
use std::time::Duration;

use callvault::simulator::{Simulator, SimulatorOptions};
use tokio::runtime::{Builder, Runtime};

use super::PASSWORD;

/// A running simulator; dropping it stops it.
pub(crate) struct Pbx {
    simulator: Option<Simulator>,
    runtime: Runtime,
}

impl Pbx {
    /// A PBX with a few small recordings on one day.
    pub(crate) fn with(recordings: u64) -> Self {
        Self::start(Self::options(recordings))
    }

    /// Options for a PBX with a few small recordings on one day.
    pub(crate) fn options(recordings: u64) -> SimulatorOptions {
        SimulatorOptions {
            password: PASSWORD.to_owned(),
            recordings,
            days: 1,
            size_bytes: (1_000, 3_000),
            ..SimulatorOptions::default()
        }
    }

    /// A PBX that takes its time, so that there is one to interrupt it.
    pub(crate) fn slow(recordings: u64) -> Self {
        Self::start(SimulatorOptions { latency: Duration::from_millis(20), ..Self::options(recordings) })
    }

    /// A PBX of any kind.
    pub(crate) fn start(options: SimulatorOptions) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let simulator = runtime.block_on(Simulator::start(options)).unwrap();
        Self { simulator: Some(simulator), runtime }
    }

    /// Logins of every outcome.
    pub(crate) fn logins(&self) -> u64 {
        let counters = self.counters();
        counters.logins_ok + counters.logins_refused + counters.logins_locked
    }

    /// Stops it and tells the address at which now nothing listens.
    pub(crate) fn stop(mut self) -> String {
        let url = self.url();
        let simulator = self.simulator.take().unwrap();
        self.runtime.block_on(simulator.shutdown());
        url
    }
}

impl Deref for Pbx {
    type Target = Simulator;

    fn deref(&self) -> &Simulator {
        self.simulator.as_ref().unwrap()
    }
}
