//! The vault: state and archive, opened together and recovered from whatever ended the last run.

/// Backups of all that the archive does not hold.
pub mod backup;
/// What others on this machine can read or write that they must not.
pub mod exposure;
/// Copies of the database, made while everything goes on.
pub mod snapshot;
/// The state directory: lock, database, key.
pub mod state;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use tracing::{error, info, warn};

use crate::archive::{Archive, ArchiveError, Folder, Opening, PbxPresence, Reaction, VouchKey};
use crate::base::clock::Clock;
use crate::base::digest::Digest;
use crate::config::{Config, PbxConfig};
use crate::pipeline::sweep;
use crate::pipeline::worker;
use crate::proof::certificate::{self, Issuer};
use crate::proof::notary::{Notary, NotaryError, Sealed};
use crate::proof::seal;
use crate::store::calls;
use crate::store::catalog;
use crate::store::clocks;
use crate::store::fleet;
use crate::store::queue::{self, Redrive};
use crate::store::voicemail;
use crate::vault::state::State;

/// State and archive, ready to work with. The state's lock is held for as long as one of the clones lives.
#[derive(Debug, Clone)]
pub struct Vault {
    /// The configuration that it was opened with.
    pub config: Arc<Config>,
    /// The state directory.
    pub state: Arc<State>,
    /// The archive.
    pub archive: Arc<Archive>,
    /// Who signs the ledger.
    pub notary: Arc<Notary>,
    /// The wall clock that everybody who works with it goes by.
    pub clock: Clock,
}

impl Vault {
    /// Opens state and archive and recovers: on return no claim of an earlier run is left, no temporary lies about,
    /// the rules in force are those of the configuration, and every `SHA256SUMS` is complete.
    ///
    /// # Errors
    /// [`StateError`](crate::vault::state::StateError) and [`ArchiveError`] for what an operator can mend.
    pub async fn open(config: Config, clock: Clock) -> anyhow::Result<Self> {
        let state = State::open(&config.state.path).await?;
        let (now, sync) = (clock.now(), clock.sync().await);
        state.db.write(async move |tx| clocks::note_own(tx, now, sync).await).await?;
        let archive = open_archive(&config, &state, clock.now()).await?;
        let root = &config.archive.path;
        let notary = Notary::open(root, &archive, &state, &config.ledger, clock.now()).await?;
        let vault = Self {
            config: Arc::new(config),
            state: Arc::new(state),
            archive: Arc::new(archive),
            notary: Arc::new(notary),
            clock,
        };
        vault.recover().await?;
        Ok(vault)
    }

    /// The same state and archive under another configuration: its rules are in force on return.
    ///
    /// # Errors
    /// If state or archive would be others, for which the process has to start again; else those of [`Vault::open`].
    pub async fn with_config(&self, config: Config) -> anyhow::Result<Self> {
        let moved = |what: &str, from: &Path, to: &Path| {
            anyhow::anyhow!(
                "[{what}] path is {} now, was {}: restart the service for that",
                to.display(),
                from.display()
            )
        };
        if config.archive.path != self.config.archive.path {
            return Err(moved("archive", &self.config.archive.path, &config.archive.path));
        }
        if config.state.path != self.config.state.path {
            return Err(moved("state", &self.config.state.path, &config.state.path));
        }
        if format!("{:?}", config.ledger) != format!("{:?}", self.config.ledger) {
            anyhow::bail!("[ledger] is another now: restart the service for that");
        }
        let archive = open_archive(&config, &self.state, self.clock.now()).await?;
        let vault = Self { config: Arc::new(config), archive: Arc::new(archive), ..self.clone() };
        vault.apply_config().await?;
        Ok(vault)
    }

