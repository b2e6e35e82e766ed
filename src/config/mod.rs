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
mod queue;
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

use std::path::{Path, PathBuf};

use url::Host;

pub use alerts::{AlertsConfig, EmailConfig, SmtpTls};
pub use feed::{FeedConfig, FeedReaderConfig, FeedWebhookConfig, PLAIN_TOKENS_REMEDY};
pub use file::{Origin, secret_files};
pub use keys::nearest;
pub use ledger::{AnchorsConfig, AuthorityConfig, LedgerConfig, WitnessConfig};
pub use manners::{Manners, PbxLimits, RetentionHints};
pub use pbx::{NotAVersion, PbxConfig, VoicemailConfig};
pub use pin::{PinError, pin_line, pinned, write_pin};
pub use problem::{ConfigErrors, Position, Problem};
pub use push::PushConfig;
pub use queue::{QueueConfig, QueueOrder};
pub use rules::MustRecord;
pub use schedule::{ScheduleConfig, ServiceConfig, SnapshotsConfig, VerifyConfig};
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
