//! Entries of the ledger whose file is gone, or whose sidecar is another one now: what was archived is not forgotten.

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::civil::Date;

use super::replay::entry_name;
use super::{Damage, Rebuild};
use crate::archive::{Destination, Folder};
use crate::base::recording::{RecordingKind, RecordingName};
use crate::base::safe_name::plain_name;
use crate::base::salt::Salt;
use crate::formats::cdr::CdrRow;
use crate::store::queue::{self, RecordingState, Restored};
use crate::store::scratch::{self, OpenEntry};

impl Rebuild<'_> {
    /// Gives every entry its file, under its last known name.
    pub(super) async fn settle_entries_without_a_file(&mut self) -> anyhow::Result<()> {
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

    async fn settle_entry(&mut self, entry: &OpenEntry) -> anyhow::Result<()> {
        let listed = scratch::listed_path(self.building.tx(), entry).await?;
        if let Some((id, path)) = scratch::altered_file(self.building.tx(), entry, listed.as_deref()).await? {
            let problem =
                format!("it is not the sidecar of {}: restore it from a backup", entry_name(entry.number));
            self.damaged(Damage::of(&entry.pbx, format!("{path}.json"), problem));
            return scratch::take_file(self.building.tx(), id, entry).await;
        }
        if let Some((id, _)) = scratch::absence(self.building.tx(), entry.recording).await? {
            let path = queue::restore_archived(self.building.tx(), id).await?;
            return self.keep_gone(entry, &path, id).await;
        }
        let path = match listed {
            Some(path) => path,
            None => nameless_path(entry)?,
        };
        let id = self.recording_at(entry, &path).await?;
        self.keep_gone(entry, &path, id).await
    }

    async fn keep_gone(&mut self, entry: &OpenEntry, path: &str, recording_id: i64) -> anyhow::Result<()> {
        let problem = format!(
            "{} names it, but the file or its sidecar is missing: restore both from a backup",
            entry_name(entry.number)
        );
        self.damaged(Damage::of(&entry.pbx, path, problem));
        scratch::keep_gone(self.building.tx(), entry, path, recording_id).await
    }

    /// The recording whose audio was at `path`; it is made if nothing else names it.
    async fn recording_at(&mut self, entry: &OpenEntry, path: &str) -> anyhow::Result<i64> {
        let of = main_path(path);
        if let Some(id) = queue::id_of_path(self.building.tx(), &of).await? {
            queue::restore_archived(self.building.tx(), id).await?;
            return Ok(id);
        }
        let named = scratch::call_naming(self.building.tx(), &of).await?;
        let row = named.as_ref().and_then(|call| CdrRow::from_raw_json(&call.row));
        let (name, sn) = match row {
            Some(CdrRow { recording: Some(name), sn, .. }) => (name, sn.as_str().map(str::to_owned)),
            _ => (name_of_file(&of), None),
        };
        let sn = sn.filter(|sn| !sn.is_empty()).or_else(|| self.serial_number(&entry.pbx).map(str::to_owned));
        let day: Date = entry.day.parse()?;
        let begun = named.and_then(|call| Timestamp::from_millisecond(call.started_at_ms?).ok());
        let kind = if of.contains("/voicemail/") { RecordingKind::Voicemail } else { RecordingKind::Call };
        let restored = Restored {
            pbx: &entry.pbx,
            kind,
            sn: sn.as_deref().unwrap_or_default(),
            name: &name,
            day,
            started_at: begun.unwrap_or(midnight(day)),
            path: &of,
            // The salt of its sidecar is lost, and with it what the entry names.
            salt: &Salt::random(),
            state: RecordingState::Archived,
            reason: None,
            is_final: false,
            attempts: 0,
        };
        queue::restore(self.building.tx(), &restored).await?.context("what is archived always has a row")
    }

    /// Reports the absences whose recording is unknown.
    pub(super) fn note_open_gaps(&mut self) {
        let gaps: Vec<Damage> = self
            .gaps
            .values()
            .map(|gap| {
                let problem = format!(
                    "it is about a recording of {} that was missing for good, and no call list names that recording: \
                     a sweep may find it again",
                    gap.day
                );
                Damage::of(&gap.pbx, entry_name(gap.number), problem)
            })
            .collect();
        gaps.into_iter().for_each(|damage| self.damaged(damage));
    }
}

/// A path for a file that only the ledger knows: a name that no recording can have.
fn nameless_path(entry: &OpenEntry) -> anyhow::Result<String> {
    let folder = Folder::day(&entry.pbx, entry.day.parse()?)?;
    let name = format!("entry-{}~{}.wav", entry.number, entry.sha256.short());
    Ok(Destination::new(folder, &name)?.path())
}

/// The path of the recording whose other audio is at `path`.
fn main_path(path: &str) -> String {
    match path.rsplit_once("~conflict-") {
        Some((stem, hash)) if hash.len() == 16 + ".wav".len() => format!("{stem}.wav"),
        _ => path.to_owned(),
    }
}

/// The PBX's name of a recording, as far as its file name shows it.
fn name_of_file(path: &str) -> RecordingName {
    let file = path.rsplit('/').next().unwrap_or(path);
    plain_name(file).or_else(|| RecordingName::new(file)).expect("a path names a file")
}

fn midnight(day: Date) -> Timestamp {
    jiff::tz::Offset::UTC.to_timestamp(day.at(0, 0, 0, 0)).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_audio_belongs_to_the_recording_beside_it() {
        assert_eq!(main_path("hq/a~conflict-0123456789abcdef.wav"), "hq/a.wav");
        assert_eq!(main_path("hq/a~conflict-0123.wav"), "hq/a~conflict-0123.wav");
    }
}
