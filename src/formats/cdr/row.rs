//! One call, as a row of the CDR tells it.

use std::sync::Arc;

use csv::ByteRecord;
use jiff::civil::Date;

use crate::base::digest::Digest;
use crate::base::recording::{RecordingName, Text};
use crate::base::times::parse_local;
use crate::formats::cdr::header::{Column, Header};
use crate::formats::cdr::record::Record;
use crate::formats::cdr::shift::Cells;
use crate::formats::cdr::start::{
    Stamp, Start, contradicts, epoch_in, exact_start, is_rewritten, is_start_of, stamp_in, start,
};
use crate::formats::cdr::value::{is_nothing, is_overflow, is_rounded, seconds, seconds_as_hashed};
use crate::formats::cdr::{DoubtCause, Reported};
use crate::formats::raw_row::RawRow;

/// Under this heading a kept row says why it cannot be believed, where its cells do not show that any more.
pub(super) const MARK: &str = "#doubt";

/// One row of the CDR. Fields are trimmed of ASCII whitespace; a column that the file lacks is empty.
///
/// The columns are those of `docs/pbx-api.md` §6.2. There is no PIN code: it is blank in [`raw`](Self::raw) too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CdrRow {
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
    pub callfrom: Text,
    /// Who was called, such as `6200(1003)`.
    pub callto: Text,
    pub callduraction: Reported<u64>,
    pub talkduraction: Reported<u64>,
    /// The two durations as version 0.1 read them. They make the [version](Self::version), and nothing else goes by them.
    pub hashed_durations: [Option<u64>; 2],
    pub srctrunkname: Text,
    pub dsttrunkname: Text,
    /// How it ended: an open set of words, compared by [`normal`].
    pub status: Text,
    /// `Inbound` and so on: an open set of words, compared by [`normal`].
    pub call_type: Text,
    /// The recording, if the row names one: the cell as it was received but for blanks around it, also where it is a path, a
    /// URL or quoted once more. The PBX is asked for what it wrote, and for nothing that was made of it.
    pub recording: Option<RecordingName>,
    pub didnumber: Text,
    pub sn: Text,
    /// Every field of a column that we know, as the list has it, untrimmed, in its order, under our name of the column; and
    /// those of columns that the operator wants kept, under the list's heading. The PIN code is blank, and so is all of a
    /// [shifted](Self::is_shifted) row that may be one.
    pub raw: Vec<(Arc<Text>, Text)>,
    /// Whether the input ended within this line: its last field may have been cut off.
    pub ended_without_newline: bool,
    /// Whether the serial number is the last field of its line.
    pub ends_in_sn: bool,
}

impl CdrRow {
    /// Reads a record. Fields that it lacks at its end are empty, those beyond the header are nothing.
    pub(super) fn read(header: &Header, fields: &ByteRecord, record: &Record) -> Self {
        let value = |at: usize| fields.get(at).unwrap_or_default();
        let cells = header.fields().enumerate().map(|(at, (_, column))| (column, value(at)));
        if Cells::new(cells).are_shifted() {
            return Self::salvage(header, fields, record, DoubtCause::Shifted);
        }
        let mut row = Self::begin(header, record);
        row.raw.reserve_exact(header.len());
        for (at, (kept, column)) in header.fields().enumerate() {
            let value = if column == Some(Column::PinCode) { &[][..] } else { value(at) };
            row.raw.extend(kept.map(|heading| (Arc::clone(heading), Text::from_bytes(value))));
            if let Some(column) = column {
                row.set(column, value.trim_ascii());
            }
        }
        row.judge();
        row
    }

