//! The folders of a PBX on their way into the database.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Context as _;
use jiff::Timestamp;

use super::Rebuild;
use super::documents::{FoundFile, Line, ListedCall};
use super::folder::{FolderEnd, FoundList, Piece, Readers, UnderWay};
use crate::archive::Destination;
use crate::archive::survey;
use crate::base::message::Message;
use crate::base::recording::{RecordingKind, RecordingName, printable};
use crate::base::times::{self, OffsetSource};
use crate::formats::call_lines::RecordingLine;
use crate::store::calls::{self, NewCall};
use crate::store::catalog;
use crate::store::db;
use crate::store::ledger::ListFacts;
use crate::store::queue::{self, RecordingState, Restored};
use crate::store::scratch::{self, FileFound};
use crate::store::voicemail::{self, KeptMessage};

type Rows = HashMap<String, i64>;

impl Rebuild<'_> {
    /// Takes in all folders of `pbx`: recordings, calls, messages and day files.
    pub(super) async fn walk(&mut self, pbx: &str) -> anyhow::Result<()> {
        let folders = survey::folders(&*self.archive, pbx);
        for (path, error) in folders.unreadable {
            self.damaged(pbx, path, error.to_string());
        }
        let mut readers = Readers::new(self.archive.clone(), folders.found);
        while let Some(folder) = readers.next() {
            self.take_folder(folder).await?;
        }
        Ok(())
    }

    async fn take_folder(&mut self, mut under_way: UnderWay) -> anyhow::Result<()> {
        let mut rows = Rows::new();
        while let Some(piece) = under_way.next().await? {
            match piece {
                Piece::Files(files) => self.take_files(files, &mut rows).await?,
                Piece::List(list) => self.take_list(&under_way, list, &mut rows).await?,
                Piece::End(end) => self.take_end(&under_way, end).await?,
                Piece::Damage(damage) => self.report.note(damage),
            }
        }
        Ok(())
    }

    async fn take_files(&mut self, files: Vec<FoundFile>, rows: &mut Rows) -> anyhow::Result<()> {
        self.progress.files.fetch_add(files.len() as u64, Relaxed);
        for file in files {
            if db::unless_refused(self.take_file(&file, rows).await)?.is_none() {
                let path = printable(file.sidecar.file.path.as_bytes());
                let problem = "its sidecar names the recording of another file: compare the two";
                self.damaged(&file.sidecar.pbx.id, path, problem);
            }
        }
        Ok(())
    }

    async fn take_file(&mut self, file: &FoundFile, rows: &mut Rows) -> anyhow::Result<()> {
        let sidecar = &file.sidecar;
        let restored = Restored {
            pbx: &sidecar.pbx.id,
            kind: sidecar.recording.kind,
            sn: &sidecar.pbx.sn,
            name: &file.name,
            day: file.day,
            started_at: sidecar.times.started_at,
            path: &file.recording_path,
            salt: &sidecar.salt,
            state: RecordingState::Archived,
            reason: None,
            is_final: false,
            attempts: sidecar.attempts,
        };
        let tx = self.building.tx();
        let id = queue::restore(tx, &restored).await?.context("what is archived always has a row")?;
        let found = FileFound {
            recording_id: id,
            sidecar,
            sidecar_sha256: file.sidecar_sha256,
            day: file.day,
            commitment: file.commitment,
            is_displaced: file.is_displaced,
        };
        scratch::keep_file(tx, &found).await?;
        rows.insert(file.recording_path.clone(), id);
        if let Some((message, ordinal)) = &file.message {
            let kept = KeptMessage {
                message: message.clone(),
                ordinal: *ordinal,
                utc_offset_s: sidecar.times.utc_offset_s,
                offset_source: sidecar.times.offset_source.clone(),
                zone_offset_s: sidecar.times.zone_offset_s,
                status: sidecar.voicemail.as_ref().and_then(|voicemail| voicemail.status.clone()),
            };
            self.keep_message(id, &sidecar.pbx.id, &kept, sidecar.archived_at).await?;
        }
        for call in &file.unlisted {
            let call = NewCall { recording_id: Some(id), ..call.clone() };
            calls::restore_unlisted(self.building.tx(), &sidecar.pbx.id, &call, sidecar.archived_at).await?;
        }
        self.learn_from_file(file);
        self.building.wrote().await
    }

    /// The first file or line about a message counts.
    async fn keep_message(
        &mut self,
        id: i64,
        pbx: &str,
        kept: &KeptMessage,
        seen_at: Timestamp,
    ) -> anyhow::Result<()> {
        db::unless_refused(voicemail::keep(self.building.tx(), id, pbx, kept, seen_at).await).map(drop)
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

    async fn take_list(&mut self, folder: &UnderWay, list: FoundList, rows: &mut Rows) -> anyhow::Result<()> {
        let Some(day) = folder.folder.date() else { return Ok(()) };
        let pbx = folder.folder.pbx().to_owned();
        self.progress.lines.fetch_add(list.lines.len() as u64, Relaxed);
        let found = self.days.entry((pbx.clone(), day)).or_default();
        found.calls_files = found.calls_files.max(list.number);
        if let Some((sha256, lines)) = list.salted {
            let found = ListFacts { pbx: &pbx, day, number: list.number, sha256, lines };
            scratch::keep_list(self.building.tx(), &found).await?;
        }
        for line in list.lines {
            match line {
                Line::Recording(name, line) => self.take_recording(&pbx, &name, *line, rows).await?,
                Line::Call(listed) => self.take_call(&pbx, *listed, rows).await?,
                Line::Nothing => {}
            }
            self.building.wrote().await?;
        }
        Ok(())
    }

    async fn take_recording(
        &mut self,
        pbx: &str,
        name: &RecordingName,
        line: RecordingLine,
        rows: &mut Rows,
    ) -> anyhow::Result<()> {
        let place = Destination::parse(&line.path).ok().filter(|place| place.folder().pbx() == pbx);
        let Some(day) = place.and_then(|place| place.folder().date()) else {
            let path = printable(line.path.as_bytes());
            self.damaged(pbx, path, "a call list names it, and it is not a path of this PBX");
            return Ok(());
        };
        let restored = Restored {
            pbx,
            kind: line.kind,
            sn: &line.sn,
            name,
            day,
            started_at: line.started_at,
            path: &line.path,
            salt: &line.salt,
            state: line.state,
            reason: line.reason.as_deref(),
            is_final: line.r#final,
            attempts: line.attempts,
        };
        let Some(id) = db::unless_refused(queue::restore(self.building.tx(), &restored).await)? else {
            self.damaged(pbx, line.path, "a call list names it under the name of another recording");
            return Ok(());
        };
        let Some(id) = id else { return Ok(()) };
        if line.kind == RecordingKind::Voicemail
            && let Some((message, ordinal)) = Message::from_name(name)
        {
            let kept = self.message_of_line(pbx, message, ordinal, line.started_at);
            self.keep_message(id, pbx, &kept, line.started_at).await?;
        }
        rows.insert(line.path, id);
        Ok(())
    }

    /// What a list does not tell of a message follows from its date: the distance of that from its start.
    fn message_of_line(
        &self,
        pbx: &str,
        message: Message,
        ordinal: u32,
        started_at: Timestamp,
    ) -> KeptMessage {
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
        KeptMessage { message, ordinal, utc_offset_s, offset_source, zone_offset_s, status: None }
    }

    async fn take_call(&mut self, pbx: &str, listed: ListedCall, rows: &Rows) -> anyhow::Result<()> {
        let ListedCall { mut call, first_seen_at, recording, sn } = listed;
        call.recording_id = match &recording {
            Some(path) => match rows.get(path) {
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

    async fn take_end(&mut self, folder: &UnderWay, end: FolderEnd) -> anyhow::Result<()> {
        for (path, sha256) in &end.day_files {
            catalog::record_day_file(self.building.tx(), path, sha256).await?;
        }
        let certificates = end.certificates.into_iter().map(|found| (found.sha256, found));
        self.certificates.extend(certificates);
        for listed in &end.listed {
            scratch::keep_listed(self.building.tx(), listed).await?;
        }
        if end.is_in_step {
            self.in_step.insert(folder.folder.as_str().to_owned());
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
