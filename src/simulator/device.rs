//! The device as one thing: its parts, each behind its own lock, none held while something is sent.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::account::Account;
use super::chance::Luck;
use super::clock::{DeviceClock, Moment};
use super::connections::Connections;
use super::counters::Counters;
use super::faults::{Asks, Faults};
use super::lock;
use super::outage::Outages;
use super::profile::SimulatorOptions;
use super::push::{Job, Push};
use super::retention::Overwritten;
use super::session::Sessions;
use super::tickets::Tickets;
use super::tls::Certificates;
use super::world::World;
use crate::base::clock;

/// A simulated device.
#[derive(Debug)]
pub(super) struct Device {
    /// What it was started with.
    pub(super) options: SimulatorOptions,
    /// Its clock.
    pub(super) clock: DeviceClock,
    /// Who is connected.
    pub(super) connections: Arc<Connections>,
    /// Who is logged in.
    pub(super) sessions: Mutex<Sessions>,
    /// What was promised.
    pub(super) tickets: Mutex<Tickets>,
    /// How often names were asked for.
    pub(super) asks: Mutex<Asks>,
    /// What has left it.
    pub(super) account: Mutex<Account>,
    /// Whether it is there at all.
    pub(super) outages: Outages,
    /// Its reports.
    pub(super) push: Push,
    /// Its certificates.
    pub(super) certificates: Certificates,
    world: RwLock<World>,
    faults: RwLock<Arc<Faults>>,
    counters: Mutex<Counters>,
    drawn: AtomicU64,
}

impl Device {
    /// A device that listens on `address` until an outage.
    ///
    /// # Errors
    /// If the zone is unknown, or a certificate cannot be made.
    pub(super) fn new(options: SimulatorOptions, outages: Outages, address: IpAddr) -> anyhow::Result<Self> {
        let zone = TimeZone::get(&options.timezone)
            .with_context(|| format!("reading the zone `{}`", options.timezone))?;
        let now = options.now.unwrap_or_else(clock::now);
        let certificates = Certificates::new(address);
        if options.tls {
            certificates.der(0).context("making a certificate")?;
        }
        let clock = DeviceClock::starting_at(now);
        let world = World::new(&options, &zone, clock.now()).context("planning the days")?;
        Ok(Self {
            clock,
            connections: Arc::default(),
            sessions: Mutex::new(Sessions::new(&options, now)),
            tickets: Mutex::new(Tickets::new(&options)),
            asks: Mutex::default(),
            account: Mutex::default(),
            outages,
            push: Push::new(),
            certificates,
            world: RwLock::new(world),
            faults: RwLock::default(),
            counters: Mutex::default(),
            drawn: AtomicU64::new(0),
            options,
        })
    }

    /// What it holds now. Nothing runs between two looks: what has happened since the last one happens here.
    pub(super) fn world(&self) -> RwLockReadGuard<'_, World> {
        let now = self.clock.now();
        let world = self.world.read().unwrap_or_else(PoisonError::into_inner);
        if !world.is_unsettled(now) {
            return world;
        }
        drop(world);
        self.change_world(|_| ());
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what it holds now.
    pub(super) fn change_world<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let mut world: RwLockWriteGuard<'_, World> =
            self.world.write().unwrap_or_else(PoisonError::into_inner);
        world.settle(self.clock.now());
        let changed = change(&mut world);
        world.settle(self.clock.now());
        changed
    }

    /// Sets the clock, forward or back.
    pub(super) fn set_clock(&self, to: Timestamp) {
        self.change_world(|world| world.set_clock(self.clock.set(to)));
    }

    /// What tokens, tickets and lock-outs age by.
    pub(super) fn timers(&self) -> Timestamp {
        let Moment { steady, shown } = self.clock.now();
        if self.options.timers_follow_clock { shown } else { steady }
    }

    /// What was overwritten while nobody had it yet.
    pub(super) fn overwritten(&self) -> Vec<Overwritten> {
        let losses = self.world().losses.clone();
        let account = lock(&self.account);
        let untold: Vec<_> = losses.into_iter().filter(|loss| account.is_untold(loss)).collect();
        drop(account);
        untold.into_iter().map(Overwritten::of).collect()
    }

    /// The faults at work.
    pub(super) fn faults(&self) -> Arc<Faults> {
        Arc::clone(&self.faults.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the faults.
    pub(super) fn set_faults(&self, faults: Faults) {
        self.alter(|old| *old = faults);
        lock(&self.asks).clear();
    }

    /// Changes some faults and leaves the others as they are.
    pub(super) fn alter(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = self.faults.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut faults));
        lock(&self.sessions).set_password(faults.password.as_deref());
    }

    /// The luck of the next connection.
    pub(super) fn luck(&self) -> Luck {
        Luck::new(self.options.seed, self.drawn.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether a fault happens; counts it if so.
    pub(super) fn strikes(&self, luck: Luck, name: &str, probability: f64) -> bool {
        let strikes = luck.hits(name, probability);
        if strikes {
            self.count_fault(name);
        }
        strikes
    }

    /// Counts a fault that happened for another reason than chance.
    pub(super) fn count_fault(&self, name: &str) {
        self.count(|counters| *counters.faults.entry(name.to_owned()).or_default() += 1);
    }

    /// Counts something.
    pub(super) fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut lock(&self.counters));
    }

    /// What was counted.
    pub(super) fn counters(&self) -> Counters {
        let (now, peak, total) = self.connections.count();
        let counters = lock(&self.counters).clone();
        Counters { connections_now: now, connections_peak: peak, connections: total, ..counters }
    }

    /// The serial number that it shows now.
    pub(super) fn serial_number(&self, faults: &Faults) -> String {
        faults.serial_number.clone().unwrap_or_else(|| self.options.serial_number.clone())
    }

    /// The certificate that it shows now; `None` without TLS.
    pub(super) fn certificate(&self) -> anyhow::Result<Option<Vec<u8>>> {
        if !self.options.tls {
            return Ok(None);
        }
        self.certificates.der(self.faults().certificate).map(Some)
    }

    /// Revokes all tokens; how many there were.
    pub(super) fn revoke_tokens(&self) -> u64 {
        let count = lock(&self.sessions).forget_all();
        self.count(|counters| counters.revocations += count);
        count
    }

    /// Forgets all tokens and tickets, and reports that it has started.
    pub(super) fn reboot(&self) {
        self.revoke_tokens();
        lock(&self.tickets).forget_all();
        self.push.give(Job::BootUp);
    }
}