    /// What of a row is certain whose values may stand in other columns than their own: its call's id and its start where they
    /// are, and the recording that it names, wherever that is. No other value is kept, for each may be the PIN code.
    pub(super) fn salvage(header: &Header, fields: &ByteRecord, record: &Record, cause: DoubtCause) -> Self {
        let count = fields.len().max(header.len());
        let cells = (0..count).map(|at| (header.column(at), fields.get(at).unwrap_or_default()));
        let cells = Cells::new(cells);
        let mut row = Self { doubt: Some(cause), ..Self::begin(header, record) };
        for (kept, column) in header.fields() {
            let value = match column {
                Some(Column::Recording) => cells.recording(),
                Some(column) => cells.own(column),
                None => None,
            };
            let value = value.unwrap_or_default();
            row.raw.extend(kept.map(|heading| (Arc::clone(heading), Text::from_bytes(value))));
            if let Some(column) = column {
                row.set(column, value);
            }
        }
        row.raw.push((Arc::new(Text::Utf8(MARK.to_owned())), Text::Utf8(cause.as_str().to_owned())));
        row
    }

    fn begin(header: &Header, record: &Record) -> Self {
        Self {
            line: record.line,
            line_sha256: Digest::of(&record.bytes),
            ended_without_newline: record.unterminated,
            ends_in_sn: header.column(header.len() - 1) == Some(Column::Sn),
            ..Self::default()
        }
    }

    fn set(&mut self, column: Column, value: &[u8]) {
        let text = || Text::from_bytes(value);
        match column {
            Column::CallId => self.callid = text(),
            Column::TimeStart => self.timestart = text(),
            Column::CallFrom => self.callfrom = text(),
            Column::CallTo => self.callto = text(),
            Column::CallDuration => {
                self.callduraction = seconds(value);
                self.hashed_durations[0] = seconds_as_hashed(value);
            }
            Column::TalkDuration => {
                self.talkduraction = seconds(value);
                self.hashed_durations[1] = seconds_as_hashed(value);
            }
            Column::SrcTrunk => self.srctrunkname = text(),
            Column::DstTrunk => self.dsttrunkname = text(),
            Column::Status => self.status = text(),
            Column::Type => self.call_type = text(),
            Column::PinCode => {}
            Column::Recording => self.recording = RecordingName::new(value),
            Column::DidNumber => self.didnumber = text(),
            Column::Sn => self.sn = text(),
        }
    }

    /// The call's identity: SHA-256 over canonical JSON (sorted keys, no spaces) of what never changes about it.
    ///
    /// A field that is not UTF-8 stands as `{"hex":"…"}`; a missing one as `""`.
    pub fn identity(&self) -> Digest {
        let recording = self.recording.as_ref().map(|name| Text::from_bytes(name.as_bytes()));
        let recording = recording.unwrap_or_default();
        Digest::of(object([
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
        ]))
    }

    /// A day that follows from what never changes about the call alone, in days since 1970: the date of its start as the PBX
    /// wrote it, else that of its id in UTC; 0 if neither tells one. It says where the call is looked up, not when it was.
    pub fn identity_day(&self) -> i64 {
        let epoch_day = || Some(epoch_in(text_of(&self.callid))?.div_euclid(24 * 3600));
        let start = parse_local(text_of(&self.timestart));
        let of_start =
            start.map(|start| Date::constant(1970, 1, 1).duration_until(start.date()).as_hours() / 24);
        of_start.or_else(epoch_day).unwrap_or(0).max(0)
    }

    /// The version of the call: SHA-256 over canonical JSON of its identity, its durations and its status.
    pub fn version(&self) -> Digest {
        self.version_of(&self.identity())
    }

