//! The folders of a PBX on their way into the database.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use super::Rebuild;
use super::documents::{Line, ListedCall, day_of};
use super::folder::{FOLDERS_AT_ONCE, FolderEnd, FoundList, Piece, UnderWay};
use crate::archive::{Folder, survey};
use crate::base::message::Message;
use crate::base::recording::{RecordingKind, RecordingName, printable};
use crate::base::times::{self, OffsetSource};
use crate::formats::call_lines::RecordingLine;
use crate::formats::sidecar::Sidecar;
use crate::store::calls::{self, NewCall};
use crate::store::ledger::ListFacts;
use crate::store::queue::{self, RecordingState};
use crate::store::scratch::{self, FoundFile};
use crate::store::voicemail::{self, KeptMessage};
use crate::store::{catalog, db};

impl Rebuild<'_> {
    /// Takes in all folders of `pbx`: recordings, calls, messages and day files.
    pub(super) async fn walk(&mut self, pbx: &str) -> Result<()> {
        let folders = survey::folders(&*self.archive, pbx);
        for (path, error) in folders.unreadable {
            self.damaged(pbx, path, error.to_string());
        }
        let archive = self.archive.clone();
        let mut folders = folders.found.into_iter().map(|folder| UnderWay::begin(archive.clone(), folder));
        let mut under_way: VecDeque<UnderWay> = folders.by_ref().take(FOLDERS_AT_ONCE).collect();
        while let Some(folder) = under_way.pop_front() {
            self.take_folder(folder).await?;
            under_way.extend(folders.next());
        }
        Ok(())
    }

    async fn take_folder(&mut self, mut under_way: UnderWay) -> Result<()> {
        self.rows.clear();
        while let Some(piece) = under_way.next().await? {
            match piece {
                Piece::Files(files) => self.take_files(files).await?,
                Piece::List(list) => self.take_list(&under_way.folder, list).await?,
                Piece::End(end) => self.take_end(&under_way.folder, end).await?,
                Piece::Damage(damage) => self.report.note(damage),
            }
        }
        Ok(())
    }

    async fn take_files(&mut self, files: Vec<FoundFile>) -> Result<()> {
        self.progress.files.fetch_add(files.len() as u64, Relaxed);
        for file in files {
            if db::unless_refused(self.take_file(&file).await)?.is_none() {
                let path = printable(file.sidecar.file.path.as_bytes());
                let problem = "its sidecar names the recording of another file: compare the two";
                self.damaged(&file.sidecar.pbx.id, path, problem);
            }
        }
        Ok(())
    }

    async fn take_file(&mut self, file: &FoundFile) -> Result<()> {
        let Sidecar { pbx, recording, times, voicemail, archived_at, .. } = &file.sidecar;
        let line = RecordingLine {
            path: file.recording_path.clone(),
            kind: recording.kind,
            sn: pbx.sn.clone(),
            name: recording.name.clone(),
            started_at: times.started_at,
            state: RecordingState::Archived,
            reason: None,
            r#final: false,
            attempts: file.sidecar.attempts,
            salt: file.sidecar.salt,
        };
        let id = queue::restore(self.building.tx(), &pbx.id, file.day, &file.name, &line).await?;
        let id = id.context("what is archived always has a row")?;
        scratch::keep_file(self.building.tx(), id, file).await?;
        self.rows.insert(line.path, id);
        if let Some((message, ordinal)) = &file.message {
            let kept = KeptMessage {
                message: message.clone(),
                ordinal: *ordinal,
                utc_offset_s: times.utc_offset_s,
                offset_source: times.offset_source.clone(),
                zone_offset_s: times.zone_offset_s,
                status: voicemail.as_ref().and_then(|voicemail| voicemail.status.clone()),
            };
            self.keep_message(id, &pbx.id, &kept, *archived_at).await?;
        }
        for call in &file.unlisted {
            let call = NewCall { recording_id: Some(id), ..call.clone() };
            calls::restore_unlisted(self.building.tx(), &pbx.id, &call, *archived_at).await?;
        }
        self.learn_from_file(file);
        self.building.wrote().await
    }

    /// The first file or line about a message counts.
    async fn keep_message(&mut self, id: i64, pbx: &str, kept: &KeptMessage, at: Timestamp) -> Result<()> {
        db::unless_refused(voicemail::keep(self.building.tx(), id, pbx, kept, at).await).map(drop)
    }

    fn learn_from_file(&mut self, file: &FoundFile) {
        let sidecar = &file.sidecar;
        let learnt = self.learnt.entry(sidecar.pbx.id.clone()).or_default();
        if !sidecar.pbx.sn.is_empty() {
            latest(&mut learnt.sn_of_files, sidecar.archived_at, || sidecar.pbx.sn.clone());
        }
        if sidecar.times.offset_source == OffsetSource::Callid.as_str() {
            latest(&mut learnt.offset, sidecar.times.started_at, || sidecar.times.utc_offset_s);
        }
    }

    async fn take_list(&mut self, folder: &Folder, list: FoundList) -> Result<()> {
        let Some(day) = folder.date() else { return Ok(()) };
        let pbx = folder.pbx().to_owned();
        self.progress.lines.fetch_add(list.lines.len() as u64, Relaxed);
        let found = self.days.entry((pbx.clone(), day)).or_default();
        found.calls_files = found.calls_files.max(list.number);
        if let Some((sha256, lines)) = list.salted {
            let found = ListFacts { pbx: &pbx, day, number: list.number, sha256, lines };
            scratch::keep_list(self.building.tx(), &found).await?;
        }
        for line in list.lines {
            match line {
                Line::Recording(name, line) => self.take_recording(&pbx, &name, *line).await?,
                Line::Call(listed) => self.take_call(&pbx, *listed).await?,
                Line::Nothing => {}
            }
            self.building.wrote().await?;
        }
        Ok(())
    }

    async fn take_recording(&mut self, pbx: &str, name: &RecordingName, line: RecordingLine) -> Result<()> {
        let Some(day) = day_of(pbx, &line.path) else {
            let path = printable(line.path.as_bytes());
            self.damaged(pbx, path, "a call list names it, and it is not a path of this PBX");
            return Ok(());
        };
        let restored = queue::restore(self.building.tx(), pbx, day, name, &line).await;
        let Some(id) = db::unless_refused(restored)? else {
            self.damaged(pbx, line.path, "a call list names it under the name of another recording");
            return Ok(());
        };
        let Some(id) = id else { return Ok(()) };
        if line.kind == RecordingKind::Voicemail
            && let Some(kept) = self.message_of(pbx, name, line.started_at)
        {
            self.keep_message(id, pbx, &kept, line.started_at).await?;
        }
        self.rows.insert(line.path, id);
        Ok(())
    }

    /// What a list does not tell of a message follows from its date: the distance of that from its start.
    fn message_of(&self, pbx: &str, name: &RecordingName, started_at: Timestamp) -> Option<KeptMessage> {
        let (message, ordinal) = Message::from_name(name)?;
        let configured = self.config.pbx.iter().find(|configured| configured.id == pbx);
        let zone = configured.and_then(|pbx| pbx.timezone.as_ref());
        let zone_offset_s = zone.map(|zone| zone.to_offset(started_at).seconds());
        let shown = times::parse_local(&message.date).and_then(|local| {
            let shown = jiff::tz::Offset::UTC.to_timestamp(local).ok()?;
            i32::try_from(shown.duration_since(started_at).as_secs()).ok()
        });
        let utc_offset_s = shown.or(zone_offset_s).unwrap_or(0);
        let source = match zone_offset_s {
            Some(offset_s) if offset_s == utc_offset_s => OffsetSource::Zone,
            _ => OffsetSource::Learnt,
        };
        let offset_source = source.as_str().to_owned();
        Some(KeptMessage { message, ordinal, utc_offset_s, offset_source, zone_offset_s, status: None })
    }

    async fn take_call(&mut self, pbx: &str, listed: ListedCall) -> Result<()> {
        let ListedCall { mut call, first_seen_at, recording, sn } = listed;
        call.recording_id = match &recording {
            Some(path) => match self.rows.get(path) {
                Some(id) => Some(*id),
                None => queue::id_of_path(self.building.tx(), path).await?,
            },
            None => None,
        };
        let learnt = self.learnt.entry(pbx.to_owned()).or_default();
        if let Some(sn) = sn {
            latest(&mut learnt.sn, first_seen_at, || sn);
        }
        if call.offset_source == OffsetSource::Callid.as_str()
            && let Some(started_at) = call.started_at
        {
            latest(&mut learnt.offset, started_at, || call.utc_offset_s);
        }
        let id = calls::restore_listed(self.building.tx(), pbx, &call, first_seen_at, self.now).await?;
        match recording.filter(|_| call.recording_id.is_none()) {
            Some(path) => scratch::keep_link(self.building.tx(), id, &path).await,
            None => Ok(()),
        }
    }

    async fn take_end(&mut self, folder: &Folder, end: FolderEnd) -> Result<()> {
        for (path, sha256) in &end.day_files {
            catalog::record_day_file(self.building.tx(), path, sha256).await?;
        }
        let certificates = end.certificates.into_iter().map(|found| (found.sha256, found));
        self.certificates.extend(certificates);
        for listed in &end.listed {
            scratch::keep_listed(self.building.tx(), listed).await?;
        }
        if end.is_in_step {
            self.in_step.insert(folder.as_str().to_owned());
        }
        self.building.wrote().await
    }
}

/// Keeps the latest value; of two of the same time the one that came later.
fn latest<T>(known: &mut Option<(Timestamp, T)>, at: Timestamp, value: impl FnOnce() -> T) {
    if known.as_ref().is_none_or(|(before, _)| *before <= at) {
        *known = Some((at, value()));
    }
}
