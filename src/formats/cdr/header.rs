//! Which column of a call list holds what: by the heading's name, never by its position.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use csv::ByteRecord;

use crate::base::recording::{Text, printable};
use crate::base::words::words;
use crate::formats::cdr::seek::Refused;
use crate::formats::cdr::shift::is_audio_name;
use crate::formats::cdr::{DoubtCause, UnderstoodColumn};
use crate::formats::raw_row::{may_be_pin, readings};

words! {
    /// Our names of the columns: the headings of the PBX's own CDR, misspelling included (`docs/pbx-api.md` §6.2). They are
    /// the keys that `cdr_columns` may have.
    pub(super) enum Column as "column" {
        CallId = "callid",
        TimeStart = "timestart",
        CallFrom = "callfrom",
        CallTo = "callto",
        CallDuration = "callduraction",
        TalkDuration = "talkduraction",
        SrcTrunk = "srctrunkname",
        DstTrunk = "dsttrunkname",
        Status = "status",
        Type = "type",
        PinCode = "pincode",
        Recording = "recording",
        DidNumber = "didnumber",
        Sn = "sn",
    }
}

/// All of them, in the order of the PBX's own list.
pub fn column_names() -> Vec<&'static str> {
    Column::ALL.iter().map(|column| column.as_str()).collect()
}

impl Column {
    pub(super) fn named(ours: &str) -> Option<Self> {
        ours.parse().ok()
    }

    /// Whether the PBX fills it in every row: where it is lacking, the row is not whole.
    pub(super) fn is_always_filled(self) -> bool {
        use Column::{CallDuration, CallId, Sn, Status, TalkDuration, TimeStart, Type};
        matches!(self, CallId | TimeStart | CallDuration | TalkDuration | Status | Type | Sn)
    }
}

/// Other spellings that firmware or its documents use for a column (`docs/pbx-api.md` §7). Headings of the web page in
/// other languages are not among them: nobody knows them for certain, so they are mapped.
const ALIASES: [(&str, Column); 6] = [
    ("desttrunkname", Column::DstTrunk),
    ("dstrunkname", Column::DstTrunk),
    ("dsttrcunkname", Column::DstTrunk),
    ("callduration", Column::CallDuration),
    ("talkduration", Column::TalkDuration),
    ("serialnumber", Column::Sn),
];

/// What the operator said of the headings.
#[derive(Debug, Clone, Default)]
pub(super) struct Headings {
    /// Our columns, each with the heading that it has.
    pub(super) columns: BTreeMap<String, String>,
    /// Headings that we do not know, and whose columns are kept all the same.
    pub(super) keep: Vec<String>,
}

/// The header of a list: its headings, and the column that each of them is.
#[derive(Debug)]
pub(super) struct Header {
    /// Under what each field is kept, `None` for those that are not.
    kept: Vec<Option<Arc<Text>>>,
    columns: Vec<Option<Column>>,
    names: Vec<String>,
    recording_at: usize,
    /// The known headings, as the list has them.
    marks: Vec<Vec<u8>>,
    /// The name of the encoding that the headings are most likely in.
    pub(super) encoding: &'static str,
}

impl Header {
    /// Reads a line as a header, with the operator's map first. `is_first` says that only blank lines came before it. It is
    /// refused if it does not name exactly one column of recordings' names; `None` if it is no header at all.
    pub(super) fn seek(
        record: &ByteRecord,
        said: &Headings,
        is_first: bool,
        line: u64,
    ) -> Option<Result<Self, Refused>> {
        // A separator at the end of the header alone is none.
        let filled =
            record.iter().rposition(|heading| !heading.trim_ascii().is_empty()).map_or(0, |last| last + 1);
        let headings: ByteRecord = record.iter().take(filled).collect();
        let (columns, recordings) = assign(&headings, &said.columns);
        let known: BTreeSet<Column> =
            columns.iter().copied().flatten().chain(recordings.first().map(|_| Column::Recording)).collect();
        match recordings[..] {
            [at] if filled >= 2 || is_first => Some(Ok(Self::new(&headings, columns, at, said))),
            _ if known.len() >= 2 || recordings.len() >= 2 => {
                Some(Err(Refused { line, headings, columns, recordings, is_unknown: false }))
            }
            _ => None,
        }
    }

