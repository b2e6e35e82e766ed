//! What is to be exported: the operator's choice, and its calls, recordings and files as the database knew them at one
//! moment.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::civil::Date;
use sqlx::Connection as _;

use crate::base::recording::{Text, printable};
use crate::formats::cdr::{CdrRow, parties};
use crate::store::export::{self as rows, CallRow, CertificateRow, FileRow, RecordingRow};
use crate::store::queue::DayRange;
use crate::store::sql::Conn;

#[derive(Debug, Default)]
pub struct Selection {
    pub(super) calls: Vec<CallRow>,
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
    /// Reads the selection of `choice` among `pbxs`, all of one moment, whatever is written meanwhile. Each recording brings
    /// all calls that name it, also those of other days and other people.
    pub async fn read(db: &mut Conn, choice: &Choice, pbxs: &[String]) -> Result<Self> {
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

    pub(super) fn files(&self) -> impl Iterator<Item = &FileRow> {
        self.recordings.iter().flat_map(|recording| &recording.files)
    }

    pub(super) fn entries(&self) -> BTreeSet<u64> {
        self.files().map(|file| file.ledger_number).collect()
    }

    pub(super) fn audio_bytes(&self) -> u64 {
        self.files().map(|file| file.size_bytes).sum()
    }
}

#[derive(Default)]
struct Chosen {
    calls: BTreeMap<i64, CallRow>,
    recordings: BTreeMap<i64, RecordingRow>,
}

impl Chosen {
    async fn read_pbx(&mut self, db: &mut Conn, pbx: &str, choice: &Choice) -> Result<()> {
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

    async fn read_listed(&mut self, db: &mut Conn, pbx: &str, list: &mut Wanted) -> Result<()> {
        for recording in rows::recordings(db, pbx, DayRange::ALL).await? {
            // Whoever names the second file of a recording means the recording.
            let first = recording.path.strip_suffix(".wav").unwrap_or(&recording.path).to_lowercase();
            if list.names(&recording.name, &first) {
                self.recordings.insert(recording.id, recording);
            }
        }
        Ok(())
    }

    fn add_calls(&mut self, calls: impl IntoIterator<Item = CallRow>) {
        self.calls.extend(calls.into_iter().map(|call| (call.id, call)));
    }

    async fn complete(mut self, db: &mut Conn, unknown: Vec<String>) -> Result<Selection> {
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
        // Of several calls of a recording the first one stays, for it comes last.
        let named = calls.iter().enumerate().rev().filter_map(|(at, call)| Some((call.recording_id?, at)));
        let first_calls: HashMap<i64, usize> = named.collect();
        let mut recordings = Vec::new();
        for row in self.recordings.into_values() {
            let (files, call) = (rows::files(db, row.id).await?, first_calls.get(&row.id).copied());
            recordings.push(Recording { row, files, call });
        }
        recordings.sort_by(|one, other| one.row.path.cmp(&other.row.path));
        Ok(Selection { calls, recordings, unknown, certificates: Vec::new() })
    }
}

fn key(call: &CallRow) -> (&str, &str, Option<Timestamp>, i64) {
    (&call.pbx, &call.day, call.started_at, call.id)
}

fn is_taken(choice: &Choice, call: &CallRow) -> bool {
    !choice.is_of_people()
        || CdrRow::from_raw_json(call.row.text.get()).is_some_and(|row| choice.takes_call(&row))
}

#[derive(Default)]
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
        let mut wanted = Self { lines: lines.to_vec(), ..Self::default() };
        for (at, line) in lines.iter().enumerate() {
            wanted.by_name.entry(line.clone()).or_default().push(at);
            if let Some(stem) = std::str::from_utf8(line).ok().and_then(stem_of_recording) {
                wanted.by_path.entry(stem).or_default().push(at);
            }
        }
        wanted
    }

