//! Whether the values of a row stand in other columns than their own: a separator too many here, one too few there.
//!
//! Only what a row shows by itself counts, so that a line is judged alike wherever it stands. A value that is merely odd
//! shifts nothing: words for states and directions are open sets, and a recording's name may be anything.

use std::cell::OnceCell;

use crate::base::times::parse_local;
use crate::formats::cdr::Reported;
use crate::formats::cdr::header::Column;
use crate::formats::cdr::row::normal;
use crate::formats::cdr::start::epoch_in;
use crate::formats::cdr::value::{is_nothing, is_number, seconds};

/// Words for how a call ended (`docs/pbx-api.md` §6.4), as [`normal`] has them.
const STATUSES: [&str; 6] = ["answered", "noanswer", "noanswered", "busy", "failed", "voicemail"];

const TYPES: [&str; 6] = ["inbound", "outbound", "internal", "callback", "transfer", "warning"];

const AUDIO: [&str; 12] =
    [".wav", ".wav49", ".mp3", ".gsm", ".ogg", ".opus", ".amr", ".au", ".flac", ".yswav", ".aac", ".m4a"];

/// What a value is known to be by its form alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Nothing,
    DateTime,
    /// `<epoch>.<seq>`.
    CallId,
    Name,
    Status,
    Type,
    /// `0:58`, `1:02:03`.
    Clock,
    Number,
    /// Begins with a letter.
    Word,
    Other,
}

impl Form {
    fn of(value: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(value) else { return Self::Other };
        let text = text.trim();
        // Most cells are numbers: what follows is for others.
        if is_number(text) {
            return Self::Number;
        }
        let word = OnceCell::new();
        let is_word_of = |words: &[&str]| words.contains(&&**word.get_or_init(|| normal(text)));
        match () {
            () if is_nothing(text) => Self::Nothing,
            () if is_date_time(text) => Self::DateTime,
            () if is_call_id(text) => Self::CallId,
            () if is_name(value) => Self::Name,
            () if is_word_of(&STATUSES) => Self::Status,
            () if is_word_of(&TYPES) => Self::Type,
            () if text.contains(':') && matches!(seconds(value), Reported::Known(_)) => Self::Clock,
            () if text.starts_with(char::is_alphabetic) => Self::Word,
            () => Self::Other,
        }
    }
}

/// A whole date with a whole time. A spreadsheet's date counts too, for it stands in a column of its own as well.
fn is_date_time(text: &str) -> bool {
    parse_local(text).is_some() || {
        let is_part = |byte: u8| byte.is_ascii_digit() || b"/-.: ".contains(&byte);
        text.len() >= 12
            && text.bytes().all(is_part)
            && text.contains(':')
            && text.contains(' ')
            && text.matches(['/', '-', '.']).count() == 2
    }
}

fn is_call_id(text: &str) -> bool {
    let Some((epoch, seq)) = text.split_once(['.', '_']) else { return false };
    is_number(epoch) && is_number(seq) && epoch_in(text).is_some()
}

/// Whether a value is the name of a recording for certain: that of a PBX, or that of an audio file.
pub(super) fn is_name(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    is_audio_name(value) || is_name_of_pbx(text.trim())
}

/// Whether a name ends as audio files' names do.
pub(super) fn is_audio_name(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let text = text.trim().as_bytes();
    AUDIO.iter().any(|ending| {
        let name = text.len().checked_sub(ending.len()).filter(|name| *name > 0);
        name.is_some_and(|name| text[name..].eq_ignore_ascii_case(ending.as_bytes()))
    })
}

/// `YYYYMMDDHHMMSS-<epoch>.<seq>-…` (`docs/pbx-api.md` §8).
fn is_name_of_pbx(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let stamp = parts.next().unwrap_or_default();
    let is_stamp = stamp.len() == 14 && is_number(stamp);
    is_stamp && parts.next().is_some_and(is_call_id) && parts.next().is_some()
}

/// Whether something runs on into a recording's name without a separator: a PIN code before it, that was a field.
fn has_run_into_name(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let Some(dash) = text.find('-').filter(|dash| *dash > 14) else { return false };
    text.is_char_boundary(dash - 14)
        && is_name_of_pbx(&text[dash - 14..])
        && text[..dash - 14].chars().next_back().is_some_and(char::is_alphanumeric)
}

/// Whether a word of a set is followed by what belongs to the next column.
fn has_run_on(value: &[u8], words: &[&str]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let word = normal(text);
    let is_other = |rest: &str| {
        rest.starts_with(|character: char| character.is_ascii_digit())
            || STATUSES.contains(&rest)
            || TYPES.contains(&rest)
    };
    words.iter().any(|known| word.strip_prefix(known).is_some_and(is_other))
}

/// The row as its columns have it.
pub(super) struct Cells<'a> {
    cells: Vec<(Option<Column>, &'a [u8], Form)>,
}

