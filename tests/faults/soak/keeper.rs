//! Who starts the service, kills it now and then, and starts it again.

use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;

use super::house::House;
use super::stop::Stop;
use crate::support::supervisor::Service;

/// The service of an installation, as far as one runs.
#[derive(Default)]
pub(crate) struct Kept {
    service: Mutex<Option<Service>>,
    /// Lines that earlier lives of it logged.
    logged: Mutex<usize>,
    /// How often it was killed.
    pub(crate) kills: Mutex<u64>,
}

impl Kept {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(&self, house: &House) {
        // Not under the lock: a command may have the state for a while.
        let service = Service::ready_at_last(&house.folder);
        *self.service.lock().unwrap() = Some(service);
    }

    /// Kills it again and again, if it is to be killed at all, until told to stop. It runs at the end.
    pub(crate) fn keep(&self, house: &House, every: Option<Duration>, stop: &Stop) {
        loop {
            let is_over = stop.comes_within(every.unwrap_or(Duration::from_secs(1)));
            if is_over {
                return;
            }
            if every.is_some() {
                self.kill();
                self.start(house);
            } else {
                self.with(|service| assert!(!service.has_ended(), "it ended: {}", service.so_far()));
            }
        }
    }

    fn kill(&self) {
        let mut service = self.service.lock().unwrap().take().expect("it runs");
        assert!(!service.has_ended(), "it ended by itself: {}", service.so_far());
        service.signal(Signal::KILL);
        let (said, _) = service.wait();
        assert_eq!(said.code, 128 + 9, "{said:?}");
        *self.logged.lock().unwrap() += said.stderr.lines().count();
        *self.kills.lock().unwrap() += 1;
    }

    /// Does something with the service, if it runs.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Service) -> T) -> Option<T> {
        self.service.lock().unwrap().as_mut().map(work)
    }

    /// Lines that it has logged in all its lives.
    pub(crate) fn logged(&self) -> usize {
        let now = self.with(|service| service.so_far().lines().count()).unwrap_or_default();
        *self.logged.lock().unwrap() + now
    }

    /// Stops it in good order.
    pub(crate) fn stop(&self) {
        let service = self.service.lock().unwrap().take().expect("it runs");
        service.stop().0.exits(0);
    }
}
