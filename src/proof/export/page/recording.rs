//! A recording in a cell: each of its files to listen to, or why it is not here.

use std::collections::BTreeMap;

use askama::Template;
use jiff::Timestamp;
use jiff::tz::Offset;

use super::state_in_words;
use crate::base::remedy;
use crate::formats::audio::Suspicion;
use crate::proof::export::lists::{Absence, damaged};
use crate::proof::export::originals::{bag_path, name_of, proof_path};
use crate::proof::export::selection::{Recording, Selection};
use crate::proof::html;
use crate::store::export::FileRow;

pub(super) struct Recordings<'a> {
    by_id: BTreeMap<i64, &'a Recording>,
    damaged: BTreeMap<&'a str, &'a Absence>,
}

#[derive(Template)]
#[template(path = "export_recording.html")]
pub(super) struct Cell<'a> {
    recordings: &'a Recordings<'a>,
    recording: &'a Recording,
}

impl Cell<'_> {
    fn damage_of_sidecar(&self, file: &FileRow) -> Option<&Absence> {
        self.recordings.damage_of(&format!("{}.json", file.path))
    }
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) here: usize,
    /// With an audio file that is damaged or gone.
    pub(super) damaged: usize,
    pub(super) excluded: usize,
    pub(super) unarchived: usize,
}

impl Tally {
    pub(super) fn sum(&self) -> usize {
        self.here + self.absent()
    }

    pub(super) fn absent(&self) -> usize {
        self.damaged + self.excluded + self.unarchived
    }

    pub(super) fn parts(&self) -> [(usize, &'static str); 4] {
        [
            (self.here, "here"),
            (self.unarchived, "not archived"),
            (self.excluded, "kept out by a rule"),
            (self.damaged, "damaged or gone"),
        ]
    }
}

impl<'a> Recordings<'a> {
    pub(super) fn new(selection: &'a Selection, absent: &'a [Absence]) -> Self {
        let by_id = selection.recordings.iter().map(|recording| (recording.row.id, recording)).collect();
        Self { by_id, damaged: damaged(absent) }
    }

    pub(super) fn cell(&'a self, recording: &'a Recording) -> Cell<'a> {
        Cell { recordings: self, recording }
    }

    pub(super) fn cell_of(&'a self, id: Option<i64>) -> Option<Cell<'a>> {
        Some(self.cell(self.by_id.get(&id?)?))
    }

    pub(super) fn damage_of(&self, path: &str) -> Option<&'a Absence> {
        self.damaged.get(path).copied()
    }

    pub(super) fn tally<'r>(&self, recordings: impl IntoIterator<Item = &'r Recording>) -> Tally {
        let mut tally = Tally::default();
        for recording in recordings {
            let is_damaged = |file: &FileRow| self.damaged.contains_key(&*file.path);
            match () {
                () if recording.files.iter().any(is_damaged) => tally.damaged += 1,
                () if !recording.files.is_empty() => tally.here += 1,
                () if recording.row.state == "excluded" => tally.excluded += 1,
                () => tally.unarchived += 1,
            }
        }
        tally
    }
}

/// Whether browsers play audio of this format in a WAV file.
pub(super) fn is_played(format: &str) -> bool {
    matches!(format, "pcm" | "float" | "alaw" | "mulaw")
}

fn codec(format: &str) -> &'static str {
    match format {
        "gsm610" => "GSM 6.10",
        "adpcm" => "ADPCM",
        "g722" => "G.722",
        "g726" => "G.726",
        "mp3" => "MPEG audio",
        "aac" => "AAC",
        "amr" | "amr_wb" => "AMR",
        "flac" => "FLAC",
        "opus" => "Opus",
        "vorbis" => "Vorbis",
        "speex" => "Speex",
        _ => "An unknown codec",
    }
}

fn suspicions(words: &str) -> String {
    let words = words.split(',').filter(|word| !word.is_empty()).map(Suspicion::meaning_of);
    words.collect::<Vec<_>>().join("; ")
}

