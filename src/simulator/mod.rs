//! A PBX that keeps the rules of the API, and can be told to break each of them.
//!
//! It shares no code with the client beyond plain data types, so that a misreading of the API cannot hide in both.
//! Rules and their sources are in `docs/pbx-api.md` §14; what no source says can be switched by an option.

mod account;
mod api;
mod audio;
mod call;
mod cdr;
mod chance;
mod clock;
mod codec;
mod connections;
mod control;
mod counters;
mod days;
mod device;
mod download;
mod errno;
mod faults;
mod growing;
mod http;
mod issue;
mod json;
mod list_fault;
mod living;
mod names;
mod observation;
mod outage;
mod packing;
mod plan;
mod poison;
mod population;
mod profile;
mod push;
mod push_delivery;
mod push_report;
mod push_stream;
mod redirect;
mod reply;
mod retention;
mod serve;
mod session;
mod storage;
mod tickets;
mod tls;
mod turn;
mod voicemail;
mod world;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use self::account::{Listed, Served};
pub use self::audio::{SimAudio, WavFormat};
pub use self::call::SimCall;
pub use self::counters::Counters;
use self::device::Device;
pub use self::faults::Faults;
pub use self::growing::Growing;
pub use self::list_fault::ListFault;
pub use self::outage::Outage;
use self::outage::Outages;
pub use self::packing::Packing;
pub use self::poison::{About, Poison, PoisonedStage, Wrong};
pub use self::profile::{Profile, SimulatorOptions};
pub use self::push::{PushCounters, PushOptions, Registration};
pub use self::retention::{Overwritten, Retention, Store};
pub use self::voicemail::{SimVoicemail, VoicemailCap};
pub use self::world::{Truth, World};

/// A running simulator. Dropping it stops it; [`Simulator::shutdown`] also waits for its end.
#[derive(Debug)]
pub struct Simulator {
    device: Arc<Device>,
    address: SocketAddr,
    redirect: Option<SocketAddr>,
    stream_port: Option<u16>,
    stop: DropGuard,
    tasks: TaskTracker,
}

impl Simulator {
    /// Builds the world, listens, and serves in background tasks of the current runtime.
    ///
    /// # Errors
    /// If the zone is unknown, a certificate cannot be made, or the address cannot be listened on.
    pub async fn start(options: SimulatorOptions) -> anyhow::Result<Self> {
        let listen = options.listen;
        let (outages, door) = Outages::new(listen).with_context(|| format!("listening on {listen}"))?;
        let address = door.address();
        let redirecting = match options.redirect_from {
            Some(listen) => Some(bind(listen).await?),
            None => None,
        };
        let streams = match options.push.stream_port.filter(|_| options.profile == Profile::V2) {
            Some(port) => Some(bind(SocketAddr::new(address.ip(), port)).await?),
            None => None,
        };
        let device = Arc::new(Device::new(options, outages, address.ip())?);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(serve::accept(door, Arc::clone(&device), stop.clone(), tasks.clone()));
        tasks.spawn(push_delivery::work(Arc::clone(&device), stop.clone(), tasks.clone()));
        let redirect = redirecting.as_ref().map(|(_, address)| *address);
        let stream_port = streams.as_ref().map(|(_, address)| address.port());
        let simulator =
            Self { device, address, redirect, stream_port, stop: stop.clone().drop_guard(), tasks };
        if let Some((listener, _)) = streams {
            let (device, tasks) = (Arc::clone(&simulator.device), simulator.tasks.clone());
            simulator.tasks.spawn(push_stream::accept(listener, device, stop.clone(), tasks));
        }
        if let Some((listener, _)) = redirecting {
            let (device, tasks) = (Arc::clone(&simulator.device), simulator.tasks.clone());
            simulator.tasks.spawn(redirect::serve(listener, simulator.url(), device, stop, tasks));
        }
        Ok(simulator)
    }

