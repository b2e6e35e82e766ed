//! The call report as CSV (`docs/pbx-api.md` §6).

use std::collections::BTreeSet;

use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::call::SimCall;
use super::chance::{Luck, mix};
use super::faults::Faults;
use super::list_fault::{self, ListFault, local};
use super::profile::SimulatorOptions;

/// The header, to the letter: two columns are misspelt on every device.
const HEADER: &str = "callid,timestart,callfrom,callto,callduraction,talkduraction,srctrunkname,dsttrunkname,status,type,pincode,recording,didnumber,sn";

/// Reads `YYYY-MM-DD HH:MM:SS`; `None` if it is anything else.
pub(super) fn parse_time(text: &str) -> Option<DateTime> {
    let time = DateTime::strptime("%Y-%m-%d %H:%M:%S", text).ok()?;
    (text.len() == 19).then_some(time)
}

/// Whether a row is asked for by an extension list: `all`, or numbers between commas.
pub(super) fn is_asked(call: &SimCall, extensions: &str) -> bool {
    let mut list = extensions.split(',').map(str::trim);
    list.any(|extension| extension == "all" || call.concerns(extension))
}

/// A CDR file without its header.
pub(super) fn rows_of(csv: &[u8]) -> &[u8] {
    let header = csv.iter().position(|byte| *byte == b'\n').map_or(csv.len(), |at| at + 1);
    &csv[header..]
}

/// How rows are written.
#[derive(Debug)]
pub(super) struct Report<'a> {
    /// Byte order mark, line ends, quotes.
    pub(super) options: &'a SimulatorOptions,
    /// Faults that touch rows.
    pub(super) faults: &'a Faults,
    /// The zone in which `timestart` is written.
    pub(super) zone: &'a TimeZone,
    /// The serial number in each row.
    pub(super) serial_number: &'a str,
    /// The draws of this request.
    pub(super) luck: Luck,
    /// Whether the connection is lost within the last row.
    pub(super) is_cut: bool,
}

impl Report<'_> {
    /// Writes the whole file; returns it, and the names of the recordings that it tells.
    pub(super) fn write(&self, mut rows: Vec<SimCall>) -> (Vec<u8>, BTreeSet<Vec<u8>>) {
        if self.luck.hits("cdr_reordered", self.faults.cdr_reordered) {
            let seed = self.luck.draw("cdr_order");
            let mut place = 0;
            rows.sort_by_cached_key(|_| {
                place += 1;
                mix(seed, 1, place)
            });
        }
        let mut out = Vec::with_capacity(200 * (rows.len() + 1));
        if self.options.cdr_bom {
            out.extend_from_slice("\u{feff}".as_bytes());
        }
        self.write_head(&mut out);
        let cap = if self.faults.cdr_row_cap == 0 { u64::MAX } else { self.faults.cdr_row_cap };
        let (mut told, mut last_row) = (Vec::new(), None);
        for (at, row) in (0..cap).zip(&rows) {
            let start = out.len();
            if self.write_row(&mut out, at, row) && !row.recording.is_empty() {
                told.push((start, row.recording.clone()));
            }
            if out.len() > start {
                last_row = Some(start);
            }
        }
        if self.options.cdr_unended {
            out.truncate(out.trim_ascii_end().len());
        }
        if let Some(last_row) = last_row.filter(|_| self.is_cut) {
            let end = self.luck.between("cdr_cut_at", last_row as u64 + 1, out.len() as u64);
            out.truncate(end as usize);
            told.retain(|(start, _)| *start != last_row);
        }
        let out = list_fault::encode(&self.faults.lists, out);
        (out, told.into_iter().map(|(_, name)| name).collect())
    }

    fn write_head(&self, out: &mut Vec<u8>) {
        let titles = self.faults.lists.iter().filter_map(|fault| match fault {
            ListFault::Title(title) => Some(title.as_str()),
            _ => None,
        });
        let header = self.faults.lists.iter().find_map(|fault| match fault {
            ListFault::Header(header) => Some(header.as_str()),
            _ => None,
        });
        for line in titles.chain([header.unwrap_or(HEADER)]).filter(|line| !line.is_empty()) {
            out.extend_from_slice(line.as_bytes());
            self.end_line(out);
        }
    }

    /// Writes a row, or what a fault leaves of it; whether it can be read.
    fn write_row(&self, out: &mut Vec<u8>, at: u64, row: &SimCall) -> bool {
        let faults = self.faults;
        // Drawn by the row's place, so that one faulty reading is not the same as the next.
        let luck = Luck::new(self.luck.draw("cdr_rows"), at);
        if luck.hits("cdr_missing", faults.cdr_missing) {
            return false;
        }
        let start = out.len();
        let is_right = match luck.hits("cdr_altered", faults.cdr_altered) {
            true => self.write_fields(out, &altered(row, luck)),
            false => self.write_fields(out, row),
        };
        let is_broken = luck.hits("cdr_broken", faults.cdr_broken);
        if is_broken {
            out.truncate(start + (out.len() - start) / 2);
        }
        self.end_line(out);
        if luck.hits("cdr_duplicate", faults.cdr_duplicate) {
            let row = out[start..].to_vec();
            out.extend_from_slice(&row);
        }
        is_right && !is_broken
    }

    /// Writes the fields of a row as the faults of lists leave them; whether it is as it should be.
    fn write_fields(&self, out: &mut Vec<u8>, row: &SimCall) -> bool {
        let start = local(row.start, self.zone);
        let call_duration = row.call_duration_s.to_string();
        let talk_duration = row.talk_written.clone().unwrap_or_else(|| row.talk_duration_s.to_string());
        let fields: [&[u8]; 14] = [
            row.callid.as_bytes(),
            start.as_bytes(),
            row.callfrom.as_bytes(),
            row.callto.as_bytes(),
            call_duration.as_bytes(),
            talk_duration.as_bytes(),
            row.source_trunk.as_bytes(),
            row.destination_trunk.as_bytes(),
            row.status.as_bytes(),
            row.call_type.as_bytes(),
            row.pincode.as_bytes(),
            &row.recording,
            row.did.as_bytes(),
            self.serial_number.as_bytes(),
        ];
        let right = fields.map(<[u8]>::to_vec).to_vec();
        let mut fields = right.clone();
        for fault in &self.faults.lists {
            if let Some(line) = fault.change(row, &mut fields) {
                out.extend_from_slice(line.as_bytes());
                return false;
            }
        }
        for (at, field) in fields.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            self.write_field(out, field);
        }
        fields == right
    }

    fn write_field(&self, out: &mut Vec<u8>, field: &[u8]) {
        if !self.options.cdr_quotes && !field.iter().any(|byte| b",\"\r\n".contains(byte)) {
            out.extend_from_slice(field);
            return;
        }
        out.push(b'"');
        for byte in field {
            if *byte == b'"' {
                out.push(b'"');
            }
            out.push(*byte);
        }
        out.push(b'"');
    }

    fn end_line(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.options.cdr_crlf { b"\r\n" } else { b"\n" });
    }
}

