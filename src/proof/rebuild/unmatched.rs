//! What has no counterpart. Entries of the ledger whose file is gone, or whose sidecar is another one now: what was archived
//! is not forgotten. Files without a signed entry: the tail that was not signed yet when the state was lost, what a restored
//! older database archived, or what somebody put there. If this state vouches for the sidecar, the file is archived and gets
//! an entry now. Otherwise an entry says that it was found, and its recording is owed.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::civil::Date;

use super::Rebuild;
use super::documents::recording_path;
use super::folder::SIDECAR_BYTES_MAX;
use super::published::Believed;
use super::replay::entry_name;

use crate::archive::{ArchiveError, Content, Destination, Folder, Key, Reader};
use crate::base::blocking::on_thread;
use crate::base::recording::{RecordingKind, RecordingName};
use crate::base::safe_name::plain_name;
use crate::formats::call_lines::RecordingLine;
use crate::formats::sidecar::{Sidecar, SidecarOrigin};
use crate::store::ledger::{self, ArchivedFacts, HowCame};
use crate::store::queue::{self, RecordingState};
use crate::store::scratch::{self, Naming, NotedFile, OpenEntry};

const FILES_PER_PAGE: i64 = 500;

impl Rebuild<'_> {
    /// Gives every entry its file, under its last known name.
    pub(super) async fn settle_entries_without_a_file(&mut self) -> Result<()> {
        scratch::index_unnamed(self.building.tx()).await?;
        let mut after = -1;
        while let Some(entry) = scratch::open_entry_after(self.building.tx(), after).await? {
            after = entry.number;
            self.report.ledger.gone += 1;
            self.settle_entry(&entry).await?;
            self.building.wrote().await?;
        }
        Ok(())
    }

    async fn settle_entry(&mut self, entry: &OpenEntry) -> Result<()> {
        let listed = scratch::listed_path(self.building.tx(), entry).await?;
        if let Some((id, path)) = scratch::altered_file(self.building.tx(), entry, listed.as_deref()).await? {
            let problem =
                format!("it is not the sidecar of {}: restore it from a backup", entry_name(entry.number));
            self.damaged(&entry.pbx, format!("{path}.json"), problem);
            return scratch::take_file(self.building.tx(), id, entry).await;
        }
        if let Some((id, _)) = scratch::absence(self.building.tx(), entry.recording).await? {
            let path = queue::restore_archived(self.building.tx(), id).await?;
            return self.keep_gone(entry, &path, id).await;
        }
        let path = listed.map_or_else(|| nameless_path(entry), Ok)?;
        let id = self.recording_at(entry, &path).await?;
        self.keep_gone(entry, &path, id).await
    }

    async fn keep_gone(&mut self, entry: &OpenEntry, path: &str, recording_id: i64) -> Result<()> {
        let problem = format!(
            "{} names it, but the file or its sidecar is missing: restore both from a backup",
            entry_name(entry.number)
        );
        self.damaged(&entry.pbx, path, problem);
        scratch::keep_gone(self.building.tx(), entry, path, recording_id).await
    }

    /// The recording whose audio was at `path`; it is made if nothing else names it.
    async fn recording_at(&mut self, entry: &OpenEntry, path: &str) -> Result<i64> {
        let of = recording_path(path, &entry.sha256);
        if let Some(id) = queue::id_of_path(self.building.tx(), &of).await? {
            queue::restore_archived(self.building.tx(), id).await?;
            return Ok(id);
        }
        let call = scratch::call_naming(self.building.tx(), &of).await?;
        let name = call.as_ref().and_then(|call| call.row.recording.clone());
        let name = name.unwrap_or_else(|| name_of_file(&of));
        let day: Date = entry.day.parse()?;
        let begun = call.as_ref().and_then(|call| call.started_at);
        let kind = if of.contains("/voicemail/") { RecordingKind::Voicemail } else { RecordingKind::Call };
        let line = RecordingLine {
            kind,
            started_at: begun.unwrap_or(midnight(day)),
            state: RecordingState::Archived,
            ..self.line_by_call(&entry.pbx, of, &name, call.as_ref())
        };
        let id = queue::restore(self.building.tx(), &entry.pbx, day, &name, &line).await?;
        id.context("what is archived always has a row")
    }

    pub(super) fn note_open_gaps(&mut self) {
        for (number, gap) in std::mem::take(&mut self.gaps).into_values() {
            let problem = format!(
                "it is about a recording of {} that was missing for good, and no call list names that recording: \
                 a sweep may find it again",
                gap.day
            );
            self.damaged(&gap.pbx, entry_name(number), problem);
        }
    }

    /// Appends an entry for each file without one that is what its sidecar says. Others are reported, and queued again.
    pub(super) async fn name_files_without_an_entry(&mut self) -> Result<()> {
        let mut after = 0;
        loop {
            let page = scratch::unnamed_after(self.building.tx(), after, FILES_PER_PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            let (archive, believed) = (self.archive.clone(), self.believed.clone());
            let examined = on_thread(move || {
                let examined = page.into_iter().map(|file| (examine(&*archive, &believed, &file), file));
                examined.collect::<Vec<_>>()
            });
            for (origin, file) in examined.await.context("reading the archive")? {
                if origin.is_ok() && file.kind != Some(RecordingKind::Voicemail) {
                    self.reopen_day(&file.pbx, file.day);
                }
                match origin {
                    Ok(Some(origin)) => self.name_file(&file, &origin).await?,
                    Ok(None) => self.note_found(&file).await?,
                    Err(problem) => self.damaged(&file.pbx, file.path, problem.to_string()),
                }
                self.building.wrote().await?;
            }
        }
    }

    /// Reports a file that anybody may have put there. It stays where it is until the PBX was asked.
    async fn note_found(&mut self, file: &NotedFile) -> Result<()> {
        ledger::append(self.building.tx(), &ledger::found(&facts_of(file, None), self.now)).await?;
        self.report.ledger.found += 1;
        Ok(())
    }

    async fn name_file(&mut self, file: &NotedFile, origin: &SidecarOrigin) -> Result<()> {
        let gap = self.gaps.remove(&file.commitment).map(|(number, _)| number);
        let (transport, key_sha256) = (origin.transport.as_str(), origin.key_sha256.as_deref());
        let came = Some(HowCame { transport, key_sha256, adopted: true });
        let facts = ArchivedFacts { came, ..facts_of(file, gap) };
        let number = ledger::append(self.building.tx(), &ledger::archived(&facts, self.now)).await?;
        let naming = Naming { number, conflict: facts.conflict, gap, at_ms: self.now.as_millisecond() };
        scratch::name_file(self.building.tx(), file.id, naming).await?;
        self.report.ledger.appended += 1;
        let suspect = file.suspect();
        if !suspect.is_empty() {
            let entry = ledger::suspect(number, &file.pbx, &suspect, self.now);
            ledger::append(self.building.tx(), &entry).await?;
            self.report.ledger.appended += 1;
        }
        Ok(())
    }
}