    /// Where it listens, as the `url` of a `[[pbx]]` section.
    pub fn url(&self) -> String {
        let scheme = if self.device.options.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens to redirect, if it does.
    pub fn redirect_address(&self) -> Option<SocketAddr> {
        self.redirect
    }

    /// The certificate that it shows now, in DER; `None` without TLS.
    ///
    /// # Errors
    /// If the certificate cannot be made.
    pub fn certificate(&self) -> anyhow::Result<Option<Vec<u8>>> {
        self.device.certificate()
    }

    /// Every call recording that it serves, with its hash, sorted by name.
    ///
    /// Hashes all audio the first time, so call it where blocking is allowed if the world is large.
    pub fn truth(&self) -> Vec<Truth> {
        self.device.world().truth()
    }

    /// Every recording that was in a CDR reply since the start, sorted by name; a reply counts when its last byte is
    /// sent, and a row that a fault broke or left out does not.
    ///
    /// Hashes their audio, as [`Simulator::truth`] does.
    pub fn ever_listed(&self) -> Vec<Listed> {
        let listed = lock(&self.device.account).listed();
        listed.into_iter().map(Listed::of).collect()
    }

    /// What was sent of each recording.
    pub fn served(&self) -> BTreeMap<Vec<u8>, Served> {
        lock(&self.device.account).served()
    }

    /// What the device has overwritten by itself while nobody had it yet, in the order in which it went.
    pub fn overwritten(&self) -> Vec<Overwritten> {
        self.device.overwritten()
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.device.counters()
    }

    /// Replaces all faults; names are counted anew for faults that pass.
    pub fn set_faults(&self, faults: Faults) {
        self.device.set_faults(faults);
    }

    /// Changes some faults; the others stay, and names are counted on.
    pub fn alter_faults(&self, change: impl FnOnce(&mut Faults)) {
        self.device.alter(change);
    }

    /// Locks an address out from now on, for as long as a lock-out lasts.
    pub fn lock_out(&self, address: IpAddr) {
        lock(&self.device.sessions).lock_out(address, self.device.timers());
    }

    /// Begins or ends an outage, and returns when it is so. What is in flight when it begins is reset, event streams
    /// too, and until it ends no report arrives.
    ///
    /// # Errors
    /// If the port cannot be listened on any more.
    pub async fn set_outage(&self, outage: Outage) -> anyhow::Result<()> {
        self.device.outages.order(outage).await
    }

    /// Takes the device down, so that connections are refused, or up again.
    ///
    /// # Errors
    /// If the port cannot be listened on any more.
    pub async fn set_down(&self, is_down: bool) -> anyhow::Result<()> {
        self.set_outage(if is_down { Outage::Refused } else { Outage::None }).await
    }

    /// Looks at or changes what the device holds, between two requests.
    pub fn world<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        self.device.change_world(change)
    }

    /// What the device's clock shows.
    pub fn clock(&self) -> Timestamp {
        self.device.clock.now().shown
    }

    /// Lets time pass on the device: its clock moves forward, calls are made, tokens and tickets age.
    pub fn advance(&self, by: Duration) {
        self.device.clock.advance(by);
    }

    /// Lets time pass until the device's clock shows `at`; nothing happens if it is later than that.
    pub fn advance_to(&self, at: Timestamp) {
        self.advance(clock::between(self.clock(), at));
    }

    /// Sets the device's clock, forward or back, as an administrator or a time server does. No time passes by that:
    /// no call ends and no token ages. Calls that start from now on are stamped by the new clock, and what is too old
    /// to keep is judged by it.
    pub fn set_clock(&self, at: Timestamp) {
        self.device.set_clock(at);
    }

    /// Changes what the device keeps; at once it overwrites what is beyond that.
    pub fn set_retention(&self, retention: Retention) {
        self.device.change_world(|world| world.set_retention(retention));
    }

    /// Revokes all tokens; how many there were.
    pub fn revoke_tokens(&self) -> u64 {
        self.device.revoke_tokens()
    }

    /// What a client must keep to itself: every token and ticket that it ever handed out, every password that it ever had
    /// and its MD5, every PIN that a caller dialled.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets: Vec<String> = lock(&self.device.sessions).secrets().collect();
        secrets.extend(lock(&self.device.tickets).issued());
        secrets.extend(self.device.world().pins());
        secrets
    }

    /// The port for event streams, if it has one.
    pub fn stream_port(&self) -> Option<u16> {
        self.stream_port
    }

    /// Lets a call end: it is reported to whoever asked for that, and listed, as its options have it.
    pub fn end_call(&self, call: SimCall) {
        self.device.end_call(call);
    }

    /// Every login and heartbeat that said where reports are to go.
    pub fn registrations(&self) -> Vec<Registration> {
        self.device.push.registrations()
    }

    /// What became of its reports.
    pub fn push_counters(&self) -> PushCounters {
        self.device.push.counters()
    }

    /// Forgets all tokens and tickets, as a restart of the device does.
    pub fn reboot(&self) {
        self.device.reboot();
    }

    /// Stops: breaks off what is in flight and returns when all tasks have ended.
    pub async fn shutdown(self) {
        drop(self.stop);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn bind(listen: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
    let address = listener.local_addr().context("learning the address")?;
    Ok((listener, address))
}

/// Locks, also after a panic of another holder: a test's closure may panic while it changes the world.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
