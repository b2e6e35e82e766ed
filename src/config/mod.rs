//! What the operator chose, already validated: nothing past this module asks whether a value makes sense.
//!
//! Durations are seconds in the file (`…_s`, fractions allowed) and `Duration` here. Every key is explained,
//! with its unit, its default and the mistake that it prevents, in `config.example.toml`.

mod alerts;
mod cdr;
mod document;
mod feed;
mod file;
mod keys;
mod ledger;
mod manners;
mod pbx;
mod pin;
mod problem;
mod push;
#[cfg(test)]
mod push_tests;
mod rules;
mod schedule;
mod secrets;
mod section;
#[cfg(test)]
mod tests;
mod tls;
mod value;
mod web;
mod webhook;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use secrecy::SecretString;
use url::{Host, Url};

use crate::base::schedule::CronLine;
use crate::base::words::words;

pub use alerts::{AlertsConfig, EmailConfig, SmtpTls};
pub use feed::{FeedConfig, FeedReaderConfig, FeedWebhookConfig, PLAIN_TOKENS_REMEDY};
pub use file::{Origin, secret_files};
pub use keys::nearest;
pub use ledger::{AnchorsConfig, AuthorityConfig, LedgerConfig, WitnessConfig};
pub use manners::{Manners, RetentionHints};
pub use pbx::{NotAVersion, VoicemailConfig};
pub use pin::{PinError, pin_line, pinned, write_pin};
pub use problem::{ConfigErrors, Position, Problem};
pub use rules::MustRecord;
pub use schedule::SnapshotsConfig;
pub use secrets::SecretFile;
pub use tls::{TlsBackend, TlsVersion};
pub use web::{CertificateFiles, UnusableCertificate, WebConfig};
pub use webhook::{SecretUrl, SigningKey, WebhookConfig};

/// [`Default`] has no PBX and no folders: for programs that fill them in.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where the configuration was read from; errors name it.
    pub file: PathBuf,
    /// `[archive]`.
    pub archive: ArchiveConfig,
    /// `[state]`.
    pub state: StateConfig,
    /// `[queue]`.
    pub queue: QueueConfig,
    /// `[service]`.
    pub service: ServiceConfig,
    /// `[schedule]`.
    pub schedule: ScheduleConfig,
    /// `[snapshots]`.
    pub snapshots: SnapshotsConfig,
    /// `[push]`.
    pub push: PushConfig,
    /// `[[pbx]]`, in the order of the file; ids are unique.
    pub pbx: Vec<PbxConfig>,
    /// `[[exclude]]`, in the order of the file; names are unique.
    pub exclude: Vec<ExclusionRule>,
    /// `[[must_record]]`, in the order of the file.
    pub must_record: Vec<MustRecord>,
    /// `[ledger]`.
    pub ledger: LedgerConfig,
    /// `[anchors]`, `[[anchor]]` and `[[witness]]`.
    pub anchors: AnchorsConfig,
    /// `[verify]`.
    pub verify: VerifyConfig,
    /// `[web]`.
    pub web: WebConfig,
    /// `[feed]`.
    pub feed: FeedConfig,
    /// `[alerts]`.
    pub alerts: AlertsConfig,
}

#[derive(Debug, Clone)]
pub struct ArchiveConfig {
    /// The root folder of the archive.
    pub path: PathBuf,
    /// No ticket is taken while less than this is free.
    pub free_bytes_min: u64,
}

/// Where callvault keeps its own memory: `callvault.db`, `lock`, keys.
#[derive(Debug, Clone, Default)]
pub struct StateConfig {
    /// The folder; never on a network filesystem.
    pub path: PathBuf,
}

/// The database's file in the state folder `state`.
pub fn database_file(state: &Path) -> PathBuf {
    state.join("callvault.db")
}