    /// The same, where its identity is known.
    pub fn version_of(&self, identity: &Digest) -> Digest {
        let [call_s, talk_s] = &self.hashed_durations;
        let fields: [(&str, &dyn Json); 4] = [
            ("callduraction", call_s),
            ("identity", identity),
            ("status", &self.status),
            ("talkduraction", talk_s),
        ];
        Digest::of(object(fields))
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
            } else if heading == MARK {
                row.doubt = value.as_str().and_then(|word| word.parse().ok());
            }
        }
        if row.doubt.is_none() {
            row.judge();
        }
        Some(row)
    }

    /// The raw row as a JSON object, in the order of the file's columns, the PIN code blank.
    ///
    /// A heading that is not UTF-8 stands as `hex:…`.
    pub fn raw_json(&self) -> String {
        let mut json = Vec::with_capacity(512);
        json.push(b'{');
        for (heading, value) in &self.raw {
            if json.len() > 1 {
                json.push(b',');
            }
            match &**heading {
                Text::Utf8(text) => text.write_json(&mut json),
                Text::Bytes { hex } => format!("hex:{hex}").write_json(&mut json),
            }
            json.push(b':');
            value.write_json(&mut json);
        }
        json.push(b'}');
        String::from_utf8(json).expect("JSON is UTF-8")
    }

    fn judge(&mut self) {
        if self.is_rewritten() {
            // A spreadsheet leaves out seconds: `0:58` may be 58 minutes. What 0.1 could read is no such form.
            let durations = [&mut self.callduraction, &mut self.talkduraction];
            for (duration, hashed) in durations.into_iter().zip(self.hashed_durations) {
                if hashed.is_none() && duration.known().is_some() {
                    *duration = Reported::Unreadable;
                }
            }
            return;
        }
        self.doubt = self.contradiction();
    }

    /// What tells another start than the row does: its call's id, or where that tells none its recording's name.
    fn contradiction(&self) -> Option<DoubtCause> {
        let start = self.start();
        let local = start.local.filter(|_| start.is_exact)?;
        if let Some(epoch) = epoch_in(text_of(&self.callid)) {
            return contradicts(local, epoch).then_some(DoubtCause::StartContradictsCallid);
        }
        let stamp = self.stamp()?;
        (!is_start_of(local, stamp.local)).then_some(DoubtCause::StartContradictsName)
    }

    fn start(&self) -> Start {
        let told = text_of(&self.timestart);
        exact_start(told).unwrap_or_else(|| start(told, self.epoch(), self.stamp()))
    }

    fn stamp(&self) -> Option<Stamp> {
        self.recording.as_ref().and_then(|name| stamp_in(name.as_bytes()))
    }

    /// When the call started, in seconds since 1970 UTC: from its id (`docs/pbx-api.md` §6.3), else from its recording's
    /// name, which repeats the id; `None` if neither holds a plausible time.
    pub fn epoch(&self) -> Option<i64> {
        epoch_in(text_of(&self.callid)).or_else(|| self.stamp()?.epoch)
    }

    /// When it started, by the PBX's clock: as the PBX wrote it, else as well as it can be told from what a spreadsheet made
    /// of it and from the recording's name; `None` if that is not at all.
    pub fn local_start(&self) -> Option<jiff::civil::DateTime> {
        self.start().local
    }

    /// The same, if the PBX's own words tell it to the second and nothing beside them contradicts it.
    pub fn exact_start(&self) -> Option<jiff::civil::DateTime> {
        let start = self.start();
        start.local.filter(|_| start.is_exact && !self.is_start_contradicted())
    }

    /// Whether its call's id or its recording's name tells another start than it does.
    pub fn is_start_contradicted(&self) -> bool {
        self.contradiction().is_some()
    }

    /// The day in its recording's name, by the PBX's clock.
    pub fn stamped_day(&self) -> Option<jiff::civil::Date> {
        self.stamp().map(|stamp| stamp.local.date())
    }

    /// The serial number of the device, if the row tells it: not a word for nothing, and not what a spreadsheet rounded.
    pub fn serial_number(&self) -> Option<&str> {
        self.sn.as_str().filter(|sn| !is_nothing(sn) && !Self::is_number_lost(&self.sn))
    }

    /// Whether a field says that there is nothing, in a word of databases or people. A recording's name is never asked.
    pub fn is_nothing(text: &str) -> bool {
        is_nothing(text)
    }

    /// Whether a number is not there any more, for a spreadsheet rounded it or had no room for it.
    pub fn is_number_lost(field: &Text) -> bool {
        is_rounded(text_of(field)) || is_overflow(text_of(field))
    }

    /// Whether nothing in it tells when the call was.
    pub fn is_undated(&self) -> bool {
        self.epoch().is_none() && self.local_start().is_none()
    }

    /// Whether a spreadsheet rewrote the row: it rounded a number, or left the seconds out of the start.
    pub fn is_rewritten(&self) -> bool {
        let numbers = [&self.callid, &self.callfrom, &self.callto, &self.didnumber, &self.sn];
        numbers.into_iter().any(Self::is_number_lost)
            || is_overflow(text_of(&self.timestart))
            || is_rewritten(text_of(&self.timestart))
    }

    /// Whether its values may stand in other columns than their own, so that only its recording is believed.
    pub fn is_shifted(&self) -> bool {
        matches!(self.doubt, Some(DoubtCause::Shifted | DoubtCause::FieldCount))
    }

    /// Whether somebody talked, as far as that is known: words for how a call ended are an open set.
    pub fn answer(&self) -> Reported<bool> {
        let status = self.status.as_str().map(normal);
        match (status.as_deref(), self.talkduraction) {
            (Some("answered"), _) => Reported::Known(true),
            (_, Reported::Known(seconds)) if seconds > 0 => Reported::Known(true),
            (Some("noanswer" | "noanswered" | "busy" | "failed"), _) => Reported::Known(false),
            (Some(status), _) if is_nothing(status) => Reported::Absent,
            _ => Reported::Unreadable,
        }
    }

    /// Whether there may be something to hear: false only where the talk time is known to be none, or the call is known not
    /// to have been answered.
    pub fn may_have_talk(&self) -> bool {
        match (self.talkduraction, self.answer()) {
            (Reported::Known(seconds), _) => seconds > 0,
            (_, answer) => answer != Reported::Known(false),
        }
    }

    pub fn answered(&self) -> bool {
        self.answer() == Reported::Known(true)
    }
}

