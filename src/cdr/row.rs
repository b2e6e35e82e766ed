//! One call, as a row of the CDR tells it.

use std::collections::BTreeMap;

use csv::ByteRecord;

use super::header::{Column, Header};
use super::record::Record;
use super::{DoubtCause, Told};
use crate::digest::Digest;
use crate::raw_row::RawRow;
use crate::recording::{RecordingName, Text};
use crate::times::parse_local;

/// Calls before 2000 and after 2100 are no calls: such a number in a call's id is not the time.
const EPOCHS: std::ops::Range<i64> = 946_684_800..4_102_444_800;

/// One row of the CDR. Fields are trimmed of ASCII whitespace; a column that the file lacks is empty.
///
/// The columns are those of `yeastar-api.md` §6.2. There is no PIN code: it is blank in [`raw`](Self::raw) too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CdrRow {
    /// The line of the file where it begins, from 1.
    pub line: u64,
    /// SHA-256 of the bytes of its line, or lines, without the line end: it tells the line when it comes again.
    ///
    /// A PIN code could be guessed from it. So it stays in the state: it is never written into the archive or the ledger,
    /// and never printed. Of a row that was [kept](Self::from_raw) it is not known, and all zeros.
    pub line_sha256: Digest,
    /// Why the row cannot be believed as it is; `None` if nothing in it contradicts itself.
    pub doubt: Option<DoubtCause>,
    /// The call's id, `<epoch>.<seq>`; several rows may share it.
    pub callid: Text,
    /// When it started, by the PBX's clock on the wall.
    pub timestart: Text,
    /// Who called.
    pub callfrom: Text,
    /// Who was called, such as `6200(1003)`.
    pub callto: Text,
    /// Ringing and talking, in seconds.
    pub callduraction: Told<u64>,
    /// Talking, in seconds.
    pub talkduraction: Told<u64>,
    /// The two durations as version 0.1 read them. They make the [version](Self::version), and nothing else goes by them.
    pub hashed_durations: [Option<u64>; 2],
    /// The trunk it came in by.
    pub srctrunkname: Text,
    /// The trunk it went out by.
    pub dsttrunkname: Text,
    /// How it ended: an open set of words, compared by [`normal`].
    pub status: Text,
    /// `Inbound` and so on: an open set of words, compared by [`normal`].
    pub call_type: Text,
    /// The recording, if the row names one.
    pub recording: Option<RecordingName>,
    /// The number that was dialled from outside.
    pub didnumber: Text,
    /// The serial number of the device.
    pub sn: Text,
    /// Every field as the file has it, untrimmed, in its order, under our name of its column or, for a column that we
    /// do not know, under the file's heading; the PIN code is blank.
    pub raw: Vec<(Text, Text)>,
    /// Whether the input ended within this line: its last field may have been cut off.
    pub ended_without_newline: bool,
}

impl Default for CdrRow {
    fn default() -> Self {
        Self {
            line: 0,
            line_sha256: Digest::from([0; 32]),
            doubt: None,
            callid: Text::default(),
            timestart: Text::default(),
            callfrom: Text::default(),
            callto: Text::default(),
            callduraction: Told::Absent,
            talkduraction: Told::Absent,
            hashed_durations: [None; 2],
            srctrunkname: Text::default(),
            dsttrunkname: Text::default(),
            status: Text::default(),
            call_type: Text::default(),
            recording: None,
            didnumber: Text::default(),
            sn: Text::default(),
            raw: Vec::new(),
            ended_without_newline: false,
        }
    }
}

impl CdrRow {
    /// Reads a record that has as many fields as the header.
    pub(super) fn read(header: &Header, fields: &ByteRecord, record: &Record) -> Self {
        let mut row = Self {
            line: record.line,
            line_sha256: Digest::of(&record.bytes),
            ended_without_newline: record.unterminated,
            ..Self::default()
        };
        for ((heading, column), field) in header.fields().zip(fields) {
            let value = if column == Some(Column::PinCode) { &[][..] } else { field };
            row.raw.push((kept_heading(heading, column, row.raw.len()), Text::from_bytes(value)));
            if let Some(column) = column {
                row.set(column, value.trim_ascii());
            }
        }
        row
    }

    fn set(&mut self, column: Column, value: &[u8]) {
        let text = Text::from_bytes(value);
        match column {
            Column::CallId => self.callid = text,
            Column::TimeStart => self.timestart = text,
            Column::CallFrom => self.callfrom = text,
            Column::CallTo => self.callto = text,
            Column::CallDuration => {
                self.callduraction = told_seconds(value);
                self.hashed_durations[0] = seconds_as_hashed(value);
            }
            Column::TalkDuration => {
                self.talkduraction = told_seconds(value);
                self.hashed_durations[1] = seconds_as_hashed(value);
            }
            Column::SrcTrunk => self.srctrunkname = text,
            Column::DstTrunk => self.dsttrunkname = text,
            Column::Status => self.status = text,
            Column::Type => self.call_type = text,
            Column::PinCode => {}
            Column::Recording => self.recording = RecordingName::new(value),
            Column::DidNumber => self.didnumber = text,
            Column::Sn => self.sn = text,
        }
    }