/// The time by the clock of the PBX, with its day if that is not `day`; and the offset from UTC. UTC if no offset is known.
pub(super) fn local_time(
    at: Option<Timestamp>,
    utc_offset_s: Option<i64>,
    day: &str,
) -> Option<(String, String)> {
    let offset = utc_offset_s.and_then(|seconds| Offset::from_seconds(i32::try_from(seconds).ok()?).ok());
    let local = offset.unwrap_or(Offset::UTC).to_datetime(at?);
    let format = if local.date().to_string() == day { "%T" } else { "%F %T" };
    let zone = offset.map_or("UTC".to_owned(), |offset| {
        let (sign, minutes) =
            (if offset.seconds() < 0 { '\u{2212}' } else { '+' }, offset.seconds().abs() / 60);
        format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    });
    Some((local.strftime(format).to_string(), zone))
}

fn length(file: &FileRow) -> String {
    duration(file.duration_ms.map(|ms| ms.saturating_add(500) / 1000))
}

/// Whole seconds as `m:ss` or `h:mm:ss`; nothing for none.
pub(super) fn duration(seconds: Option<i64>) -> String {
    let Some(seconds) = seconds.and_then(|seconds| u64::try_from(seconds).ok()) else { return String::new() };
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{rest:02}"),
        hours => format!("{hours}:{minutes:02}:{rest:02}"),
    }
}

/// Things of one group that are named; `data/not-exported.jsonl` names all.
const NAMED_MAX: usize = 200;
/// A longer group is folded.
const OPEN_MAX: usize = 10;

#[derive(Template)]
#[template(path = "export_absent.html")]
pub(super) struct Absent<'a> {
    pub(super) absent: &'a [Absence],
    /// Lines of the operator's list that match nothing.
    pub(super) unknown: &'a [String],
}

/// Recordings that are absent for one reason, with that reason in words.
type Group<'a> = (String, Vec<&'a Absence>);

impl<'a> Absent<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.absent.is_empty() && self.unknown.is_empty()
    }

    pub(super) fn has_damage(&self) -> bool {
        self.absent.iter().any(Absence::is_damage)
    }

    fn damaged(&self) -> Vec<&'a Absence> {
        self.absent.iter().filter(|absence| absence.is_damage()).collect()
    }

    fn unarchived(&self) -> [(&'static str, &'static str, Vec<Group<'a>>); 2] {
        let rest = || self.absent.iter().filter(|absence| !absence.is_damage());
        let owed = groups(rest().filter(|absence| !absence.is_excluded()));
        let excluded = groups(rest().filter(|absence| absence.is_excluded()));
        [("never archived", "fair", owed), ("kept out of the archive by a rule", "plain", excluded)]
    }
}