    fn new(headings: &ByteRecord, columns: Vec<Option<Column>>, at: usize, said: &Headings) -> Self {
        let mut seen = BTreeSet::new();
        let mut kept = Vec::with_capacity(columns.len());
        for (at, (heading, column)) in headings.iter().zip(&columns).enumerate() {
            let heading = heading.trim_ascii();
            let wanted = || said.keep.iter().any(|wanted| is_heading(heading, at, wanted));
            kept.push(match column {
                Some(column) => Some(Arc::new(Text::Utf8(column.as_str().to_owned()))),
                None if wanted() => Some(Arc::new(unique_heading(heading, at, &mut seen))),
                None => None,
            });
        }
        let known = headings.iter().zip(&columns).filter(|(_, column)| column.is_some());
        let marks = known.map(|(heading, _)| heading.trim_ascii().to_ascii_lowercase()).collect();
        Self {
            kept,
            columns,
            names: heading_names(headings),
            recording_at: at,
            marks,
            encoding: guess_encoding(headings).name(),
        }
    }

    /// Whether a record may be a header again, for exports are also concatenated: two of its values are known headings. No
    /// call has such values.
    pub(super) fn may_be_again_in(&self, record: &ByteRecord) -> bool {
        let mut filled = record.iter().map(<[u8]>::trim_ascii).filter(|field| !field.is_empty());
        // A call's first value, its id or its start, has digits.
        let begins_so = filled.next().is_some_and(|field| !field.iter().any(u8::is_ascii_digit));
        let is_mark = |field: &[u8]| {
            let field = field.trim_ascii();
            self.marks.iter().any(|mark| field.eq_ignore_ascii_case(mark))
                || std::str::from_utf8(field).is_ok_and(|text| Column::named(&key(text)).is_some())
        };
        begins_so && record.iter().filter(|field| is_mark(field)).count() >= self.marks.len().min(2)
    }

    pub(super) fn known(&self) -> usize {
        self.columns.iter().flatten().count()
    }

