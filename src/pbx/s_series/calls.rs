//! The calls of a range as typed rows, and whether the list came whole.

use futures_util::future::BoxFuture;

use super::CdrBody;
use crate::base::recording::Text;
use crate::formats::cdr::{CdrItem, CdrReader};
use crate::pbx::error::{PbxError, Policy, Reason};
use crate::pbx::{Calls, Listed};

/// Rows as they arrive. The last one is held back until it is known to be whole.
pub(super) struct CsvCalls {
    pub(super) pbx: String,
    /// `None` where the PBX says that there are no calls.
    pub(super) body: Option<CdrBody>,
    pub(super) reader: CdrReader,
    /// The serial number of the last row, or the one learnt before.
    pub(super) known_sn: Option<Text>,
    pub(super) last: Option<CdrItem>,
    pub(super) size_bytes: u64,
}

impl Calls for CsvCalls {
    fn next(&mut self) -> BoxFuture<'_, Result<Listed, PbxError>> {
        Box::pin(self.next_listed())
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

impl CsvCalls {
    async fn next_listed(&mut self) -> Result<Listed, PbxError> {
        let Some(body) = &mut self.body else { return Ok(Listed::Whole) };
        loop {
            match self.reader.next_item() {
                Ok(Some(item)) => {
                    if let Some(item) = self.last.replace(item) {
                        return Ok(self.listed(item));
                    }
                    continue;
                }
                Ok(None) if self.reader.is_finished() => break,
                Ok(None) => {}
                Err(problem) => return Err(self.broken(Reason::Protocol, problem.to_string())),
            }
            match body.next().await? {
                Some(bytes) => {
                    self.size_bytes += bytes.len() as u64;
                    self.reader.push(&bytes);
                }
                None => self.reader.finish(),
            }
        }
        let Some(last) = self.last.take() else { return Ok(Listed::Whole) };
        match ending(&last, self.known_sn.as_ref()) {
            Ending::Whole => Ok(self.listed(last)),
            Ending::CutOff => Err(self.broken(Reason::Truncated, "the CDR ended within a row".to_owned())),
            Ending::Unknown => Ok(Listed::Unsure(last)),
        }
    }

    fn listed(&mut self, item: CdrItem) -> Listed {
        if let CdrItem::Row(row) = &item
            && !row.is_shifted()
        {
            self.known_sn = Some(row.sn.clone());
        }
        Listed::Item(item)
    }

    fn broken(&self, reason: Reason, what: String) -> PbxError {
        PbxError::new(&self.pbx, Policy::Retry, reason, what)
    }
}

/// How a CDR ended: the end of the connection is all that ends the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// With its last row.
    Whole,
    /// Within it.
    CutOff,
    /// One way or the other.
    Unknown,
}

/// Whether the last row is whole. Some devices never end their last line: where the serial number is the last column, it
/// tells; it is the one of the row before, or else the one that the PBX is known by.
fn ending(last: &CdrItem, known_sn: Option<&Text>) -> Ending {
    let row = match last {
        CdrItem::Row(row) if row.ended_without_newline => row,
        CdrItem::BadRow(bad) if bad.ended_without_newline => return Ending::CutOff,
        CdrItem::Row(_) | CdrItem::BadRow(_) => return Ending::Whole,
    };
    match known_sn {
        Some(known) if row.ends_in_sn && *known == row.sn => Ending::Whole,
        Some(_) if row.ends_in_sn && !row.sn.is_empty() => Ending::CutOff,
        _ => Ending::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::cdr::CdrReader;

    /// The last item of a CDR of one call and no more.
    fn last_item(header: &str, last_line: &str) -> CdrItem {
        let mut reader = CdrReader::new(&std::collections::BTreeMap::new());
        reader.push(format!("{header}\n{last_line}").as_bytes());
        reader.finish();
        let items = std::iter::from_fn(|| reader.next_item().unwrap());
        items.last().unwrap()
    }

    #[test]
    fn a_row_that_the_connection_broke_off_is_told_by_its_serial_number() {
        let (known, none) = (Text::Utf8("3631A".to_owned()), Text::default());
        let table = [
            ("17.1,2024-03-01 12:00:00,a.wav,3631A\n", Some(&known), Ending::Whole),
            ("17.1,2024-03-01 12:00:00,a.wav,3631A", Some(&known), Ending::Whole),
            ("17.1,2024-03-01 12:00:00,a.wav,36", Some(&known), Ending::CutOff),
            ("17.1,2024-03-01 12:00:00,a.wav,36\n", Some(&known), Ending::Whole),
            ("17.1,2024-03-01 12:00:00,a.wav,36", None, Ending::Unknown),
            // A device that names itself in no row, or one whose connection was lost before it did.
            ("17.1,2024-03-01 12:00:00,a.wav,", Some(&known), Ending::Unknown),
            ("17.1,2024-03-01 12:00:00,a.wav,", Some(&none), Ending::Whole),
            ("17.1,2024-03-01 12", Some(&known), Ending::CutOff),
            ("17.1,2024-03-01 12\n", Some(&known), Ending::Whole),
        ];
        for (line, known, expected) in table {
            let last = last_item("callid,timestart,recording,sn", line);
            assert_eq!(ending(&last, known), expected, "{line:?} {known:?}");
        }
        // What the last cell was to be, nothing tells.
        let last = last_item("callid,timestart,recording", "17.1,2024-03-01 12:00:00,a.w");
        assert_eq!(ending(&last, Some(&none)), Ending::Unknown);
    }
}
