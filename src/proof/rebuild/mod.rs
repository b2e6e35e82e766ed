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
//! Nothing that is damaged stops it: it is named, and the rest is rebuilt. The modules that read single documents are
//! public for those who try them with damaged ones; nobody else has a use for them.

mod certificates;
mod finish;
mod folder;
#[doc(hidden)]
pub mod found;
#[doc(hidden)]
pub mod lines;
mod listed;
mod plan;
mod progress;
mod published;
mod readers;
mod replay;
mod report;
#[doc(hidden)]
pub mod sidecar;
mod signed;
mod trust;
mod unnamed;
mod walk;
mod without_file;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::{Timestamp, civil::Date};

pub use plan::CannotRebuild;
pub use progress::{Progress, Snapshot};
pub use report::{Damage, LedgerRebuilt, PbxRebuilt, Report};
pub use trust::Trust;

use crate::archive::{ArchiveError, Disk, Reader};
use crate::base::digest::Digest;
use crate::config::Config;
use crate::store::db::{self, Building};
use crate::store::fleet;
use crate::store::ledger::RebuiltOn;
use crate::store::scratch;
use crate::vault::state::StateLock;
use certificates::FoundCertificate;
use plan::Plan;
use trust::Believed;

#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Whose database it is to be, where the folders of the archive name several states.
    pub state_id: Option<String>,
    /// Keys that the operator knows to have signed the ledger, each as `<name>+<id>+<key>`.
    pub vkeys: Vec<String>,
}

/// Makes the database in the state directory of `config` anew. The lock on that directory is held meanwhile.
///
/// On return the new database is in its place, durably, and the former one is beside it. After an error or a crash the
/// former one is in its place.
///
/// # Errors
/// [`StateError`](crate::vault::state::StateError), [`ArchiveError`] and [`CannotRebuild`] for what
/// an operator can mend.
pub async fn rebuild(
    config: &Config,
    request: &Request,
    progress: Arc<Progress>,
    now: Timestamp,
) -> anyhow::Result<Report> {
    rebuild_from(config, &|| Ok(Arc::new(Disk::require(&config.archive.path)?)), request, progress, now).await
}

/// The same from an archive that is kept elsewhere.
///
/// # Errors
/// As [`rebuild`].
pub async fn rebuild_from(
    config: &Config,
    open: &(dyn Fn() -> Result<Arc<dyn Reader>, ArchiveError> + Sync),
    request: &Request,
    progress: Arc<Progress>,
    now: Timestamp,
) -> anyhow::Result<Report> {
    let lock = StateLock::take(&config.state.path).await?;
    let archive = open()?;
    let plan = Plan::of(config, &*archive, request.state_id.as_deref())?;
    let believed = Arc::new(Believed::of(config, request, &plan.state_id)?);
    let building = Building::begin(&config.state.path).await?;
    let rebuild = Rebuild::new(config, archive, believed, &plan, building, progress, now);
    let (building, mut report) = rebuild.build(&plan).await.map_err(db::as_failure)?;
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
    /// What is learnt of each PBX on the way.
    learnt: BTreeMap<String, Learnt>,
    days: BTreeMap<(String, Date), DayTold>,
    /// Certificates that were found, by the hash of their documents.
    certificates: HashMap<Digest, FoundCertificate>,
    /// Folders whose `SHA256SUMS` lists exactly what is there.
    in_step: HashSet<String>,
    /// Absences in the ledger whose recording is not known yet.
    gaps: BTreeMap<Digest, OpenGap>,
    /// Rebuilds, this one included, after which the ledger rests on the word of others than our own key.
    rebuilt: Vec<RebuiltOn>,
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

#[derive(Debug, Default)]
struct DayTold {
    calls_files: u32,
    /// Revision and time of its last certificate.
    closed: Option<(u32, Timestamp)>,
    reopened: bool,
}

/// An absence in the ledger whose recording is not known yet.
#[derive(Debug)]
struct OpenGap {
    number: i64,
    pbx: String,
    day: Date,
}

impl<'a> Rebuild<'a> {
    fn new(
        config: &'a Config,
        archive: Arc<dyn Reader>,
        believed: Arc<Believed>,
        plan: &Plan,
        building: Building,
        progress: Arc<Progress>,
        now: Timestamp,
    ) -> Self {
        let report =
            Report { state_id: plan.state_id.clone(), left_out: plan.left_out.clone(), ..Report::default() };
        Self {
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
        }
    }

    async fn build(mut self, plan: &Plan) -> anyhow::Result<(Building, Report)> {
        self.begin(plan).await?;
        for pbx in &plan.pbxs {
            self.walk(pbx).await?;
        }
        let ledger = self.open_ledger(plan).await?;
        self.replay(ledger).await?;
        self.settle_entries_without_a_file().await?;
        self.name_files_without_an_entry().await?;
        self.name_lists_without_an_entry().await?;
        self.note_open_gaps();
        self.link_calls().await?;
        self.fill_catalog().await?;
        self.finish(plan).await
    }

    async fn begin(&mut self, plan: &Plan) -> anyhow::Result<()> {
        plan.damage.iter().for_each(|damage| self.report.note(damage.clone()));
        scratch::create(self.building.tx()).await?;
        fleet::set_meta(self.building.tx(), "state_id", &plan.state_id).await?;
        for pbx in &plan.pbxs {
            fleet::register(self.building.tx(), pbx).await?;
        }
        Ok(())
    }

    fn damaged(&mut self, damage: Damage) {
        self.report.note(damage);
    }
}
