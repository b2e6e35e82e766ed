//! A PBX that keeps the rules of the API, and can be told to break each of them.
//!
//! It shares no code with the client beyond plain data types, so that a misreading of the API cannot hide in both.
//! Rules and their sources are in `yeastar-api.md` §15; what no source says can be switched by an option.

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
mod device;
mod download;
mod errno;
mod faults;
mod http;
mod issue;
mod json;
mod names;
mod plan;
mod population;
mod profile;
mod reply;
mod serve;
mod session;
mod tickets;
mod tls;
mod turn;
mod voicemail;
mod world;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use self::audio::{SimAudio, WavFormat};
pub use self::call::SimCall;
pub use self::counters::Counters;
use self::device::Device;
pub use self::faults::Faults;
pub use self::profile::{Profile, SimulatorOptions};
pub use self::voicemail::{SimVoicemail, VoicemailCap};
pub use self::world::{Truth, World};

/// A running simulator. Dropping it stops it; [`Simulator::shutdown`] also waits for its end.
#[derive(Debug)]
pub struct Simulator {
    device: Arc<Device>,
    address: SocketAddr,
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
        let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
        let address = listener.local_addr().context("learning the address")?;
        let device = Arc::new(Device::new(options, address.ip())?);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(serve::accept(listener, Arc::clone(&device), stop.clone(), tasks.clone()));
        Ok(Self { device, address, stop: stop.drop_guard(), tasks })
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

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.device.counters()
    }

    /// Replaces all faults; names are counted anew for faults that pass.
    pub fn set_faults(&self, faults: Faults) {
        self.device.set_faults(faults);
    }

    /// Looks at or changes what the device holds, between two requests.
    pub fn world<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.device.world_mut())
    }

    /// Moves the device's clock forward.
    pub fn advance(&self, by: Duration) {
        self.device.clock.advance(by);
    }

    /// Revokes all tokens; how many there were.
    pub fn revoke_tokens(&self) -> u64 {
        self.device.revoke_tokens()
    }

    /// Every token and ticket that it ever handed out: what a client must keep to itself.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets: Vec<String> = lock(&self.device.sessions).issued().collect();
        secrets.extend(lock(&self.device.tickets).issued());
        secrets
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

/// Locks, also after a panic of another holder: a test's closure may panic while it changes the world.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