    /// Issues certificates of days that have settled.
    pub fn issuer(&self) -> Issuer<'_> {
        Issuer {
            db: &self.state.db,
            archive: &self.archive,
            notary: &self.notary,
            clock: &self.clock,
            free_bytes_min: self.config.archive.free_bytes_min,
        }
    }

    /// Cleans up before it lets go of the claims, for they tell where to clean.
    async fn recover(&self) -> anyhow::Result<()> {
        let now = self.clock.now();
        let db = &self.state.db;
        let claimed = queue::claimed_paths(&mut *db.read().await?).await?;
        if !claimed.is_empty() {
            info!(
                "The last run ended while it worked on {} recordings; they are queued again",
                claimed.len()
            );
        }
        self.remove_temporaries(&claimed).await?;
        db.write(async move |tx| queue::recover(tx, now).await).await?;
        self.apply_config().await?;
        for path in claimed {
            pass_over(self.settle_what_was_left(path).await)?;
        }
        pass_over(self.seal().await.map(drop))
    }

    /// Brings up to date what others read: `SHA256SUMS`, and the signed ledger. The checkpoint that was published, if one
    /// was.
    ///
    /// # Errors
    /// The first of both, after the other was tried all the same. That the ledger must not be signed is told, and no error:
    /// nothing that is archived depends on it.
    pub async fn seal(&self) -> anyhow::Result<Option<Sealed>> {
        let sums = seal::write_sums(&self.state.db, &self.archive).await;
        let sealed = match self.notary.seal(self.clock.now()).await {
            Err(error) if error.is::<NotaryError>() => {
                error!("{error}");
                Ok(None)
            }
            sealed => sealed,
        };
        sums.and(sealed)
    }

    /// Of recordings that the rules keep out now; what is left of the others is found when they are asked for.
    async fn settle_what_was_left(&self, path: String) -> anyhow::Result<()> {
        if !self.archive.serves(&Folder::parse(catalog::folder_of(&path))?) {
            return Ok(());
        }
        let (state, now) = (&self.state, self.clock.now());
        worker::settle_what_was_left(&state.db, &self.archive, &state.run_id, path, now).await
    }

    async fn apply_config(&self) -> anyhow::Result<()> {
        sweep::apply_rules(&self.config, &self.state.db, self.clock.now()).await?;
        for pbx in &self.config.pbx {
            self.redrive_after_change(pbx).await?;
        }
        Ok(())
    }

    /// Only folders that somebody was writing to can hold temporaries: those of claims, those whose sums lag, those whose
    /// certificate was on its way, and those whose call lists lag. On a filesystem with unnamed temporaries only
    /// `SHA256SUMS` ever has a named one.
    async fn remove_temporaries(&self, claimed: &[String]) -> anyhow::Result<()> {
        let mut connection = self.state.db.read().await?;
        let behind = catalog::folders_behind(&mut connection).await?;
        let mut folders: BTreeSet<String> = claimed
            .iter()
            .map(|path| catalog::folder_of(path).to_owned())
            .chain(behind.into_iter().map(|behind| behind.folder))
            .chain(certificate::drafted_folders(&mut connection).await?)
            .collect();
        if !self.archive.abilities().unnamed_temporaries {
            for pbx in &self.config.pbx {
                folders.extend(seal::folders_with_unwritten_calls(&mut connection, &pbx.id).await?);
            }
        }
        for folder in folders {
            let folder = Folder::parse(&folder)?;
            // What was removed from the configuration is left alone.
            if self.archive.serves(&folder) {
                pass_over(self.archive.remove_temporaries(&folder).map(drop).map_err(Into::into))?;
            }
        }
        Ok(())
    }

    /// What is stuck may work under other settings: its reason changed.
    async fn redrive_after_change(&self, pbx: &PbxConfig) -> anyhow::Result<()> {
        let settings = download_settings(pbx);
        let stuck = Redrive { pbx: Some(pbx.id.clone()), stuck_only: true, names: Vec::new() };
        let id = pbx.id.clone();
        self.state
            .db
            .write(async move |tx| {
                fleet::register(tx, &id).await?;
                if fleet::settings_changed(tx, &id, &settings).await? {
                    let redriven = queue::redrive(tx, &stuck).await?;
                    calls::reopen_all(tx, &redriven.changed).await?;
                    voicemail::probe_again(tx, &id).await?;
                }
                Ok(())
            })
            .await
    }
}

/// Stands for all settings of a PBX that decide whether a download can work.
pub fn download_settings(pbx: &PbxConfig) -> Digest {
    Digest::of(format!(
        "{} {:?} {:?} {:?} {:?} {:?}",
        pbx.url,
        pbx.api_version,
        pbx.download_api_version,
        pbx.allowed_ip,
        pbx.limits,
        pbx.voicemail.sends_status
    ))
}

/// One folder that cannot be read or written must not keep every command from starting: it is told, and tried again.
fn pass_over(outcome: anyhow::Result<()>) -> anyhow::Result<()> {
    match outcome {
        Err(error)
            if error
                .downcast_ref::<ArchiveError>()
                .is_some_and(|error| error.reaction() == Reaction::Retry) =>
        {
            warn!("{error:#}");
            Ok(())
        }
        outcome => outcome,
    }
}

async fn open_archive(config: &Config, state: &State, now: Timestamp) -> anyhow::Result<Archive> {
    let mut presence = Vec::new();
    for pbx in &config.pbx {
        let has_rows = fleet::is_known(&mut *state.db.read().await?, &pbx.id).await?;
        presence.push(PbxPresence { id: &pbx.id, has_rows });
    }
    let vouch_key = VouchKey::new(state.adopt_key());
    let opening = Opening {
        root: &config.archive.path,
        state_path: &config.state.path,
        state_id: &state.id,
        vouch_key: &vouch_key,
        pbxs: &presence,
        now,
    };
    // Opening touches a handful of files; nothing else runs yet that it could hold up.
    Archive::open(&opening)
        .map_err(|error: ArchiveError| anyhow::Error::new(error))
        .context("opening the archive")
}
