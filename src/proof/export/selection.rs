//! The calls, recordings and files of a choice, as the database knew them at one moment.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Context as _;
use sqlx::{Connection as _, SqliteConnection};

use super::choice::Choice;
use crate::base::recording::printable;
use crate::formats::cdr::CdrRow;
use crate::store::export::{self as rows, CallRow, CertificateRow, FileRow, RecordingRow};

#[derive(Debug, Default)]
pub struct Selection {
    /// By PBX, day and start.
    pub(super) calls: Vec<CallRow>,
    /// By PBX and path.
    pub(super) recordings: Vec<Recording>,
    /// Lines of the operator's list that match nothing.
    pub(super) unknown: Vec<String>,
    /// Of the days, if whole days were chosen.
    pub(super) certificates: Vec<CertificateRow>,
}

/// A recording, its archived files, and the first call that names it.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) row: RecordingRow,
    /// Several if the PBX gave one name to several.
    pub(super) files: Vec<FileRow>,
    /// Its place in [`Selection::calls`].
    pub(super) call: Option<usize>,
}

impl Selection {
    /// Reads the selection of `choice` among `pbxs`, all of one moment, whatever is written meanwhile.
    ///
    /// Each selected recording brings all calls that name it, also those of other days and other people.
    pub async fn read(db: &mut SqliteConnection, choice: &Choice, pbxs: &[String]) -> anyhow::Result<Self> {
        let mut moment = db.begin().await.context("reading the database")?;
        let mut chosen = Chosen::default();
        let mut list = choice.list.as_deref().map(Wanted::new);
        for pbx in pbxs {
            match &mut list {
                Some(list) => chosen.read_listed(&mut moment, pbx, list).await?,
                None => chosen.read_pbx(&mut moment, pbx, choice).await?,
            }
        }
        let unknown = list.map(Wanted::unfound).unwrap_or_default();
        let mut selection = chosen.complete(&mut moment, unknown).await?;
        if choice.is_of_whole_days() {
            for pbx in pbxs {
                selection.certificates.extend(rows::certificates(&mut moment, pbx, choice.days()).await?);
            }
        }
        moment.rollback().await.context("reading the database")?;
        Ok(selection)
    }

    pub(super) fn days(&self) -> Option<(&str, &str)> {
        let of_calls = self.calls.iter().map(|call| &*call.day);
        let days = || of_calls.clone().chain(self.recordings.iter().map(|recording| &*recording.row.day));
        Some((days().min()?, days().max()?))
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.recordings.is_empty()
    }

    /// The numbers of the ledger entries of its files.
    pub(super) fn entries(&self) -> BTreeSet<u64> {
        let files = self.recordings.iter().flat_map(|recording| &recording.files);
        files.map(super::originals::entry_number).collect()
    }

    pub(super) fn audio_bytes(&self) -> u64 {
        let files = self.recordings.iter().flat_map(|recording| &recording.files);
        files.map(|file| u64::try_from(file.size_bytes).unwrap_or(0)).sum()
    }
}

#[derive(Default)]
struct Chosen {
    calls: BTreeMap<i64, CallRow>,
    recordings: BTreeMap<i64, RecordingRow>,
}

impl Chosen {
    async fn read_pbx(
        &mut self,
        db: &mut SqliteConnection,
        pbx: &str,
        choice: &Choice,
    ) -> anyhow::Result<()> {
        let calls = rows::calls(db, pbx, choice.days()).await?;
        self.add_calls(calls.into_iter().filter(|call| is_taken(choice, call)));
        for recording in rows::recordings(db, pbx, choice.days()).await? {
            let is_taken = match recording.kind.as_str() {
                // The calls that name it say who talked.
                "call" => !choice.is_of_people(),
                _ => {
                    let [caller, extension] =
                        [&recording.caller, &recording.extension].map(|text| text.as_deref().unwrap_or(""));
                    choice.voicemail && choice.takes_message(caller, extension)
                }
            };
            if is_taken {
                self.recordings.insert(recording.id, recording);
            }
        }
        Ok(())
    }

    async fn read_listed(
        &mut self,
        db: &mut SqliteConnection,
        pbx: &str,
        list: &mut Wanted,
    ) -> anyhow::Result<()> {
        for recording in rows::recordings(db, pbx, crate::store::queue::DayRange::ALL).await? {
            // Whoever names the second file of a recording means the recording.
            let first = recording.path.strip_suffix(".wav").unwrap_or(&recording.path).to_lowercase();
            if list.names(&recording.name) | list.names_path(&first) {
                self.recordings.insert(recording.id, recording);
            }
        }
        Ok(())
    }

