//! How a list writes its fields, and the fields of one record.

use std::io::Cursor;

use csv::ByteRecord;

/// The separators that are tried, the PBX's own first.
pub(super) const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quote: u8,
    /// Whether blanks stand between a separator and a quote. They are told by the header alone: in a list without them a
    /// quote after a blank is part of a name.
    pub(super) has_blanks: bool,
    /// Whether each line is one quoted field as a whole.
    pub(super) is_wrapped: bool,
}

impl Dialect {
    pub(super) const PBX: Self = Self { delimiter: b',', quote: b'"', has_blanks: false, is_wrapped: false };
}

/// Splits one record into its fields by the `csv` crate, without a new reader for each.
pub(super) struct FieldParser {
    dialect: Dialect,
    reader: csv::Reader<Cursor<Vec<u8>>>,
    record: ByteRecord,
    fed: u64,
}

impl FieldParser {
    pub(super) fn new(dialect: Dialect) -> Self {
        let mut builder = csv::ReaderBuilder::new();
        builder.has_headers(false).flexible(true).delimiter(dialect.delimiter).quote(dialect.quote);
        Self {
            dialect,
            reader: builder.from_reader(Cursor::new(Vec::new())),
            record: ByteRecord::new(),
            fed: 0,
        }
    }

    /// The fields of a whole record; `None` if `csv` sees more or less than one record in it.
    pub(super) fn parse(&mut self, bytes: &[u8]) -> Option<&ByteRecord> {
        if self.dialect.has_blanks {
            self.parse_plain(&without_blanks(bytes, self.dialect))?;
            return Some(&self.record);
        }
        self.parse_plain(bytes)?;
        if self.dialect.is_wrapped && self.record.len() == 1 {
            let inner = self.record.get(0).unwrap_or_default().to_vec();
            self.parse_plain(&inner)?;
        }
        Some(&self.record)
    }

    /// The fields of the record that was parsed last.
    pub(super) fn last(&self) -> &ByteRecord {
        &self.record
    }

    fn parse_plain(&mut self, bytes: &[u8]) -> Option<()> {
        let source = self.reader.get_mut();
        source.set_position(0);
        source.get_mut().clear();
        source.get_mut().extend_from_slice(bytes);
        source.get_mut().push(b'\n');
        self.fed += bytes.len() as u64 + 1;
        let whole = matches!(self.reader.read_byte_record(&mut self.record), Ok(true));
        if whole && self.reader.position().byte() == self.fed {
            return Some(());
        }
        // Whatever it still holds belongs to this record.
        *self = Self::new(self.dialect);
        None
    }
}

/// How many blanks come first.
fn blanks(bytes: &[u8], dialect: Dialect) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t') && **byte != dialect.delimiter).count()
}

/// Whether blanks stand between a separator and a quote in this line.
pub(super) fn has_blanks(line: &[u8], dialect: Dialect) -> bool {
    without_blanks(line, dialect).len() != line.len()
}

/// The record without the blanks before fields that are quoted as a whole, and after them.
fn without_blanks(mut rest: &[u8], dialect: Dialect) -> Vec<u8> {
    let mut out = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let before = blanks(rest, dialect);
        let field = &rest[before..];
        let (kept, len) = match quoted_len(field, dialect) {
            Some((quoted, after)) => (&field[..quoted], before + quoted + after),
            None => {
                let end = field.iter().position(|byte| *byte == dialect.delimiter).unwrap_or(field.len());
                (&rest[..before + end], before + end)
            }
        };
        out.extend_from_slice(kept);
        rest = &rest[len..];
        if let Some((delimiter, after)) = rest.split_first() {
            out.push(*delimiter);
            rest = after;
        }
    }
    out
}

/// The length of a quoted field and that of the blanks after it, if a separator or the end follows.
fn quoted_len(field: &[u8], dialect: Dialect) -> Option<(usize, usize)> {
    if field.first() != Some(&dialect.quote) {
        return None;
    }
    let mut at = 1;
    loop {
        at += field[at..].iter().position(|byte| *byte == dialect.quote)?;
        if field.get(at + 1) != Some(&dialect.quote) {
            break;
        }
        at += 2;
    }
    let end = at + 1;
    let after = blanks(&field[end..], dialect);
    field.get(end + after).is_none_or(|byte| *byte == dialect.delimiter).then_some((end, after))
}

/// The separator that a first line `sep=;` names.
pub(super) fn named_delimiter(line: &[u8]) -> Option<u8> {
    let line = line.trim_ascii();
    let line = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
    let (key, rest) = line.split_at_checked(4)?;
    if !key.eq_ignore_ascii_case(b"sep=") {
        return None;
    }
    match rest {
        // A tab at the end of the line was trimmed.
        [] => Some(b'\t'),
        [delimiter, ..] => DELIMITERS.contains(delimiter).then_some(*delimiter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str, dialect: Dialect) -> Vec<String> {
        let mut parser = FieldParser::new(dialect);
        let record = parser.parse(line.as_bytes()).unwrap();
        record.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect()
    }

    #[test]
    fn blanks_around_quoted_fields_are_none_of_theirs() {
        let blanks = Dialect { has_blanks: true, ..Dialect::PBX };
        assert!(has_blanks(br#""a", "b""#, Dialect::PBX) && !has_blanks(br#""a","b", c"#, Dialect::PBX));
        assert_eq!(fields(r#""a", "b, ""c""" ,d , "" "#, blanks), ["a", "b, \"c\"", "d ", ""]);
        assert_eq!(fields(r#" "John" <1001>,x"#, blanks), [" \"John\" <1001>", "x"]);
    }

    #[test]
    fn a_line_may_be_wrapped_as_a_whole() {
        let wrapped = Dialect { is_wrapped: true, ..Dialect::PBX };
        assert_eq!(fields(r#""a,""b,c"",d""#, wrapped), ["a", "b,c", "d"]);
    }

    #[test]
    fn a_line_may_name_the_separator() {
        for (line, wanted) in [
            ("sep=;", Some(b';')),
            ("SEP=,\r", Some(b',')),
            ("\"sep=|\"", Some(b'|')),
            ("sep=\t", Some(b'\t')),
            ("sep=x", None),
            ("separator", None),
            ("", None),
        ] {
            assert_eq!(named_delimiter(line.as_bytes()), wanted, "{line:?}");
        }
    }
}
