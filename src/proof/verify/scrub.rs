//! Reading the archive again a part at a time, so that every byte is read within so many days.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Tools;
use super::budget::Budget;
use super::read;
use super::report::{Report, Scope};
use super::settle::Tally;
use crate::proof::sealed_vault::SealedVault;
use crate::store::fixity::{self, Pass, ToRead};
use crate::vault::Vault;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// In how many such parts all of it is to be read.
    pub parts: u32,
    /// After how long nothing more of it is begun.
    pub time_limit: Option<Duration>,
}

/// Reads the next part, the longest unread first. Once all was read since the first part, the ledger gets the entry of it.
///
/// # Errors
/// [`ArchiveError`](crate::archive::ArchiveError) if the archive as a whole cannot be read, and whatever the database says.
pub async fn scrub(opened: &SealedVault, part: Part, stop: &CancellationToken) -> anyhow::Result<Report> {
    let SealedVault { vault, notary } = opened;
    let pbxs: Vec<String> = vault.config.pbx.iter().map(|pbx| pbx.id.clone()).collect();
    for pbx in &pbxs {
        vault.archive.check_place(pbx)?;
    }
    let now = vault.clock.now();
    let pass = pass(vault, now).await?;
    let extent = fixity::extent(&mut *vault.state.db.read().await?, &pbxs).await?;
    let bytes = u64::try_from(extent.bytes).unwrap_or(0).div_ceil(u64::from(part.parts.max(1)));
    let tools = Tools {
        vault,
        notary,
        reader: Arc::new(vault.archive.reader()),
        scope: Scope::Full,
        quarantine: false,
        // The service has better to do than to read as fast as it can.
        threads: 1,
        budget: Arc::new(Budget::new(stop.clone(), part.time_limit)),
        progress: Arc::default(),
    };
    let mut tally = Tally::new(Report::new(Scope::Full, now));
    let what = ToRead { pbxs: pbxs.clone(), before: pass.began_at, also_damaged: false };
    // Units without audio count nothing: a part without any quota left still reads them.
    read::read_all(&tools, &mut tally, what.clone(), Some(bytes.max(1))).await?;
    let left = fixity::oldest(&mut *vault.state.db.read().await?, &what, fixity::Cursor::START, 1).await?;
    let mut report = tally.report;
    report.interrupted = stop.is_cancelled();
    report.whole = left.is_empty() && !report.interrupted;
    conclude(vault, &report, pass, pbxs).await?;
    Ok(report)
}

/// The pass under way; a new one if there is none.
async fn pass(vault: &Vault, now: Timestamp) -> anyhow::Result<Pass> {
    vault.state.db.write(async move |tx| fixity::begin_pass(tx, now).await).await?;
    let pass = fixity::pass(&mut *vault.state.db.read().await?).await?;
    Ok(pass.unwrap_or(Pass { began_at: now, files: 0, bytes: 0 }))
}

/// Counts the part; after the last one, the ledger gets the entry of all of them together.
async fn conclude(vault: &Vault, report: &Report, pass: Pass, pbxs: Vec<String>) -> anyhow::Result<()> {
    let (now, files, bytes, is_last) = (vault.clock.now(), report.files, report.bytes, report.whole);
    let mut whole = Report { began_at: pass.began_at, damaged: Vec::new(), ..report.clone() };
    whole.files += pass.files;
    whole.bytes += pass.bytes;
    let db = &vault.state.db;
    db.write(async move |tx| {
        if !is_last {
            return fixity::add_to_pass(tx, files, bytes).await;
        }
        let (missing, altered, unreadable) = fixity::found_of_files(tx).await?;
        (whole.counts.missing, whole.counts.altered, whole.counts.unreadable) =
            (missing, altered, unreadable);
        crate::store::ledger::append(tx, &whole.entry(&pbxs, now)).await?;
        fixity::note_whole(tx, Scope::Full.as_str(), now).await?;
        fixity::end_pass(tx).await
    })
    .await
}