/// Which recording is next, and how failures are repeated.
#[derive(Debug, Clone)]
pub struct QueueConfig {
    /// Which due recording is served first.
    pub order: QueueOrder,
    /// Most downloads at one time over all PBXs.
    pub concurrency_total: usize,
    /// The longest first wait after a failure; doubles with each further one.
    pub retry_base: Duration,
    /// The longest wait between two attempts.
    pub retry_max: Duration,
    /// Failures of one reason in a row after which a recording is stuck.
    pub attempts_max: u32,
    /// For how long a PBX must say that it lacks a recording before that is final.
    pub missing_final_after: Duration,
}

words! {
    /// Which due recording is served first.
    pub enum QueueOrder as "order" {
        /// The oldest, which the PBX overwrites first.
        OldestFirst = "oldest_first",
        NewestFirst = "newest_first",
    }
}

#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// How long it waits at its end for downloads in flight.
    pub stop_timeout: Duration,
    /// For how long the database keeps the history of callvault's own work.
    pub history: Duration,
}

/// When the service does what by itself.
#[derive(Debug, Clone)]
pub struct ScheduleConfig {
    /// Reading the days that may still change.
    pub sweep: CronLine,
    /// Reading the settled days of the device's retention again.
    pub deep_sweep: CronLine,
    pub voicemail: CronLine,
    /// Bringing `SHA256SUMS` up to date.
    pub seal: CronLine,
    /// Looking whether the archive still holds what it should.
    pub verify: CronLine,
    /// Reading a part of the archive again.
    pub scrub: CronLine,
    /// Forgetting the history of callvault's own work.
    pub history: CronLine,
    /// Making a snapshot of the database.
    pub snapshot: CronLine,
}

/// How the archive is read again, a part at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyConfig {
    /// Days within which every byte is read once.
    pub full_days: u32,
}

/// Where the PBXs' reports of events arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushConfig {
    pub listen: SocketAddr,
}

/// Whether and how a PBX reports its events to us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PushMode {
    /// Not at all: its event destination is not touched.
    #[default]
    Off,
    /// It posts them to our listener, of which login and heartbeat tell it.
    Http(PushAddress),
    /// We keep a connection to this port of it, over which they come.
    Tcp {
        /// The PBX's port for event streams.
        port: u16,
    },
}

/// Our listener as a PBX sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushAddress {
    /// The host, if the operator named one; else wherever our requests come from.
    pub host: Option<Host>,
    pub port: u16,
    /// The path, without a slash at its beginning; unless the operator chose another, the PBX's id.
    pub path: String,
}

#[derive(Debug, Clone)]
pub struct PbxConfig {
    /// Its name in paths, logs and commands: `[a-z0-9][a-z0-9_-]*`, at most 32 characters.
    pub id: String,
    /// Scheme, host and port; no path.
    pub url: Url,
    /// The version in the request path, and the error table that goes with it.
    pub api_version: ApiVersion,
    /// The version in the path of downloads, if it differs.
    pub download_api_version: ApiVersion,
    pub username: String,
    pub password: SecretString,
    /// Where the password came from, to name in errors: a file's path, or the configuration file itself.
    pub password_source: PathBuf,
    /// The PBX's time zone, if the operator gave it.
    pub timezone: Option<TimeZone>,
    /// Most connections to this PBX at one time.
    pub concurrency: usize,
    /// SHA-256 of the `SubjectPublicKeyInfo` of the PBX's certificate: replaces verification by the system's roots.
    pub tls_pin_sha256: Option<crate::base::digest::Digest>,
    /// Which library speaks TLS to it.
    pub tls_backend: TlsBackend,
    /// The oldest version of TLS spoken to it.
    pub tls_version_min: TlsVersion,
    /// Sent as `port` at login, only if given: it moves the PBX's event reports to this machine.
    pub login_port: Option<u16>,
    /// Whether and how it reports its events to us.
    pub push: PushMode,
    /// Where its reports come from, besides the host of `url`.
    pub push_from: Vec<IpAddr>,
    /// Sent as `allowedip` with every ticket request, if given.
    pub allowed_ip: Option<IpAddr>,
    /// Every wait and bound towards this PBX.
    pub limits: PbxLimits,
    /// Bounds on what is asked of it.
    pub manners: Manners,
    /// What it keeps before it overwrites the oldest.
    pub retention: RetentionHints,
    /// A folder whose `*.csv` files are read as CDR besides or instead of the API.
    pub cdr_folder: Option<PathBuf>,
    /// Whether the CDR is read over the API.
    pub cdr_api: bool,
    /// How a call list heads its columns: our column → its heading, or the column's number such as `#12`.
    pub cdr_columns: BTreeMap<String, String>,
    /// Headings of columns that callvault does not know, and that are stored all the same.
    pub cdr_keep_columns: Vec<String>,
    /// How its voicemail is dealt with.
    pub voicemail: VoicemailConfig,
}

