//! The database made anew from what is in the archive: sidecars, call lists and the published ledger.
//!
//! ```text
//! markers ──► whose database it is, which PBXs
//! folders, in order, by a few threads: sidecars, calls-<n>.jsonl, SHA256SUMS
//!      │                └──► recordings, calls, voicemails, day files
//!      ▼
//! the published ledger, as far as it was signed, replayed over it: each entry finds its file, each gap its recording
//!      │   entry without a file: in the catalog all the same
//!      │   file without an entry: archived if this state vouches for its sidecar; else found, and owed
//!      ▼
//! catalog, in the order of the ledger ──► days, what is learnt of each PBX, how long recordings are kept
//! ```
//!
//! It is built in a file beside the database in use, which it replaces in the end in one step; the former one is kept.
//! Damage stops nothing: it is reported, and the rest is rebuilt. `documents` is public for fuzzing.

#[doc(hidden)]
pub mod documents;
mod finish;
mod folder;
mod plan;
mod published;
mod replay;
mod report;
mod unmatched;
mod walk;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use anyhow::Result;
use jiff::{Timestamp, civil::Date};

pub use plan::CannotRebuild;
pub use published::Trust;
pub use report::{Damage, Progress, Report};

use crate::archive::{self, ArchiveError, Reader};
use crate::base::digest::Digest;
use crate::config::Config;
use crate::formats::ledger_entry::GapEntry;
use crate::store::calls::RestoredDay;
use crate::store::db::{self, Building};
use crate::store::ledger::RebuiltOn;
use crate::store::{fleet, scratch};
use crate::vault::state::StateLock;
use documents::FoundCertificate;
use plan::Plan;
use published::Believed;

#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Whose database it is to be, where the folders of the archive name several states.
    pub state_id: Option<String>,
    /// Keys that the operator knows to have signed the ledger, each as `<name>+<id>+<key>`.
    pub vkeys: Vec<String>,
}

/// Makes the database in the state directory of `config` anew, under the lock of that directory.
///
/// On return the new database is in its place, durably, and the former one is beside it. After an error or a crash the
/// former one is in its place.
pub async fn rebuild(
    config: &Config,
    request: &Request,
    progress: Arc<Progress>,
    now: Timestamp,
) -> Result<Report> {
    rebuild_from(config, &|| archive::require(&config.archive.path), request, progress, now).await
}

/// The same from an archive that is kept elsewhere.
pub async fn rebuild_from(
    config: &Config,
    open: &(dyn Fn() -> Result<Arc<dyn Reader>, ArchiveError> + Sync),
    request: &Request,
    progress: Arc<Progress>,
    now: Timestamp,
) -> Result<Report> {
    let lock = StateLock::take(&config.state.path).await?;
    let archive = open()?;
    let Plan { pbxs, has_ledger, report } = Plan::of(config, &*archive, request.state_id.as_deref())?;
    let believed = Arc::new(Believed::of(config, request, &report.state_id)?);
    let building = Building::begin(&config.state.path).await?;
    let rebuild = Rebuild {
        config,
        archive,
        believed,
        building,
        report,
        progress,
        now,
        learnt: BTreeMap::new(),
        days: BTreeMap::new(),
        certificates: HashMap::new(),
        in_step: HashSet::new(),
        gaps: BTreeMap::new(),
        rebuilt: Vec::new(),
        rows: HashMap::new(),
    };
    let (building, mut report) = rebuild.build(&pbxs, has_ledger).await.map_err(db::as_failure)?;
    let new = building.finish().await.map_err(db::as_failure)?;
    // A log that stays beside a database that cannot be opened is moved aside with it.
    db::fold_log(&config.state.path).await;
    report.former = lock.replace_database(&new, now)?;
    Ok(report)
}

struct Rebuild<'a> {
    config: &'a Config,
    archive: Arc<dyn Reader>,
    believed: Arc<Believed>,
    building: Building,
    report: Report,
    progress: Arc<Progress>,
    now: Timestamp,
    learnt: BTreeMap<String, Learnt>,
    days: BTreeMap<(String, Date), RestoredDay>,
    /// Certificates that were found, by the hash of their documents.
    certificates: HashMap<Digest, FoundCertificate>,
    /// Folders whose `SHA256SUMS` lists exactly what is there.
    in_step: HashSet<String>,
    /// Absences in the ledger whose recording is not known yet, with the numbers of their entries.
    gaps: BTreeMap<Digest, (i64, GapEntry)>,
    /// Rebuilds, this one included, after which the ledger rests on the word of others than our own key.
    rebuilt: Vec<RebuiltOn>,
    /// Recordings of the folder that is being read, by path.
    rows: HashMap<String, i64>,
}

#[derive(Debug, Default)]
struct Learnt {
    /// Its serial number by its latest call with one, and when that call was first seen.
    sn: Option<(Timestamp, String)>,
    /// The same by the latest sidecar, for a PBX whose calls tell none.
    sn_of_files: Option<(Timestamp, String)>,
    /// Its offset from UTC by its latest call that shows it, and when that began.
    offset: Option<(Timestamp, i32)>,
    /// When the last call recording of it was archived.
    delivered_at: Option<Timestamp>,
}

impl Rebuild<'_> {
    async fn build(mut self, pbxs: &[String], has_ledger: bool) -> Result<(Building, Report)> {
        scratch::create(self.building.tx()).await?;
        fleet::set_meta(self.building.tx(), "state_id", &self.report.state_id).await?;
        for pbx in pbxs {
            fleet::register(self.building.tx(), pbx).await?;
        }
        for pbx in pbxs {
            self.walk(pbx).await?;
        }
        let ledger = if has_ledger { self.open_ledger().await? } else { None };
        self.replay(ledger).await?;
        self.settle_entries_without_a_file().await?;
        self.name_files_without_an_entry().await?;
        self.name_lists_without_an_entry().await?;
        self.note_open_gaps();
        self.link_calls().await?;
        self.fill_catalog().await?;
        self.finish(pbxs).await
    }

    fn damaged(&mut self, pbx: &str, subject: impl Into<String>, problem: impl Into<String>) {
        self.report.note(Damage::of(pbx, subject, problem));
    }
}