    fn add_calls(&mut self, calls: impl IntoIterator<Item = CallRow>) {
        self.calls.extend(calls.into_iter().map(|call| (call.id, call)));
    }

    /// Adds what belongs to the selection, and sorts everything.
    async fn complete(
        mut self,
        db: &mut SqliteConnection,
        unknown: Vec<String>,
    ) -> anyhow::Result<Selection> {
        let named: BTreeSet<i64> = self.calls.values().filter_map(|call| call.recording_id).collect();
        for id in named {
            if let Entry::Vacant(place) = self.recordings.entry(id) {
                place.insert(rows::recording(db, id).await?);
            }
        }
        let ids: Vec<i64> = self.recordings.keys().copied().collect();
        for id in ids {
            self.add_calls(rows::calls_of_recording(db, id).await?);
        }
        let mut calls: Vec<CallRow> = self.calls.into_values().collect();
        calls.sort_by(|one, other| key(one).cmp(&key(other)));
        let mut first_calls = HashMap::new();
        for (at, call) in calls.iter().enumerate() {
            if let Some(recording) = call.recording_id {
                first_calls.entry(recording).or_insert(at);
            }
        }
        let mut recordings = Vec::new();
        for row in self.recordings.into_values() {
            let (files, call) = (rows::files(db, row.id).await?, first_calls.get(&row.id).copied());
            recordings.push(Recording { row, files, call });
        }
        recordings.sort_by(|one, other| one.row.path.cmp(&other.row.path));
        Ok(Selection { calls, recordings, unknown, certificates: Vec::new() })
    }
}

fn key(call: &CallRow) -> (&str, &str, Option<i64>, i64) {
    (&call.pbx, &call.day, call.started_at_ms, call.id)
}

fn is_taken(choice: &Choice, call: &CallRow) -> bool {
    !choice.is_of_people() || CdrRow::from_raw_json(&call.row).is_some_and(|row| choice.takes_call(&row))
}

struct Wanted {
    lines: Vec<Vec<u8>>,
    /// Places in `lines`: a name may be listed twice.
    by_name: HashMap<Vec<u8>, Vec<usize>>,
    /// By the path of the recording, without its extension, in lower case.
    by_path: HashMap<String, Vec<usize>>,
    found: BTreeSet<usize>,
}

impl Wanted {
    fn new(lines: &[Vec<u8>]) -> Self {
        let mut wanted = Self {
            lines: lines.to_vec(),
            by_name: HashMap::new(),
            by_path: HashMap::new(),
            found: BTreeSet::new(),
        };
        for (at, line) in lines.iter().enumerate() {
            wanted.by_name.entry(line.clone()).or_default().push(at);
            if let Some(stem) = std::str::from_utf8(line).ok().and_then(stem_of_recording) {
                wanted.by_path.entry(stem).or_default().push(at);
            }
        }
        wanted
    }

    fn names(&mut self, name: &[u8]) -> bool {
        let found = self.by_name.get(name);
        self.found.extend(found.into_iter().flatten());
        found.is_some()
    }

    fn names_path(&mut self, stem: &str) -> bool {
        let found = self.by_path.get(stem);
        self.found.extend(found.into_iter().flatten());
        found.is_some()
    }

    fn unfound(self) -> Vec<String> {
        let unfound = self.lines.iter().enumerate().filter(|(at, _)| !self.found.contains(at));
        unfound.map(|(_, line)| printable(line)).collect()
    }
}

/// What the paths of all files of one recording have in common.
fn stem_of_recording(path: &str) -> Option<String> {
    // In a bag too, where a comma stands for a percent sign.
    let path = path.strip_prefix("data/").map_or_else(|| path.to_owned(), |path| path.replace(',', "%"));
    let stem = path.strip_suffix(".json").unwrap_or(&path).strip_suffix(".wav")?;
    let stem = stem.split_once("~conflict-").map_or(stem, |(stem, _)| stem);
    Some(stem.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_recording_by_name_or_by_the_path_of_any_of_its_files() {
        let lines = ["a b.wav", "hq/2026/01/09/X.wav", "hq/2026/01/09/y~conflict-00.wav", "z.wav", "a b.wav"];
        let mut wanted = Wanted::new(&lines.map(|line| line.as_bytes().to_vec()));
        assert!(wanted.names(b"a b.wav"));
        assert!(wanted.names_path("hq/2026/01/09/x"));
        assert!(wanted.names_path("hq/2026/01/09/y"));
        assert!(!wanted.names(b"X.wav") && !wanted.names_path("hq/2026/01/09/z"));
        assert_eq!(wanted.unfound(), ["z.wav"]);
    }
}