impl<'a> Cells<'a> {
    pub(super) fn new(cells: impl IntoIterator<Item = (Option<Column>, &'a [u8])>) -> Self {
        let formed = |(column, value): (Option<Column>, &'a [u8])| {
            let value = value.trim_ascii();
            (column, value, Form::of(value))
        };
        Self { cells: cells.into_iter().map(formed).collect() }
    }

    fn form(&self, wanted: Column) -> Option<Form> {
        self.cells.iter().find(|(column, ..)| *column == Some(wanted)).map(|(.., form)| *form)
    }

    /// Whether the values stand in other columns than their own: one that can be nowhere else, or two that should not.
    pub(super) fn are_shifted(&self) -> bool {
        let own = || self.cells.iter().filter_map(|(column, value, form)| Some(((*column)?, *value, *form)));
        own().any(|(at, value, form)| self.is_foreign(at, value, form))
            || own().filter(|(at, _, form)| is_odd(*at, *form)).count() >= 2
    }

    /// Whether a value belongs into another column for certain.
    fn is_foreign(&self, at: Column, value: &[u8], form: Form) -> bool {
        // A name or a trunk may be any text; the columns of numbers and words may not.
        let is_narrow =
            !matches!(at, Column::CallFrom | Column::CallTo | Column::SrcTrunk | Column::DstTrunk);
        let lacks = |own: Column, wanted: Form| self.form(own).is_some_and(|form| form != wanted);
        let misplaced = match form {
            Form::DateTime => {
                let is_free = !is_narrow || at == Column::Recording;
                at != Column::TimeStart && (lacks(Column::TimeStart, Form::DateTime) || !is_free)
            }
            Form::CallId => {
                at != Column::CallId
                    && at != Column::Recording
                    && lacks(Column::CallId, Form::CallId)
                    && is_narrow
            }
            Form::Name => {
                at != Column::Recording && (is_narrow || lacks(Column::Recording, Form::Name)) && {
                    lacks(Column::Recording, Form::Name)
                        || !matches!(at, Column::DidNumber | Column::Sn | Column::PinCode)
                }
            }
            Form::Status => at != Column::Status && is_narrow && lacks(Column::Status, Form::Status),
            Form::Type => at != Column::Type && is_narrow && lacks(Column::Type, Form::Type),
            Form::Clock => at == Column::Recording,
            _ => false,
        };
        let run_on = match at {
            Column::Status => has_run_on(value, &STATUSES),
            Column::Type => has_run_on(value, &TYPES),
            Column::PinCode | Column::DidNumber | Column::Sn => has_run_into_name(value),
            Column::Recording => {
                has_run_into_name(value) && self.form(Column::PinCode) == Some(Form::Nothing)
            }
            _ => false,
        };
        misplaced || run_on
    }

    /// The one value that is the name of a recording for certain, wherever it stands.
    pub(super) fn recording(&self) -> Option<&'a [u8]> {
        let is_clean = |value: &[u8]| !has_run_into_name(value);
        let own = self.cells.iter().find(|(column, ..)| *column == Some(Column::Recording));
        if let Some((_, value, Form::Name)) = own.filter(|(_, value, _)| is_clean(value)) {
            return Some(value);
        }
        let mut names = self.cells.iter().filter(|(_, value, form)| *form == Form::Name && is_clean(value));
        let only = names.next().map(|(_, value, _)| *value);
        only.filter(|_| names.next().is_none())
    }

    /// The value of a column, if it is of the form that this column has.
    pub(super) fn own(&self, at: Column) -> Option<&'a [u8]> {
        let form = match at {
            Column::CallId => Form::CallId,
            Column::TimeStart => Form::DateTime,
            _ => return None,
        };
        let (_, value, _) = self.cells.iter().find(|(column, _, own)| *column == Some(at) && *own == form)?;
        Some(value)
    }
}

/// Whether a value should not stand in its column: one alone may be an odd value, two are a shift.
fn is_odd(at: Column, form: Form) -> bool {
    match at {
        Column::CallDuration | Column::TalkDuration => matches!(form, Form::Word),
        Column::Status | Column::Type => matches!(form, Form::Number | Form::Clock),
        Column::TimeStart => matches!(form, Form::Number | Form::Word),
        Column::CallId => matches!(form, Form::Word),
        Column::Recording => matches!(form, Form::Number),
        _ => false,
    }
}

/// Whether the values of a line without a header are those of a call: a start and a call's id or a recording's name.
pub(super) fn looks_like_a_call(fields: &csv::ByteRecord) -> bool {
    let forms: Vec<Form> = fields.iter().map(|field| Form::of(field.trim_ascii())).collect();
    forms.contains(&Form::DateTime) && (forms.contains(&Form::CallId) || forms.contains(&Form::Name))
}