    /// The call's identity: SHA-256 over canonical JSON (sorted keys, no spaces) of what never changes about it.
    ///
    /// A field that is not UTF-8 stands as `{"hex":"…"}`; a missing one as `""`.
    pub fn identity(&self) -> Digest {
        let recording =
            self.recording.as_ref().map(|name| Text::from_bytes(name.as_bytes())).unwrap_or_default();
        let fields = BTreeMap::from([
            ("callfrom", &self.callfrom),
            ("callid", &self.callid),
            ("callto", &self.callto),
            ("didnumber", &self.didnumber),
            ("dsttrunkname", &self.dsttrunkname),
            ("recording", &recording),
            ("sn", &self.sn),
            ("srctrunkname", &self.srctrunkname),
            ("timestart", &self.timestart),
            ("type", &self.call_type),
        ]);
        Digest::of(json(&fields))
    }

    /// The version of the call: SHA-256 over canonical JSON of its identity, its durations and its status.
    pub fn version(&self) -> Digest {
        let [call_s, talk_s] = self.hashed_durations;
        let fields = BTreeMap::from([
            ("callduraction", serde_json::json!(call_s)),
            ("identity", serde_json::json!(self.identity())),
            ("status", serde_json::json!(self.status)),
            ("talkduraction", serde_json::json!(talk_s)),
        ]);
        Digest::of(json(&fields))
    }

    /// Reads what [`raw_json`](Self::raw_json) wrote; `None` if it was damaged.
    pub fn from_raw_json(json: &str) -> Option<Self> {
        Self::from_raw(&serde_json::from_str(json).ok()?)
    }

    /// The same of a row that was read already.
    pub fn from_raw(cells: &RawRow) -> Option<Self> {
        let mut row = Self::default();
        for (heading, value) in cells.cells() {
            if let Some(column) = Column::named(heading) {
                row.set(column, value.to_bytes()?.trim_ascii());
            }
        }
        Some(row)
    }

    /// The raw row as a JSON object, in the order of the file's columns, the PIN code blank.
    ///
    /// A heading that is not UTF-8 stands as `hex:…`.
    pub fn raw_json(&self) -> String {
        let members = self.raw.iter().map(|(heading, value)| {
            let heading = match heading {
                Text::Utf8(text) => json(text),
                Text::Bytes { hex } => json(&format!("hex:{hex}")),
            };
            format!("{heading}:{}", json(value))
        });
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }

    /// When the call started, in seconds since 1970 UTC, out of its id (`yeastar-api.md` §6.3); `None` if the id does
    /// not begin with a plausible time.
    pub fn epoch(&self) -> Option<i64> {
        let text = self.callid.as_str()?;
        let end = text.find(['.', '_']).unwrap_or(text.len());
        let digits = text[..end].bytes().all(|byte| byte.is_ascii_digit()).then_some(&text[..end])?;
        digits.parse().ok().filter(|epoch| EPOCHS.contains(epoch))
    }

    /// When it started, by the PBX's clock; `None` if that cannot be read.
    pub fn local_start(&self) -> Option<jiff::civil::DateTime> {
        self.timestart.as_str().and_then(parse_local)
    }

    /// Whether somebody talked.
    pub fn answered(&self) -> bool {
        let status = self.status.as_str().map(normal).unwrap_or_default();
        status == "answered" || self.talkduraction.known().is_some_and(|seconds| seconds > 0)
    }
}

/// Our name of a column that we know. A heading that we do not know must not pass for one of ours.
fn kept_heading(heading: &Text, column: Option<Column>, at: usize) -> Text {
    match (column, heading) {
        (Some(column), _) => Text::Utf8(column.name().to_owned()),
        (None, Text::Utf8(text)) if Column::named(&text.to_lowercase()).is_some() => {
            Text::Utf8(format!("{text}#{}", at + 1))
        }
        (None, heading) => heading.clone(),
    }
}

/// A word of an open set as it is compared: `No Answer`, `NO ANSWER` and `NOANSWER` are one (`yeastar-api.md` §6.4).
pub fn normal(text: &str) -> String {
    text.chars().filter(|character| !character.is_whitespace()).flat_map(char::to_lowercase).collect()
}

/// The numbers in one side of a call: `6200(1003)` is a queue and its agent, `Reception <1001>` a name and a number.
pub fn parties(side: &str) -> Vec<&str> {
    side.split(['(', ')', '<', '>']).map(str::trim).filter(|party| !party.is_empty()).collect()
}

/// What a duration tells.
fn told_seconds(value: &[u8]) -> Told<u64> {
    match seconds_as_hashed(value) {
        Some(seconds) => Told::Known(seconds),
        None if value.trim_ascii().is_empty() => Told::Absent,
        None => Told::Unreadable,
    }
}

/// A duration exactly as version 0.1 read it: whole seconds, or `H:MM:SS`.
///
/// The version of a call is a hash over this. It must never read more or less, or the history of every call is opened.
fn seconds_as_hashed(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { digits.parse::<u64>().ok() } else { None }
    };
    let parts: Option<Vec<u64>> = text.split(':').map(number).collect();
    match *parts? {
        [seconds] => Some(seconds),
        [hours, minutes, seconds] if minutes < 60 && seconds < 60 => {
            hours.checked_mul(3600)?.checked_add(minutes * 60 + seconds)
        }
        _ => None,
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("text, numbers and maps of them always have a JSON form")
}