/// Every wait and bound towards one PBX.
#[derive(Debug, Clone)]
pub struct PbxLimits {
    /// Longest wait for the connection, TLS included.
    pub connect_timeout: Duration,
    /// Longest wait for a reply to begin, and for a JSON reply to end.
    pub reply_timeout: Duration,
    /// Longest wait for a CDR reply to begin: the PBX searches its database first.
    pub cdr_timeout: Duration,
    pub idle_timeout: Duration,
    /// The slowest transfer tolerated, averaged from its start.
    pub throughput_bytes_s_min: u64,
    /// A ticket older than this is not spent.
    pub ticket_age_max: Duration,
    /// How long nothing is asked of a PBX that locked us out.
    pub lockout_wait: Duration,
    /// How long a command waits for a PBX that is down before it gives up.
    pub outage_patience: Duration,
    /// The longest wait before the service tries a PBX again that is down.
    pub outage_retry_max: Duration,
    pub recording_bytes_max: u64,
    /// The largest CDR reply accepted, per reading.
    pub cdr_bytes_max: u64,
    /// The most rows that it may add to the database in 24 hours.
    pub intake_rows_per_day_max: u64,
    /// The most bytes of rows that it may add to the database in 24 hours.
    pub intake_bytes_per_day_max: u64,
}

impl Default for PbxLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            reply_timeout: Duration::from_secs(30),
            cdr_timeout: Duration::from_secs(120),
            idle_timeout: Duration::from_secs(20),
            throughput_bytes_s_min: 1024,
            ticket_age_max: Duration::from_secs(25),
            lockout_wait: Duration::from_secs(600),
            outage_patience: Duration::from_secs(30),
            outage_retry_max: Duration::from_secs(300),
            recording_bytes_max: 2 << 30,
            cdr_bytes_max: 256 << 20,
            intake_rows_per_day_max: 1_000_000,
            intake_bytes_per_day_max: 2 << 30,
        }
    }
}

/// The API version of a PBX: the path segment, and the generation whose rules it follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiVersion {
    /// As it stands in the request path, such as `v1.1.0`.
    pub segment: String,
    /// Whose parameter names and error numbers apply.
    pub generation: Generation,
}

/// The generations of the S-Series API (`docs/pbx-api.md` §1, §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// v1.0.x: no CDR download; 20012 and 20014 both mean that a recording is gone.
    V1_0,
    /// v1.1.0: CDR by `extid`.
    V1_1,
    /// v2.0.0: CDR by `number`.
    V2,
    /// A device that speaks the same API under its own version, such as v0.0.1.
    Compatible,
}

/// A rule that keeps recordings out of the archive. All the conditions given must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExclusionRule {
    /// Its name, stored with every recording that it excludes.
    pub name: String,
    /// The PBXs it applies to; empty means all.
    pub pbx: Vec<String>,
    /// Extensions on either side of the call; empty means any.
    pub extension: Vec<String>,
    /// Call types such as `Internal`; empty means any. Case does not matter.
    pub direction: Vec<String>,
    /// DID numbers; empty means any.
    pub did: Vec<String>,
    /// Trunk names, on either side; empty means any.
    pub trunk: Vec<String>,
    /// Talk time below this many seconds.
    pub shorter_than_s: Option<u64>,
    /// Talk time above this many seconds.
    pub longer_than_s: Option<u64>,
}
