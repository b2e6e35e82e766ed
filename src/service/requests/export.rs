//! What the ledger says of an export.

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::proof::export::Report;
use crate::proof::sealed_vault::SealedVault;
use crate::store::ledger::{self, Entry, EntryType};

/// What the ledger says of an export.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Receipt {
    /// The SHA-256 of its `tagmanifest-sha256.txt`.
    bag_sha256: String,
    /// The first day in it.
    from: String,
    /// The last day in it.
    to: String,
    /// Audio files in it.
    files: u64,
}

impl Receipt {
    pub fn of(report: &Report) -> Self {
        Self {
            bag_sha256: report.bag_sha256.to_string(),
            from: report.from.clone().unwrap_or_default(),
            to: report.to.clone().unwrap_or_default(),
            files: report.files,
        }
    }

    /// Enters the export into the ledger, and signs that.
    ///
    /// # Errors
    /// [`NotaryError`](crate::proof::notary::NotaryError) if it must not be signed: then nothing is handed out.
    pub(super) async fn enter(&self, opened: &SealedVault) -> anyhow::Result<Outcome> {
        let SealedVault { vault, notary } = opened;
        let entry = Entry::new(EntryType::Export, vault.clock.now())
            .with("bag_sha256", self.bag_sha256.as_str())
            .with("from", self.from.as_str())
            .with("to", self.to.as_str())
            .with("files", self.files);
        let ledger_number = vault.state.db.write(async move |tx| ledger::append(tx, &entry).await).await?;
        notary.seal(vault.clock.now()).await?;
        Ok(Outcome::Exported { ledger_number })
    }
}