/// A path for a file that only the ledger knows: a name that no recording can have.
fn nameless_path(entry: &OpenEntry) -> Result<String> {
    let folder = Folder::day(&entry.pbx, entry.day.parse()?)?;
    let name = format!("entry-{}~{}.wav", entry.number, entry.sha256.short());
    Ok(Destination::new(folder, &name)?.path())
}

/// The PBX's name of a recording, as far as its file name shows it.
fn name_of_file(path: &str) -> RecordingName {
    let file = path.rsplit('/').next().unwrap_or(path);
    plain_name(file).or_else(|| RecordingName::new(file)).expect("a path names a file")
}

fn midnight(day: Date) -> Timestamp {
    jiff::tz::Offset::UTC.to_timestamp(day.at(0, 0, 0, 0)).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn facts_of(file: &NotedFile, gap: Option<i64>) -> ArchivedFacts<'_> {
    ArchivedFacts {
        conflict: file.path.contains("~conflict-"),
        pbx: &file.pbx,
        day: file.day,
        recording: file.commitment,
        sha256: file.sha256,
        sidecar_sha256: file.sidecar_sha256,
        size_bytes: file.size_bytes,
        gap,
        came: None,
    }
}

/// An entry is a promise about the disk: this says whether one can be made for this file, and how it came if this state
/// wrote its sidecar, for this place. The error says why it cannot.
fn examine(archive: &dyn Reader, believed: &Believed, file: &NotedFile) -> Result<Option<SidecarOrigin>> {
    anyhow::ensure!(
        is_whole(archive, file)?,
        "not in the ledger, and missing or different from its sidecar: queued for download again"
    );
    let Some(vouch_key) = &believed.vouch_key else { return Ok(None) };
    let bytes = match archive.read(&Destination::parse(&file.path)?.sidecar(), SIDECAR_BYTES_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) | Err(ArchiveError::TooLarge { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let sidecar = Sidecar::from_bytes(&bytes).ok();
    let ours = sidecar.filter(|sidecar| vouch_key.vouches_for(&file.path, sidecar));
    Ok(ours.and_then(|sidecar| sidecar.origin))
}

fn is_whole(archive: &dyn Reader, file: &NotedFile) -> Result<bool, ArchiveError> {
    let place = Destination::parse(&file.path)?;
    let settled = |key: &Key| archive.settle(key).and_then(|()| archive.hash(key, &mut |_| true));
    let (audio, sidecar) = (settled(&(&place).into())?, settled(&place.sidecar())?);
    Ok(audio == Content::Bytes { size_bytes: file.size_bytes, sha256: file.sha256 }
        && matches!(sidecar, Content::Bytes { sha256, .. } if sha256 == file.sidecar_sha256))
}