    /// Why a row does not fit, if it does not. Empty fields beyond the header are nothing. Fields that it lacks at its end are
    /// empty, unless the PBX always fills one of them; where the recording's name is not there in whole, it was cut.
    pub(super) fn misfit(&self, fields: &ByteRecord) -> Option<DoubtCause> {
        let is_filled = |field: &[u8]| !field.trim_ascii().is_empty();
        if fields.iter().skip(self.len()).any(is_filled) {
            return Some(DoubtCause::FieldCount);
        }
        if fields.len() >= self.len() {
            return None;
        }
        let lacks_more =
            self.columns[fields.len()..].iter().flatten().any(|column| column.is_always_filled());
        let (at, count) = (self.recording_at, fields.len());
        // A name that ends as audio files' names do was not cut.
        let is_whole = count > at + 1 || count == at + 1 && is_audio_name(&fields[at]);
        match (is_whole, lacks_more) {
            (true, false) => None,
            (true, true) => Some(DoubtCause::FieldCount),
            (false, _) => Some(DoubtCause::Cut),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.columns.len()
    }

    /// Each field's column, and under what it is kept.
    pub(super) fn fields(&self) -> impl Iterator<Item = (Option<&Arc<Text>>, Option<Column>)> {
        self.kept.iter().map(Option::as_ref).zip(self.columns.iter().copied())
    }

    pub(super) fn column(&self, at: usize) -> Option<Column> {
        self.columns.get(at).copied().flatten()
    }

    /// The first field that must not be shown: a PIN code, or one that may be anything.
    pub(super) fn secret_at(&self) -> Option<usize> {
        self.columns.iter().position(|column| column.is_none_or(|column| column == Column::PinCode))
    }

    /// The headings, printable, with our names of their columns.
    pub(super) fn understood(&self) -> Vec<UnderstoodColumn> {
        let column = |(name, column): (&String, &Option<Column>)| UnderstoodColumn {
            heading: printable(name.as_bytes()),
            column: column.map(Column::as_str),
        };
        self.names.iter().zip(&self.columns).map(column).collect()
    }
}

/// The columns of headings, and the places of all that are the recordings' names: the operator's map first, then the PBX's
/// own names and other spellings. Of two headings of one column the first one counts, but for recordings.
fn assign(headings: &ByteRecord, map: &BTreeMap<String, String>) -> (Vec<Option<Column>>, Vec<usize>) {
    let mut columns = vec![None; headings.len()];
    let mut recordings = Vec::new();
    // As secret as the first is each further PIN code column, whatever else was said about it.
    let pincode = map.get("pincode");
    for (at, heading) in headings.iter().enumerate() {
        if may_be_pin(heading) || pincode.is_some_and(|wanted| is_heading(heading, at, wanted)) {
            columns[at] = Some(Column::PinCode);
        }
    }
    let mapped = map.iter().filter_map(|(ours, heading)| Some((heading.as_str(), Column::named(ours)?)));
    let own = Column::ALL.iter().map(|column| (column.as_str(), *column)).chain(ALIASES);
    let mut taken = BTreeSet::from([Column::PinCode]);
    for (wanted, column) in mapped.chain(own) {
        if taken.contains(&column) && column != Column::Recording {
            continue;
        }
        let fits: Vec<usize> = headings
            .iter()
            .enumerate()
            .filter(|(at, heading)| columns[*at].is_none() && is_heading(heading, *at, wanted))
            .map(|(at, _)| at)
            .collect();
        let Some(first) = fits.first() else { continue };
        if column != Column::Recording {
            columns[*first] = Some(column);
        } else if recordings.is_empty() {
            recordings.clone_from(&fits);
            if let [only] = fits[..] {
                columns[only] = Some(Column::Recording);
            }
        }
        taken.insert(column);
    }
    (columns, recordings)
}

/// Whether the heading at a place is this one: as a text in any encoding, or by its number, `#12`.
pub(super) fn is_heading(heading: &[u8], at: usize, wanted: &str) -> bool {
    let by_number = wanted.trim().strip_prefix('#').and_then(|number| number.parse::<usize>().ok());
    by_number == Some(at + 1) || readings(heading.trim_ascii()).any(|text| is_same_heading(&text, wanted))
}

/// Whether two headings are one, but for case, blanks, underscores, hyphens, quotes and marks.
pub(super) fn is_same_heading(one: &str, other: &str) -> bool {
    let one = key(one);
    !one.is_empty() && one == key(other)
}

fn key(heading: &str) -> String {
    let is_dropped = |character: char| {
        character.is_whitespace()
            || character.is_control()
            || matches!(character, '_' | '-' | '"' | '\'' | '`' | '\u{feff}' | '\u{200b}')
    };
    heading.chars().filter(|character| !is_dropped(*character)).flat_map(char::to_lowercase).collect()
}

/// The headings as people read them, in the encoding that they are most likely in.
pub(super) fn heading_names(headings: &ByteRecord) -> Vec<String> {
    let encoding = guess_encoding(headings);
    let name = |heading: &[u8]| {
        encoding.decode_without_bom_handling(heading.trim_ascii()).0.trim_matches('\u{feff}').to_owned()
    };
    headings.iter().map(name).collect()
}

/// The encoding that headings are most likely in.
fn guess_encoding(headings: &ByteRecord) -> &'static encoding_rs::Encoding {
    let bytes = headings.as_slice();
    if std::str::from_utf8(bytes).is_ok() {
        return encoding_rs::UTF_8;
    }
    let mut detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    detector.guess(None, chardetng::Utf8Detection::Allow)
}

/// A heading as the file has it; one that is empty, comes again or would pass for a column of ours gets its position.
fn unique_heading(heading: &[u8], at: usize, seen: &mut BTreeSet<Text>) -> Text {
    let mut heading = Text::from_bytes(heading);
    let is_ours = |heading: &Text| {
        heading.as_str().is_some_and(|text| Column::named(&text.trim().to_lowercase()).is_some())
    };
    while heading.is_empty()
        || is_ours(&heading)
        || heading.as_str() == Some(super::row::MARK)
        || !seen.insert(heading.clone())
    {
        heading = Text::Utf8(format!("{}#{}", heading.as_str().unwrap_or_default(), at + 1));
    }
    heading
}
