//! The state of everything at one moment: what is owed, at risk and wrong, and what to do about it.
//!
//! One reading serves the command, the metrics and the alerts, so that they cannot tell three different things. It is
//! read from the database alone (and the archive's filesystem), so it may be read beside whoever does the work.

mod archive;
mod pbx;
mod reader;
mod voicemail;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use sqlx::SqliteConnection;

pub use archive::ArchiveStatus;
pub use pbx::{NearlyFullBox, PbxStatus};
pub use reader::Reader;
pub use voicemail::VoicemailStatus;

use crate::config::Config;
use crate::outbox::Standing;

/// The state of everything, as `status --json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// When this was read.
    pub at: Timestamp,
    /// All in one sentence.
    pub summary: String,
    /// The PBXs that need a person, by id.
    pub needs_attention: Vec<String>,
    /// The archive's filesystem.
    pub archive: ArchiveStatus,
    /// What the operator was told of, and whether the messages reach him.
    pub alerts: Standing,
    /// The configured PBXs by id; none before the first run.
    pub pbx: BTreeMap<String, PbxStatus>,
}

impl Status {
    /// Reads the state once. Who reads it again and again keeps a [`Reader`].
    pub async fn read(db: &mut SqliteConnection, config: &Config, now: Timestamp) -> anyhow::Result<Self> {
        Reader::new(config).read(db, now).await
    }

    /// The state of an installation that has done nothing yet.
    pub async fn before_the_first_run(config: &Config, now: Timestamp) -> Self {
        Self::of(
            now,
            archive::Lookout::default().look(&config.archive, Vec::new()).await,
            Standing::default(),
            BTreeMap::new(),
        )
    }

    /// Sums up what was read.
    fn of(at: Timestamp, archive: ArchiveStatus, alerts: Standing, pbx: BTreeMap<String, PbxStatus>) -> Self {
        let needs_attention: Vec<String> =
            pbx.iter().filter(|(_, pbx)| pbx.cause().is_some()).map(|(id, _)| id.clone()).collect();
        let summary = summary(&archive, &pbx, &needs_attention);
        Self { at, summary, needs_attention, archive, alerts, pbx }
    }
}

/// PBXs named in the summary; the rest is counted.
const NAMED_IN_SUMMARY: usize = 5;

/// All in one sentence, which must say at a glance whether anybody has to do anything.
fn summary(archive: &ArchiveStatus, pbx: &BTreeMap<String, PbxStatus>, in_trouble: &[String]) -> String {
    let all = match pbx.len() {
        1 => "1 PBX".to_owned(),
        count => format!("{count} PBXs"),
    };
    let pbxs = match in_trouble.len() {
        _ if pbx.is_empty() => "Nothing was archived yet: run `callvault backfill`.".to_owned(),
        0 => format!("{all}, all well."),
        count => {
            let need = if count == 1 { "needs" } else { "need" };
            let causes = in_trouble.iter().filter_map(|id| Some(format!("{id} ({})", pbx.get(id)?.cause()?)));
            let mut named: Vec<String> = causes.take(NAMED_IN_SUMMARY).collect();
            if count > NAMED_IN_SUMMARY {
                named.push(format!("and {} more", count - NAMED_IN_SUMMARY));
            }
            format!("{count} of {all} {need} you: {}.", named.join(", "))
        }
    };
    let Some(error) = &archive.error else { return pbxs };
    let archive = format!("The archive needs you ({})", error.reason.replace('_', " "));
    match in_trouble.is_empty() && !pbx.is_empty() {
        true => format!("{archive}; no PBX does."),
        false => format!("{archive}. {pbxs}"),
    }
}