fn text_of(text: &Text) -> &str {
    text.as_str().unwrap_or_default()
}

/// A word of an open set as it is compared: `No Answer`, `NO ANSWER` and `NOANSWER` are one (`docs/pbx-api.md` §6.4).
pub fn normal(text: &str) -> String {
    if text.is_ascii() {
        let is_kept = |byte: &u8| !char::from(*byte).is_whitespace();
        return text.bytes().filter(is_kept).map(|byte| char::from(byte.to_ascii_lowercase())).collect();
    }
    text.chars().filter(|character| !character.is_whitespace()).flat_map(char::to_lowercase).collect()
}

/// The numbers in one side of a call: `6200(1003)` is a queue and its agent, `Reception <1001>` a name and a number.
pub fn parties(side: &str) -> Vec<&str> {
    side.split(['(', ')', '<', '>']).map(str::trim).filter(|party| !party.is_empty()).collect()
}

/// What stands as a value in the JSON of a row.
trait Json {
    fn write_json(&self, json: &mut Vec<u8>);
}

impl<T: serde::Serialize> Json for T {
    fn write_json(&self, json: &mut Vec<u8>) {
        serde_json::to_writer(json, self).expect("text, numbers and hashes always have a JSON form");
    }
}

/// A canonical JSON object of members that are given in the order of their names.
fn object<'a, T: Json + ?Sized + 'a>(members: impl IntoIterator<Item = (&'a str, &'a T)>) -> Vec<u8> {
    let mut json = Vec::with_capacity(256);
    json.push(b'{');
    for (name, value) in members {
        if json.len() > 1 {
            json.push(b',');
        }
        json.extend([b"\"", name.as_bytes(), b"\":"].concat());
        value.write_json(&mut json);
    }
    json.push(b'}');
    json
}
