//! One answer of a PBX about its calls: its rows as they arrive, how much it held, and whether it ended where it should.

use jiff::civil::DateTime;

use super::Sweeper;
use super::parts::Part;
use super::reading::Reading;
use crate::base::recording::Text;
use crate::formats::cdr::CdrItem;
use crate::pbx::{CdrBody, PbxError, Reason, Slot};
use crate::store::evidence::ListSize;

/// What an answer held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) size: ListSize,
    /// When its calls began, by the PBX's clock.
    pub(super) starts: Vec<DateTime>,
}

impl Answer {
    fn note(&mut self, item: &CdrItem) {
        self.size.rows += 1;
        if let CdrItem::Row(row) = item {
            self.starts.extend(row.local_start());
        }
    }
}

impl Sweeper<'_> {
    /// Asks for a part once. Doubtful lines of an answer that broke off are forgotten: the next one has them too, if they
    /// are in the list.
    pub(super) async fn read_once(
        &self,
        slot: Slot,
        reading: &mut Reading,
        part: Part,
    ) -> anyhow::Result<Result<Answer, PbxError>> {
        let doubtful = reading.list.doubtful();
        let answer = match slot.cdr(part.from, part.to).await {
            Ok(Some(body)) => self.take_body(reading, body).await?,
            Ok(None) => Ok(Answer::default()),
            Err(error) => Err(error),
        };
        if answer.is_err() {
            reading.list.forget_doubtful(doubtful);
        }
        Ok(answer)
    }

    /// Takes the rows as they arrive. Rows of a body that breaks off are kept: the next try stores them again.
    async fn take_body(
        &self,
        reading: &mut Reading,
        mut body: CdrBody,
    ) -> anyhow::Result<Result<Answer, PbxError>> {
        let mut answer = Answer::default();
        let mut reader = self.reader().of_pbx();
        let mut last = None;
        loop {
            match body.next().await {
                Ok(Some(bytes)) => {
                    answer.size.bytes += bytes.len() as u64;
                    reader.push(&bytes);
                }
                Ok(None) => reader.finish(),
                Err(error) => return Ok(Err(error)),
            }
            loop {
                match reader.next_item() {
                    Ok(Some(item)) => {
                        answer.note(&item);
                        if let Some(item) = last.replace(item) {
                            self.take(reading, item).await?;
                        }
                    }
                    Ok(None) => break,
                    Err(problem) => {
                        return Ok(Err(PbxError::broken_cdr(
                            &self.pbx.id,
                            Reason::Protocol,
                            problem.to_string(),
                        )));
                    }
                }
            }
            if reader.is_finished() {
                break;
            }
        }
        let Some(last) = last else { return Ok(Ok(answer)) };
        let whole = match ending(&last, reading.last_sn.as_ref()) {
            Ending::Whole => true,
            Ending::CutOff => false,
            // A connection that is lost is not lost at the same place again.
            Ending::Unknown => reading.unsure.replace(last.clone()).is_some_and(|before| before == last),
        };
        if !whole {
            let ended = "the CDR ended within a row".to_owned();
            return Ok(Err(PbxError::broken_cdr(&self.pbx.id, Reason::Truncated, ended)));
        }
        self.take(reading, last).await.map(|()| Ok(answer))
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