/// The longest step of a start that is told wrongly, in quarters of an hour: some twelve days.
const QUARTERS_MAX: u64 = 1200;

/// A row as a device tells it that has mixed something up. It names the same recording.
fn altered(row: &SimCall, luck: Luck) -> SimCall {
    let mut altered = row.clone();
    match luck.draw("altered") % 4 {
        0 => altered.callto = format!("6200({})", row.callto),
        1 => {
            altered.talk_duration_s = luck.between("talk", 0, 100_000) as u32;
            altered.call_duration_s = altered.talk_duration_s.saturating_add(SimCall::RINGS_S);
        }
        what => {
            // Whole quarters look like another offset from UTC.
            let unit_s = if what == 2 { 900 } else { 61 };
            let by_s = luck.between("start", 1, QUARTERS_MAX) as i64 * unit_s;
            let by_s = if luck.draw("earlier").is_multiple_of(2) { -by_s } else { by_s };
            altered.start = row.start.saturating_add(SignedDuration::from_secs(by_s)).unwrap_or(row.start);
        }
    }
    altered
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::simulator::SimAudio;

    #[test]
    fn a_report_has_the_exact_header_and_the_devices_local_time() {
        let options = SimulatorOptions::default();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let report = Report {
            options: &options,
            faults: &Faults::default(),
            zone: &zone,
            serial_number: "7",
            luck: Luck::new(1, 1),
            is_cut: false,
        };
        let start = Timestamp::from_second(1_709_287_502).unwrap();
        let row = SimCall::recorded(start, 118, *b"a,\"b\".wav", SimAudio::pcm(16_044, 1));
        let csv = String::from_utf8(report.write(vec![row]).0).unwrap();
        let expected = "callid,timestart,callfrom,callto,callduraction,talkduraction,srctrunkname,dsttrunkname,status,type,pincode,recording,didnumber,sn\n\
            1709287502.118,2024-03-01 11:05:02,5550142,1003,6,1,siptrunk1,,ANSWERED,Inbound,,\"a,\"\"b\"\".wav\",5550100,7\n";
        assert_eq!(csv, expected);
    }

    #[test]
    fn a_report_may_have_a_mark_crlf_and_quotes() {
        let options = SimulatorOptions {
            cdr_bom: true,
            cdr_crlf: true,
            cdr_quotes: true,
            ..SimulatorOptions::default()
        };
        let report = Report {
            options: &options,
            faults: &Faults::default(),
            zone: &TimeZone::UTC,
            serial_number: "7",
            luck: Luck::new(1, 1),
            is_cut: false,
        };
        let row = SimCall::recorded(Timestamp::UNIX_EPOCH, 1, *b"a.wav", SimAudio::pcm(16_044, 1));
        let csv = String::from_utf8(report.write(vec![row]).0).unwrap();
        assert!(csv.starts_with("\u{feff}callid,timestart,"), "{csv}");
        assert!(csv.contains("sn\r\n\"0.1\",\"1970-01-01 00:00:00\","), "{csv}");
        assert!(csv.ends_with(",\"a.wav\",\"5550100\",\"7\"\r\n"), "{csv}");
    }

    #[test]
    fn a_time_is_read_only_in_its_one_form() {
        assert!(parse_time("2024-03-01 00:00:00").is_some());
        for text in [
            "2024-03-01",
            "2024-3-1 00:00:00",
            "01/03/2024 00:00:00",
            "2024-03-01T00:00:00",
            "2024-13-01 00:00:00",
            "",
        ] {
            assert!(parse_time(text).is_none(), "{text}");
        }
    }
}