    /// Whether a line names a recording, by its name or by its path without the extension.
    fn names(&mut self, name: &[u8], stem: &str) -> bool {
        let (by_name, by_path) = (self.by_name.get(name), self.by_path.get(stem));
        self.found.extend([by_name, by_path].into_iter().flatten().flatten());
        by_name.is_some() || by_path.is_some()
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

#[derive(Debug, Clone, Default)]
pub struct Request {
    pub choice: Choice,
    /// The folder, which must be absent or empty. With `zip`, `.zip` is appended to its name.
    pub out: PathBuf,
    /// One file instead of a folder.
    pub zip: bool,
}

impl Request {
    pub(super) fn place(&self) -> PathBuf {
        match self.zip {
            true => self.out.with_file_name(format!("{}.zip", self.name())),
            false => self.out.clone(),
        }
    }

    /// The name of the folder, also within a ZIP.
    pub(super) fn name(&self) -> String {
        let name = self.out.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name.strip_suffix(".zip").filter(|_| self.zip) {
            Some(stem) => stem.to_owned(),
            None => name,
        }
    }
}

/// Which calls and recordings. All conditions must hold; of several values of one condition, one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    pub pbx: Vec<String>,
    /// By the PBX's calendar, both ends included.
    pub from: Option<Date>,
    pub to: Option<Date>,
    /// On either side.
    pub extension: Vec<String>,
    /// On either side, or dialled from outside.
    pub number: Vec<String>,
    /// Exactly these recordings, by name or by path.
    pub list: Option<Vec<Vec<u8>>>,
    pub voicemail: bool,
}

impl Choice {
    pub(super) fn days(&self) -> DayRange {
        let all = DayRange::ALL;
        DayRange { from: self.from.unwrap_or(all.from), to: self.to.unwrap_or(all.to) }
    }

    /// Whether it depends on who talked, so that days alone do not decide.
    pub(super) fn is_of_people(&self) -> bool {
        !self.extension.is_empty() || !self.number.is_empty()
    }

    /// Whether it takes whole days of a PBX, so that the certificates of these days apply.
    pub(super) fn is_of_whole_days(&self) -> bool {
        self.list.is_none() && !self.is_of_people()
    }

    /// Whether it takes all PBXs. Recipients of less need not learn which other PBXs there are, and how many calls they have.
    pub(super) fn is_of_everybody(&self) -> bool {
        self.is_of_whole_days() && self.pbx.is_empty()
    }

    /// Whether it takes a call, as far as the parties decide.
    pub(super) fn takes_call(&self, row: &CdrRow) -> bool {
        let text = |field: &Text| field.as_str().unwrap_or_default().to_owned();
        self.takes(&text(&row.callfrom), &text(&row.callto), &text(&row.didnumber))
    }

    /// The box of a message is the party that the call was for.
    pub(super) fn takes_message(&self, caller: &str, extension: &str) -> bool {
        self.takes(caller, extension, "")
    }

    fn takes(&self, callfrom: &str, callto: &str, did: &str) -> bool {
        let sides: Vec<&str> = [callfrom, callto].into_iter().flat_map(parties).collect();
        let has_extension = |wanted: &String| sides.contains(&wanted.trim());
        let has_number = |wanted: &String| {
            let whole = [callfrom, callto, did];
            // `+49 (30) 555-0142` is one formatted number; `6200(1003)` and `Reception <1001>` are two things.
            let is_dressed = |side: &&str| !side.contains('<') && side.contains(['+', ' ', '-']);
            let parts = whole.into_iter().filter(|side| !is_dressed(side)).flat_map(parties);
            whole.into_iter().chain(parts).any(|party| is_same_number(wanted, party))
        };
        (self.extension.is_empty() || self.extension.iter().any(has_extension))
            && (self.number.is_empty() || self.number.iter().any(has_number))
    }

