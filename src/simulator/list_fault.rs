//! Ways in which a call list is not what the API says that it is. Each is the same at every request, so that asking again
//! does not help.

use encoding_rs::Encoding;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::call::SimCall;
use super::chance::number_of;

/// One way. `Faults` holds any number; without it lists are right again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ListFault {
    /// This header stands in the place of the right one; an empty one is no line at all.
    Header(String),
    /// Lines that stand before the header.
    Title(String),
    /// In some rows the field of this number, from 0, is left out: those behind it come a column too early.
    Shifted {
        /// Which field.
        field: usize,
        /// One row of so many.
        of: u64,
    },
    /// Some rows are this text instead; `{callid}` and `{recording}` in it are those of the row.
    Garbled {
        /// What stands there.
        line: String,
        /// One row of so many.
        of: u64,
    },
    /// Some rows tell a start of 2000, which is that of a clock that was lost; their calls' ids tell the right one.
    Misdated {
        /// One row of so many.
        of: u64,
    },
    /// All is written in this encoding, named as the Encoding Standard names it; those of 16 bits begin with a mark.
    Encoded(String),
    /// Rows so near to the beginning or the end of what was asked for are left out.
    Edges {
        /// After the beginning.
        first_s: u32,
        /// Before the end.
        last_s: u32,
    },
}

/// What a clock shows that was lost, as rows write it.
const LOST: &str = "2000-01-01 00:00:07";

impl ListFault {
    /// Whether a row is so near to an end of the range that it is left out.
    pub(super) fn leaves_out(&self, start: DateTime, (from, to): (DateTime, DateTime)) -> bool {
        let Self::Edges { first_s, last_s } = self else { return false };
        let seconds = |a: DateTime, b: DateTime| a.duration_until(b).as_secs();
        seconds(from, start) < i64::from(*first_s) || seconds(start, to) < i64::from(*last_s)
    }

    /// Changes the fields of a row, or tells the text in its place.
    pub(super) fn change(&self, row: &SimCall, fields: &mut Vec<Vec<u8>>) -> Option<String> {
        // Drawn by the call, so that a row is bad in whatever list it stands.
        let strikes = |of: u64| {
            (number_of(row.callid.as_bytes()) ^ number_of(&row.recording)).is_multiple_of(of.max(1))
        };
        match self {
            Self::Shifted { field, of } if strikes(*of) && *field < fields.len() => {
                fields.remove(*field);
            }
            Self::Misdated { of } if strikes(*of) && fields.len() > 1 => fields[1] = LOST.into(),
            Self::Garbled { line, of } if strikes(*of) => {
                let name = String::from_utf8_lossy(&row.recording);
                return Some(line.replace("{callid}", &row.callid).replace("{recording}", &name));
            }
            _ => {}
        }
        None
    }
}

/// A list's text in the encoding that a fault demands.
pub(super) fn encode(faults: &[ListFault], csv: Vec<u8>) -> Vec<u8> {
    let label = faults.iter().find_map(|fault| match fault {
        ListFault::Encoded(label) => Some(label.as_bytes()),
        _ => None,
    });
    let Some(encoding) = label.and_then(Encoding::for_label) else { return csv };
    let text = String::from_utf8_lossy(&csv);
    let units = || std::iter::once(0xfeff).chain(text.encode_utf16());
    if encoding == encoding_rs::UTF_16LE {
        return units().flat_map(u16::to_le_bytes).collect();
    }
    if encoding == encoding_rs::UTF_16BE {
        return units().flat_map(u16::to_be_bytes).collect();
    }
    encoding.encode(&text).0.into_owned()
}

/// A moment as rows write it.
pub(super) fn local(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::SimAudio;

    #[test]
    fn what_is_near_an_end_is_left_out() {
        let at = |minute| jiff::civil::date(2024, 3, 1).at(9, minute, 0, 0);
        let fault = ListFault::Edges { first_s: 60, last_s: 120 };
        let left: Vec<i8> = (0..10).filter(|minute| !fault.leaves_out(at(*minute), (at(0), at(9)))).collect();
        assert_eq!(left, [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_row_is_bad_whenever_it_is_listed() {
        let calls =
            (0..90).map(|seq| SimCall::recorded(Timestamp::UNIX_EPOCH, seq, *b"a", SimAudio::pcm(44, 1)));
        let fault = ListFault::Shifted { field: 0, of: 3 };
        let bad = |call: &SimCall| {
            let mut fields = vec![Vec::new(); 14];
            fault.change(call, &mut fields);
            fields.len() == 13
        };
        let (calls, again): (Vec<_>, Vec<_>) = calls.map(|call| (bad(&call), bad(&call))).unzip();
        assert_eq!(calls, again);
        assert!((10..50).contains(&calls.iter().filter(|bad| **bad).count()), "{calls:?}");
    }

    #[test]
    fn a_list_comes_in_another_encoding() {
        let encoded = |label: &str| encode(&[ListFault::Encoded(label.to_owned())], "é".into());
        assert_eq!(encoded("utf-16le"), [0xff, 0xfe, 0xe9, 0]);
        assert_eq!(encoded("utf-16be"), [0xfe, 0xff, 0, 0xe9]);
        assert_eq!(encoded("windows-1252"), [0xe9]);
        assert_eq!(encode(&[], "é".into()), "é".as_bytes());
    }
}