fn groups<'a>(absent: impl Iterator<Item = &'a Absence>) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<(&str, bool, &str), Vec<&Absence>> = BTreeMap::new();
    for absence in absent {
        let reason = absence.reason.as_deref().unwrap_or("waiting");
        groups.entry((&absence.state, absence.r#final, reason)).or_default().push(absence);
    }
    let in_words = |((state, is_final, reason), group)| (why(state, is_final, reason), group);
    groups.into_iter().map(in_words).collect()
}

fn sum(groups: &[Group<'_>]) -> usize {
    groups.iter().map(|(_, group)| group.len()).sum()
}

fn why(state: &str, is_final: bool, reason: &str) -> String {
    match (state, remedy::of(state, reason).meaning) {
        ("excluded", _) => format!("by the rule \u{201c}{reason}\u{201d}"),
        (_, meaning) if is_final => format!("{} for good: {meaning}", state_in_words(state)),
        (_, meaning) => format!("{}: {meaning}", state_in_words(state)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::export::page::tests::{absence, file, recording};

    fn cell(recording: Recording, absent: &[Absence]) -> String {
        let selection = Selection { recordings: vec![recording], ..Selection::default() };
        Recordings::new(&selection, absent).cell(&selection.recordings[0]).render().unwrap()
    }

    #[test]
    fn a_recording_is_there_to_listen_to_with_its_file_its_details_and_its_proof() {
        let cell = cell(recording(1, "a%20<b>.wav"), &[]);
        for words in [
            "<audio controls preload=\"none\" title=\"a &#60;b&#62;.wav\" src=\"data/hq/2026/01/09/a%2C20%3Cb%3E.wav\">",
            "1:01 \u{b7} <a href=\"data/hq/2026/01/09/a%2C20%3Cb%3E.wav\">WAV</a>",
            "<a href=\"data/hq/2026/01/09/a%2C20%3Cb%3E.wav.json\">details</a>",
            "<a href=\"proofs/7.tlog-proof\">proof 7</a>",
        ] {
            assert!(cell.contains(words), "{words}: {cell}");
        }
    }

    #[test]
    fn what_no_browser_plays_has_no_player() {
        for (format, words) in [("gsm610", "GSM 6.10"), ("adpcm", "ADPCM"), ("<x>", "An unknown codec")] {
            let mut recording = recording(1, "a.wav");
            recording.files[0].format = format.to_owned();
            recording.files[0].suspect = "short,unknown_codec".to_owned();
            let cell = cell(recording, &[]);
            assert!(
                cell.contains(&format!("{words}: no browser plays it")) && !cell.contains("<audio"),
                "{cell}"
            );
            assert!(
                cell.contains("Remark: clearly shorter than the talk time; in an unknown codec"),
                "{cell}"
            );
        }
        assert!(["pcm", "float", "alaw", "mulaw"].into_iter().all(is_played));
    }

    #[test]
    fn two_files_of_one_name_are_both_there() {
        let mut recording = recording(1, "a.wav");
        recording.files.push(file("a~conflict-00.wav"));
        let cell = cell(recording, &[]);
        assert_eq!(cell.matches("<audio").count(), 2);
        assert!(
            cell.contains("File 2 of 2 to which the PBX gave one name")
                && cell.contains("a~conflict-00.wav\">WAV")
        );
    }

    #[test]
    fn what_is_damaged_is_no_recording_to_listen_to() {
        let damage =
            absence("damaged", "it has other bytes than were archived", Some("data/_damaged/a,.wav"));
        let told = cell(recording(1, "a.wav"), &[damage]);
        assert!(!told.contains("<audio") && !told.contains(">WAV<"), "{told}");
        assert!(
            told.contains("damaged: it has other bytes") && told.contains("href=\"data/_damaged/a%2C.wav\"")
        );
        assert!(told.contains("a.wav.json\">details"), "{told}");

        let mut gone = absence("gone", "it was archived and is gone", None);
        gone.path.push_str(".json");
        let told = cell(recording(1, "a.wav"), &[gone]);
        assert!(
            told.contains("<audio") && told.contains("details: not here: it was archived and is gone"),
            "{told}"
        );
        assert!(!told.contains("a.wav.json\""), "{told}");
    }

    #[test]
    fn what_was_never_archived_has_its_reason() {
        for (state, reason, is_final, words) in [
            ("missing", Some("missing"), true, "Not here: missing on the PBX for good"),
            ("pending", None, false, "Not here: still to be fetched"),
            ("stuck", Some("timeout"), false, "Not here: stuck after repeated failures"),
            ("excluded", Some("<b>"), true, "Not here: kept out by the rule \u{201c}&#60;b&#62;\u{201d}"),
        ] {
            let mut recording = recording(1, "a.wav");
            recording.files.clear();
            recording.row.state = state.to_owned();
            recording.row.reason = reason.map(str::to_owned);
            recording.row.is_final = is_final;
            let cell = cell(recording, &[]);
            assert!(cell.contains(words), "{words}: {cell}");
        }
    }

    #[test]
    fn each_recording_is_counted_once() {
        let mut recordings: Vec<Recording> =
            [1, 2, 3, 4].map(|id| recording(id, &format!("{id}.wav"))).into();
        recordings[1].files.clear();
        recordings[2].files.clear();
        recordings[2].row.state = "excluded".to_owned();
        recordings[3].files.push(file("a.wav"));
        let selection = Selection { recordings, ..Selection::default() };
        let absent = [absence("gone", "it was archived and is gone", None)];
        let tally = Recordings::new(&selection, &absent).tally(&selection.recordings);
        assert_eq!(tally, Tally { here: 1, damaged: 1, excluded: 1, unarchived: 1 });
    }

    #[test]
    fn times_and_lengths_are_read_by_people() {
        let at = Timestamp::constant(1_767_945_600, 0);
        for (offset_s, day, told) in [
            (Some(3600), "2026-01-09", ("09:00:00", "+01:00")),
            (Some(-12_600), "2026-01-09", ("04:30:00", "\u{2212}03:30")),
            (Some(3600), "2026-01-08", ("2026-01-09 09:00:00", "+01:00")),
            (None, "2026-01-09", ("08:00:00", "UTC")),
        ] {
            let (time, zone) = local_time(Some(at), offset_s, day).unwrap();
            assert_eq!((&*time, &*zone), told);
        }
        assert_eq!(local_time(None, None, ""), None);
        let lengths = [Some(0), Some(59), Some(3_661), Some(-1), None].map(duration);
        assert_eq!(lengths, ["0:00", "0:59", "1:01:01", "", ""]);
    }

    fn page(absent: &[Absence], unknown: &[&str]) -> String {
        let unknown: Vec<String> = unknown.iter().map(|line| (*line).to_owned()).collect();
        Absent { absent, unknown: &unknown }.render().unwrap()
    }

    #[test]
    fn each_absence_is_told_with_its_reason_in_words() {
        let mut final_one = absence("missing", "deleted", None);
        final_one.r#final = true;
        let absent = [
            absence("missing", "missing", None),
            final_one,
            absence("pending", "waiting", None),
            absence("stuck", "timeout", None),
            absence("excluded", "house <line>", None),
            absence("damaged", "it has other bytes than were archived", Some("data/_damaged/hq/a,.wav")),
            absence("gone", "it was archived and is gone", None),
        ];
        let page = page(&absent, &["<nobody>.wav"]);
        for words in [
            "<h3>2 files damaged or gone since archived</h3>",
            "damaged: it has other bytes than were archived (<a href=\"data/_damaged/hq/a%2C.wav\">what there is now</a>",
            "not here: it was archived and is gone",
            "<h3>4 recordings never archived</h3>",
            "<summary>1 missing on the PBX: the PBX lists them but says that it has no such file</summary>",
            "1 missing on the PBX for good: deleted from the voicemail box before it was archived",
            "1 still to be fetched: not asked for yet",
            "1 stuck after repeated failures: the transfer broke off",
            "<h3>1 recording kept out of the archive by a rule</h3>",
            "1 by the rule \u{201c}house &#60;line&#62;\u{201d}",
            "<h3>1 line of the list of wanted recordings matches no known recording</h3>",
            "&#60;nobody&#62;.wav",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }

    #[test]
    fn of_very_many_the_first_are_named_and_the_others_counted() {
        let absent = vec![absence("missing", "missing", None); NAMED_MAX + 1234];
        let page = page(&absent, &[]);
        assert_eq!(page.matches("hq/2026/01/09/a.wav").count(), NAMED_MAX);
        assert!(
            page.contains("\u{2026} and 1,234 more.") && page.contains("<details><summary>1,434 "),
            "{page}"
        );
    }

    #[test]
    fn nothing_is_said_if_all_is_here() {
        assert_eq!(page(&[], &[]).trim(), "");
    }
}