    /// For the bag and its readers.
    pub(super) fn in_words(&self) -> String {
        let is_all = Self { voicemail: false, ..self.clone() } == Self::default();
        let all = if is_all { "all " } else { "" };
        let mut words = vec![match (&self.list, self.voicemail) {
            (Some(list), _) => format!("what {} lines of a list name", list.len()),
            (None, true) => format!("{all}calls and voicemail"),
            (None, false) => format!("{all}calls"),
        }];
        if !self.pbx.is_empty() {
            words.push(format!("of {}", self.pbx.join(", ")));
        }
        words.extend(self.from.map(|from| format!("from {from}")));
        words.extend(self.to.map(|to| format!("to {to}")));
        for (what, values) in [("extension", &self.extension), ("number", &self.number)] {
            if !values.is_empty() {
                words.push(format!("with {what} {}", values.join(" or ")));
            }
        }
        printable(words.join(" ").as_bytes())
    }
}

/// Numbers are written in many ways, so their digits decide.
fn is_same_number(one: &str, other: &str) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let has_letters = |text: &str| text.chars().any(char::is_alphabetic);
    let wanted = digits(one);
    !wanted.is_empty() && !has_letters(other) && wanted == digits(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_recording_by_name_or_by_the_path_of_any_of_its_files() {
        let lines = ["a b.wav", "hq/2026/01/09/X.wav", "hq/2026/01/09/y~conflict-00.wav", "z.wav", "a b.wav"];
        let mut wanted = Wanted::new(&lines.map(|line| line.as_bytes().to_vec()));
        assert!(wanted.names(b"a b.wav", "hq/2026/01/09/w"));
        assert!(wanted.names(b"w", "hq/2026/01/09/x"));
        assert!(wanted.names(b"w", "hq/2026/01/09/y"));
        assert!(!wanted.names(b"X.wav", "hq/2026/01/09/z"));
        assert_eq!(wanted.unfound(), ["z.wav"]);
    }

    fn list(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn a_choice_takes_a_call_if_all_that_it_says_holds() {
        let row = CdrRow {
            callfrom: Text::Utf8("+49 (30) 555-0142".to_owned()),
            callto: Text::Utf8("6200(1003)".to_owned()),
            didnumber: Text::Utf8("5550100".to_owned()),
            ..CdrRow::default()
        };
        let cases = [
            (&[][..], &[][..], true),
            (&["1003"], &[], true),
            (&["6200"], &[], true),
            (&["1004", "1003"], &[], true),
            (&["100"], &[], false),
            (&["6200(1003)"], &[], false),
            (&[], &["49305550142"], true),
            (&[], &["+49 30 5550142"], true),
            (&[], &["5550142"], false),
            (&[], &["5550100"], true),
            (&[], &[""], false),
            (&["1003"], &["5550100"], true),
            (&["1004"], &["5550100"], false),
        ];
        for (extension, number, taken) in cases {
            let choice = Choice { extension: list(extension), number: list(number), ..Choice::default() };
            assert_eq!(choice.takes_call(&row), taken, "{choice:?}");
        }
    }

    #[test]
    fn a_message_is_taken_by_its_box_and_its_caller() {
        let choice = |extension: &[&str], number: &[&str]| Choice {
            extension: list(extension),
            number: list(number),
            ..Choice::default()
        };
        assert!(choice(&["1003"], &[]).takes_message("5550142", "1003"));
        assert!(choice(&[], &["555 0142"]).takes_message("5550142", "1003"));
        assert!(!choice(&["1004"], &[]).takes_message("5550142", "1003"));
    }

    #[test]
    fn a_choice_says_itself_in_words() {
        let choice = Choice {
            pbx: list(&["hq"]),
            from: Some("2026-01-02".parse().unwrap()),
            to: Some("2026-01-03".parse().unwrap()),
            number: list(&["1", "2\n3"]),
            voicemail: true,
            ..Choice::default()
        };
        assert_eq!(
            choice.in_words(),
            "calls and voicemail of hq from 2026-01-02 to 2026-01-03 with number 1 or 2\\u{a}3"
        );
        assert_eq!(Choice { voicemail: true, ..Choice::default() }.in_words(), "all calls and voicemail");
    }
}
