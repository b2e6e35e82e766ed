//! One answer of a PBX about its calls: its rows as they arrive, how much it held, and whether it ended where it should.

use jiff::civil::DateTime;

use super::Sweeper;
use super::parts::Part;
use super::reading::Reading;
use crate::formats::cdr::CdrItem;
use crate::pbx::{Calls, Listed, PbxError, Policy, Reason, Slot};
use crate::store::evidence::ListSize;

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
        slot: Box<dyn Slot>,
        reading: &mut Reading,
        part: Part,
    ) -> anyhow::Result<Result<Answer, PbxError>> {
        let doubtful = reading.list.doubtful();
        let answer = match slot.calls(part.from, part.to, reading.last_sn.clone()).await {
            Ok(calls) => self.take_calls(reading, calls).await?,
            Err(error) => Err(error),
        };
        if answer.is_err() {
            reading.list.forget_doubtful(doubtful);
        }
        Ok(answer)
    }

    /// Takes the rows as they arrive. Rows of an answer that breaks off are kept: the next try stores them again.
    async fn take_calls(
        &self,
        reading: &mut Reading,
        mut calls: Box<dyn Calls>,
    ) -> anyhow::Result<Result<Answer, PbxError>> {
        let mut answer = Answer::default();
        loop {
            let next = calls.next().await;
            answer.size.bytes = calls.size_bytes();
            match next {
                Ok(Listed::Item(item)) => {
                    answer.note(&item);
                    self.take(reading, item).await?;
                }
                Ok(Listed::Whole) => return Ok(Ok(answer)),
                Ok(Listed::Unsure(last)) => {
                    answer.note(&last);
                    // A connection that is lost is not lost at the same place again.
                    let is_whole = reading.unsure.replace(last.clone()).is_some_and(|before| before == last);
                    if !is_whole {
                        let what = "the CDR ended within a row";
                        let (policy, reason) = (Policy::Retry, Reason::Truncated);
                        return Ok(Err(PbxError::new(&self.pbx.id, policy, reason, what)));
                    }
                    self.take(reading, last).await?;
                    return Ok(Ok(answer));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }
}
