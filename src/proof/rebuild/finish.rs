//! What follows once files and ledger agree: the catalog, the calls' recordings, the days, and what is learnt of each
//! PBX.

use anyhow::Result;
use jiff::Timestamp;

use super::documents::day_of;
use super::report::PbxRebuilt;
use super::{Rebuild, Report, Trust};
use crate::base::recording::{RecordingKind, RecordingName, Text, printable};
use crate::base::salt::Salt;
use crate::formats::call_lines::RecordingLine;
use crate::proof::{notary, sealed_vault};
use crate::store::catalog::{self, CatalogEntry};
use crate::store::db::{self, Building};
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::queue::{self, RecordingState};
use crate::store::scratch::{self, NotedFile, OpenLink};
use crate::store::{calls, device_retention, fleet, voicemail};

/// What the finding says of a ledger that is taken on the archive's own word.
const NOBODY_VOUCHES: &str = "only the archive itself vouches for the ledger that the database was rebuilt from: compare its \
                              checkpoint with one from an auditor, an e-mail or a witness";
const ROWS_PER_PAGE: i64 = 1000;

impl Rebuild<'_> {
    /// Links calls to recordings that came after them. A recording that only a call names is queued.
    pub(super) async fn link_calls(&mut self) -> Result<()> {
        let mut after = 0;
        loop {
            let page = scratch::links_after(self.building.tx(), after, ROWS_PER_PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.call_id;
            for link in page {
                let id = match queue::id_of_path(self.building.tx(), &link.path).await? {
                    Some(id) => Some(id),
                    None => self.owe(&link).await?,
                };
                if let Some(id) = id {
                    calls::restore_link(self.building.tx(), link.call_id, id).await?;
                }
                self.building.wrote().await?;
            }
        }
    }

    async fn owe(&mut self, link: &OpenLink) -> Result<Option<i64>> {
        let (Some(name), Some(day)) = (&link.row.recording, day_of(&link.pbx, &link.path)) else {
            let problem = "a call list names it, but it is not the path of a recording of this PBX";
            self.damaged(&link.pbx, printable(link.path.as_bytes()), problem);
            return Ok(None);
        };
        let owed = self.line_by_call(&link.pbx, link.path.clone(), name, Some(link));
        queue::restore(self.building.tx(), &link.pbx, day, name, &owed).await
    }

    /// A recording that neither a sidecar nor a list describes, as the call tells it that names it, if one does.
    pub(super) fn line_by_call(
        &self,
        pbx: &str,
        path: String,
        name: &RecordingName,
        call: Option<&OpenLink>,
    ) -> RecordingLine {
        let sn = call.and_then(|call| call.row.sn.as_str()).filter(|sn| !sn.is_empty());
        RecordingLine {
            path,
            kind: RecordingKind::Call,
            sn: sn.or_else(|| self.serial_number(pbx)).unwrap_or_default().to_owned(),
            name: Text::from_bytes(name.as_bytes()),
            started_at: call.and_then(|call| call.started_at).unwrap_or(self.now),
            state: RecordingState::Pending,
            reason: None,
            r#final: false,
            attempts: 0,
            // That of its sidecar is lost, and with it what the ledger names.
            salt: Salt::random(),
        }
    }

    /// Fills the catalog in the order in which the files were archived.
    pub(super) async fn fill_catalog(&mut self) -> Result<()> {
        scratch::index_numbers(self.building.tx()).await?;
        let mut after = -1;
        loop {
            let page = scratch::files_after(self.building.tx(), after, ROWS_PER_PAGE).await?;
            let Some(last) = page.last().and_then(|file| file.number) else { return Ok(()) };
            after = last;
            for file in page {
                self.catalog_file(&file).await?;
                self.building.wrote().await?;
            }
        }
    }

    async fn catalog_file(&mut self, file: &NotedFile) -> Result<()> {
        // Only files that an entry names are asked for.
        let (Some(number), Some(at_ms)) = (file.number, file.at_ms) else { return Ok(()) };
        let archived_at = Timestamp::from_millisecond(at_ms)?;
        let entry = CatalogEntry {
            recording_id: file.recording_id,
            path: file.path.clone(),
            size_bytes: file.size_bytes,
            sha256: file.sha256,
            sidecar_sha256: file.sidecar_sha256,
            format: file.format.clone(),
            duration_ms: file.duration_ms,
            suspect: file.suspect(),
            conflict: file.conflict.unwrap_or_default(),
        };
        if let Some(gap) = file.gap {
            queue::note_gap(self.building.tx(), file.recording_id, gap).await?;
        }
        if file.kind == Some(RecordingKind::Call) {
            let learnt = self.learnt.entry(file.pbx.clone()).or_default();
            learnt.delivered_at = learnt.delivered_at.max(Some(archived_at));
        }
        let recorded = catalog::record(self.building.tx(), &[(entry, number)], archived_at).await;
        if db::unless_refused(recorded)?.is_none() {
            let problem = format!("a second entry of the ledger names it: entry {number}");
            self.damaged(&file.pbx, &file.path, problem);
        }
        Ok(())
    }

    /// All that follows from the rows that are there now.
    pub(super) async fn finish(mut self, pbxs: &[String]) -> Result<(Building, Report)> {
        self.building.make_indexes().await?;
        for ((pbx, day), found) in &self.days {
            calls::restore_day(self.building.tx(), pbx, *day, found).await?;
        }
        self.note_sums().await?;
        for pbx in pbxs {
            self.note_learnt(pbx).await?;
        }
        let tx = self.building.tx();
        queue::owe_unfiled(tx).await?;
        queue::restore_refetches(tx).await?;
        device_retention::restore(tx, self.now).await?;
        voicemail::restore(tx).await?;
        self.report.ledger.asked_again = queue::reopen_unproven(tx).await?;
        self.count(pbxs).await?;
        self.keep_findings(pbxs).await?;
        Ok((self.building, self.report))
    }

    /// Sums that list what is there need not be written again.
    async fn note_sums(&mut self) -> Result<()> {
        for behind in catalog::folders_behind(self.building.tx()).await? {
            if self.in_step.contains(&behind.folder) {
                catalog::sums_written(self.building.tx(), &behind).await?;
            }
        }
        Ok(())
    }

    async fn note_learnt(&mut self, pbx: &str) -> Result<()> {
        let sn = self.serial_number(pbx).map(str::to_owned);
        let learnt = self.learnt.remove(pbx).unwrap_or_default();
        let configured = self.config.pbx.iter().find(|configured| configured.id == pbx);
        let tx = self.building.tx();
        if let Some(sn) = sn {
            fleet::learn_serial_number(tx, pbx, &sn).await?;
        }
        if let Some((_, offset_s)) = learnt.offset {
            fleet::learn_offset(tx, pbx, offset_s).await?;
        }
        if let Some(at) = learnt.delivered_at {
            fleet::noting_delivery(pbx, at).run(tx, "noting a delivery").await?;
        }
        queue::schedule_stuck(tx, pbx, self.now + queue::STUCK_AGAIN_AFTER).await?;
        // Stuck recordings count as stuck under these settings, so that a change of the settings retries them at once.
        if let Some(configured) = configured {
            fleet::settings_changed(tx, pbx, &sealed_vault::download_settings(configured)).await?;
        }
        Ok(())
    }

    async fn count(&mut self, pbxs: &[String]) -> Result<()> {
        let calls = calls::counts(self.building.tx()).await?;
        let mut counted = queue::counts_of_all(self.building.tx()).await?;
        for pbx in pbxs {
            let mut of = |kind: RecordingKind| counted.remove(&(pbx.clone(), kind));
            let counts = of(RecordingKind::Call).unwrap_or_default();
            let rebuilt = PbxRebuilt {
                listed: counts.listed(),
                counts,
                voicemail: of(RecordingKind::Voicemail),
                calls: calls.get(pbx).copied().unwrap_or_default().calls,
            };
            self.report.pbx.insert(pbx.clone(), rebuilt);
        }
        Ok(())
    }

    /// `status` shows damage until a person has looked at it.
    async fn keep_findings(&mut self, pbxs: &[String]) -> Result<()> {
        for damage in &self.report.damage {
            let Some(pbx) = pbxs.iter().find(|pbx| **pbx == damage.pbx) else { continue };
            let finding = Finding {
                kind: FindingKind::NotRebuilt,
                subject: damage.subject.clone(),
                detail: damage.problem.clone(),
            };
            findings::record(self.building.tx(), pbx, &finding, self.now).await?;
        }
        if self.report.ledger.trust == Trust::None {
            let finding = Finding {
                kind: FindingKind::NotRebuilt,
                subject: notary::FOLDER.to_owned(),
                detail: NOBODY_VOUCHES.to_owned(),
            };
            for pbx in pbxs {
                findings::record(self.building.tx(), pbx, &finding, self.now).await?;
            }
        }
        Ok(())
    }
}
