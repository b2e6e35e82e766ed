//! A vault whose ledger can be signed, recovered from whatever ended the last run.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{error, info, warn};

use super::certificate::{self, Issuer};
use super::notary::{Notary, NotaryError, Sealed};
use super::seal;
use crate::archive::{ArchiveError, Folder, Reaction};
use crate::base::clock::Clock;
use crate::base::digest::Digest;
use crate::config::{Config, PbxConfig};
use crate::pipeline::{sweep, worker};
use crate::store::catalog;
use crate::store::queue::{self, Redrive};
use crate::store::{calls, fleet, voicemail};
use crate::vault::Vault;

#[derive(Debug, Clone)]
pub struct SealedVault {
    pub vault: Vault,
    pub notary: Arc<Notary>,
}

impl SealedVault {
    /// Opens the vault and recovers it: on return no claim and no temporary of an earlier run is left, the rules in force are
    /// those of the configuration, and every `SHA256SUMS` is complete.
    pub async fn open(config: Config, clock: Clock) -> anyhow::Result<Self> {
        let vault = Vault::open(config, clock).await?;
        let Vault { config, state, archive, clock } = &vault;
        let notary = Notary::open(&config.archive.path, archive, state, &config.ledger, clock.now()).await?;
        let opened = Self { vault, notary: Arc::new(notary) };
        opened.recover().await?;
        Ok(opened)
    }

    /// The same under another configuration: its rules are in force on return.
    pub async fn with_config(&self, config: Config) -> anyhow::Result<Self> {
        let changed = Self { vault: self.vault.with_config(config).await?, notary: self.notary.clone() };
        changed.apply_config().await?;
        Ok(changed)
    }

    /// Issues certificates of days that have settled.
    pub fn issuer(&self) -> Issuer<'_> {
        Issuer {
            db: &self.vault.state.db,
            archive: &self.vault.archive,
            notary: &self.notary,
            clock: &self.vault.clock,
            free_bytes_min: self.vault.config.archive.free_bytes_min,
        }
    }

    /// Cleans up before it lets go of the claims, for they tell where to clean.
    async fn recover(&self) -> anyhow::Result<()> {
        let now = self.vault.clock.now();
        let db = &self.vault.state.db;
        let claimed = queue::claimed_paths(&mut *db.read().await?).await?;
        if !claimed.is_empty() {
            let count = claimed.len();
            info!("The last run ended while it worked on {count} recordings; they are queued again");
        }
        self.remove_temporaries(&claimed).await?;
        db.write(async move |tx| queue::recover(tx, now).await).await?;
        self.apply_config().await?;
        for path in claimed {
            pass_over(self.settle_leftovers(path).await)?;
        }
        pass_over(self.seal().await.map(drop))
    }

    /// Brings up to date what others read: `SHA256SUMS`, and the signed ledger. Returns the checkpoint that was published, if
    /// one was; or the first error, after both were tried. A ledger that must not be signed is logged and is no error: nothing
    /// that is archived depends on it.
    pub async fn seal(&self) -> anyhow::Result<Option<Sealed>> {
        let sums = seal::write_sums(&self.vault.state.db, &self.vault.archive).await;
        let sealed = match self.notary.seal(self.vault.clock.now()).await {
            Err(error) if error.is::<NotaryError>() => {
                error!("{error}");
                Ok(None)
            }
            sealed => sealed,
        };
        sums.and(sealed)
    }

    /// Of recordings that the rules keep out now; what is left of the others is found when they are asked for.
    async fn settle_leftovers(&self, path: String) -> anyhow::Result<()> {
        if !self.vault.archive.serves(&Folder::parse(catalog::folder_of(&path))?) {
            return Ok(());
        }
        worker::settle_leftovers(&self.vault, path).await
    }

    async fn apply_config(&self) -> anyhow::Result<()> {
        sweep::apply_rules(&self.vault).await?;
        for pbx in &self.vault.config.pbx {
            self.redrive_after_change(pbx).await?;
        }
        Ok(())
    }

    /// Only folders that somebody was writing to can hold temporaries: those of claims, those whose sums lag, those whose
    /// certificate was on its way, and those whose call lists lag. On a filesystem with unnamed temporaries only
    /// `SHA256SUMS` ever has a named one.
    async fn remove_temporaries(&self, claimed: &[String]) -> anyhow::Result<()> {
        let mut connection = self.vault.state.db.read().await?;
        let behind = catalog::folders_behind(&mut connection).await?;
        let mut folders: BTreeSet<String> = claimed
            .iter()
            .map(|path| catalog::folder_of(path).to_owned())
            .chain(behind.into_iter().map(|behind| behind.folder))
            .chain(certificate::drafted_folders(&mut connection).await?)
            .collect();
        if !self.vault.archive.abilities().unnamed_temporaries {
            for pbx in &self.vault.config.pbx {
                folders.extend(seal::folders_with_unwritten_calls(&mut connection, &pbx.id).await?);
            }
        }
        for folder in folders {
            let folder = Folder::parse(&folder)?;
            // What was removed from the configuration is left alone.
            if self.vault.archive.serves(&folder) {
                pass_over(self.vault.archive.remove_temporaries(&folder).map(drop).map_err(Into::into))?;
            }
        }
        Ok(())
    }

    /// What is stuck may work under other settings: its reason changed.
    async fn redrive_after_change(&self, pbx: &PbxConfig) -> anyhow::Result<()> {
        let settings = download_settings(pbx);
        let stuck = Redrive { pbx: Some(pbx.id.clone()), stuck_only: true, names: Vec::new() };
        let id = pbx.id.clone();
        let db = &self.vault.state.db;
        db.write(async move |tx| {
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

/// One folder that cannot be read or written must not keep every command from starting: callvault logs it and tries again.
fn pass_over(outcome: anyhow::Result<()>) -> anyhow::Result<()> {
    let Err(error) = outcome else { return Ok(()) };
    let of_archive = error.downcast_ref::<ArchiveError>();
    if of_archive.is_none_or(|error| error.reaction() != Reaction::Retry) {
        return Err(error);
    }
    warn!("{error:#}");
    Ok(())
}
