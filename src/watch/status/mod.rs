//! The state of everything at one moment: what is owed, at risk and wrong, and what to do about it.
//!
//! One reading serves the command, the metrics and the alerts, so that they cannot differ. It uses only the database and the
//! archive's filesystem, so it can run beside the process that does the work.

mod anchors;
mod archive;
mod clock;
mod feed;
mod ledger;
mod pbx;
mod reader;
mod service;
mod snapshot;
mod verification;
mod voicemail;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use sqlx::SqliteConnection;

pub use anchors::{AnchorStatus, Unverified};
pub use archive::ArchiveStatus;
pub use clock::ClockTrouble;
pub use feed::FeedWebhookStatus;
pub use ledger::LedgerStatus;
pub use pbx::{NearlyFullBox, PbxStatus};
pub use reader::Reader;
pub use service::ServiceStatus;
pub use snapshot::SnapshotStatus;
pub use verification::VerificationStatus;
pub use voicemail::VoicemailStatus;

use crate::config::Config;
use crate::store::alert_queue::Standing;
use crate::vault::exposure::{self, Exposure};

/// As `status --json` prints it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Status {
    pub at: Timestamp,
    /// One sentence.
    pub summary: String,
    /// The ids of the PBXs that need a person.
    pub needs_attention: Vec<String>,
    pub archive: ArchiveStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockTrouble>,
    /// What other users of this machine can read or write and must not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exposed: Vec<Exposure>,
    pub service: ServiceStatus,
    pub ledger: LedgerStatus,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub anchors: Vec<AnchorStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub feed_webhooks: Vec<FeedWebhookStatus>,
    /// What is wrong with the listener of `[web]`, while a service runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    pub verification: VerificationStatus,
    /// None if they are off, or no service ever ran here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotStatus>,
    /// Whether an older version wrote the database, and this one has not worked with it yet.
    pub database_outdated: bool,
    pub alerts: Standing,
    /// The configured PBXs by id; none before the first run.
    pub pbx: BTreeMap<String, PbxStatus>,
}

/// Further PBXs are counted.
const NAMED_IN_SUMMARY: usize = 5;

impl Status {
    /// Reads the state once. For repeated reading keep a [`Reader`].
    pub async fn read(db: &mut SqliteConnection, config: &Config, now: Timestamp) -> anyhow::Result<Self> {
        Reader::new(config).read(db, now).await
    }

    /// The state of an installation that has done nothing yet.
    pub async fn before_the_first_run(config: &Config, now: Timestamp) -> Self {
        let archive = archive::Lookout::default().look(&config.archive, Vec::new()).await;
        let exposed = exposure::of_configuration(config);
        Self { at: now, archive, exposed, ..Self::default() }.concluded()
    }

    /// Adds what follows from everything that was read.
    fn concluded(mut self) -> Self {
        self.exposed.extend(self.archive.exposure.clone());
        let in_trouble = self.pbx.iter().filter(|(_, pbx)| pbx.cause().is_some());
        self.needs_attention = in_trouble.map(|(id, _)| id.clone()).collect();
        self.summary = self.in_one_sentence();
        self
    }

    /// Says at a glance whether anyone has to do anything.
    fn in_one_sentence(&self) -> String {
        let of_ledger = match (&self.ledger.problem, self.verification.ledger_damaged) {
            (Some(_), _) => Some("not signed"),
            (None, 1..) => Some("damaged"),
            (None, _) => None,
        };
        let of_machine = [
            self.archive.error.as_ref().map(|error| ("archive", error.reason.replace('_', " "))),
            (!self.exposed.is_empty()).then(|| ("installation", "open to others".to_owned())),
            self.clock.as_ref().map(|clock| ("clock of this machine", clock.reason.replace('_', " "))),
            self.service.has_died().then(|| ("service", "not running".to_owned())),
            of_ledger.map(|why| ("ledger", why.to_owned())),
            self.listener.as_ref().map(|_| ("listener", "not as configured".to_owned())),
        ];
        let (mut parts, pbxs) = (of_machine.into_iter().flatten(), self.summary_of_pbxs());
        let Some((first, why)) = parts.next() else { return pbxs };
        let mut machine = format!("The {first} needs you ({why})");
        for (part, why) in parts {
            machine += &format!(", and so does the {part} ({why})");
        }
        match self.needs_attention.is_empty() && !self.pbx.is_empty() {
            true => format!("{machine}; no PBX does."),
            false => format!("{machine}. {pbxs}"),
        }
    }

    fn summary_of_pbxs(&self) -> String {
        let (pbx, in_trouble) = (&self.pbx, &self.needs_attention);
        let paused = match pbx.values().filter(|pbx| pbx.paused_since.is_some()).count() {
            0 => String::new(),
            count => format!(" ({count} paused)"),
        };
        let all = match pbx.len() {
            1 => format!("1 PBX{paused}"),
            count => format!("{count} PBXs{paused}"),
        };
        match in_trouble.len() {
            _ if pbx.is_empty() => "Nothing was archived yet: run `callvault backfill`.".to_owned(),
            0 => format!("{all}, all well."),
            count => {
                let need = if count == 1 { "needs" } else { "need" };
                let causes =
                    in_trouble.iter().filter_map(|id| Some(format!("{id} ({})", pbx.get(id)?.cause()?)));
                let mut named: Vec<String> = causes.take(NAMED_IN_SUMMARY).collect();
                if count > NAMED_IN_SUMMARY {
                    named.push(format!("and {} more", count - NAMED_IN_SUMMARY));
                }
                format!("{count} of {all} {need} you: {}.", named.join(", "))
            }
        }
    }
}

fn time(ms: Option<i64>) -> Option<Timestamp> {
    ms.and_then(|ms| Timestamp::from_millisecond(ms).ok())
}
