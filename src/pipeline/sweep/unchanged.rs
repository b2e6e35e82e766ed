//! A list whose bytes are those of its last whole reading is not read again: nothing that it says is news.
//!
//! Only a list that left nothing open is known again: each of its lines could be read and believed, it came in one answer, and
//! no call was known of its day that it lacked. Whatever else decides what a list says must be as it was.

use anyhow::Result;

use super::Sweeper;
use super::closing::End;
use super::parts::Part;
use super::reading::Reading;
use crate::base::digest::Digest;
use crate::config::{ExclusionRule, PbxConfig};
use crate::store::calls::{self, KnownList};
use crate::store::evidence::Verdict;
use crate::store::fleet::Remembered;

/// To be raised when the same bytes are to say something else than before.
const READER: u32 = 1;

/// What decides, besides its bytes, what a list says; `asked` is none of a file.
pub(super) fn read_by(
    pbx: &PbxConfig,
    rules: &[ExclusionRule],
    known: &Remembered,
    asked: Option<Part>,
) -> Digest {
    let by = (READER, env!("CARGO_PKG_VERSION"));
    let settings = (&pbx.cdr_columns, &pbx.cdr_keep_columns, &pbx.timezone, rules);
    Digest::of(format!("{:?}", (by, settings, &known.sn, known.utc_offset_s, asked)))
}

impl Sweeper<'_> {
    /// What the list of a reading that begins was when it was read last; `None` if it has to be read.
    pub(super) async fn known_list(&self, reading: &Reading) -> Result<Option<KnownList>> {
        if !reading.list.open.is_empty() {
            return Ok(None);
        }
        let mut db = self.site.db().read().await?;
        let known = calls::known_list(&mut db, self.site.id(), &reading.source).await?;
        Ok(known.filter(|known| known.read_by_sha256 == reading.facts.read_by))
    }

    /// As [`known_list`](Self::known_list), of a day that is asked for. A PBX that may cut its lists is not believed that this
    /// one is whole, and what a list lacks is seen by reading it.
    pub(super) async fn known_day(&self, reading: &Reading) -> Result<Option<KnownList>> {
        if self.limits().suspected.is_some() {
            return Ok(None);
        }
        let Some(known) = self.known_list(reading).await? else { return Ok(None) };
        let mut db = self.site.db().read().await?;
        let calls = calls::count_of_day(&mut db, self.site.id(), reading.day).await?;
        Ok(Some(known).filter(|known| known.calls_of_day == calls))
    }
}

impl Reading {
    /// Takes the whole list for what it was before, and returns how many rows that are.
    pub(super) fn take_unchanged(&mut self, known: Option<&KnownList>) -> u64 {
        let Some(known) = known else { return 0 };
        self.counts.rows += known.rows;
        self.seen.note_unread(known.calls_of_day);
        self.is_unchanged = true;
        known.rows
    }
}

impl End {
    /// What is to be known of this list when it comes again; `None` if it left anything open.
    pub(super) fn list_to_know(&self) -> Option<KnownList> {
        let Self { reading, verdict: (verdict, _), doubtful, .. } = self;
        let is_clean = *verdict == Verdict::Whole
            && self.covered.is_read()
            && reading.counts.bad_rows == 0
            && doubtful.is_empty()
            && reading.list.open.is_empty()
            && !reading.leaves_findings;
        // Of a list so long nobody knows how many calls it held.
        let sha256 = reading.list.sha256.filter(|_| is_clean && !reading.seen.is_forgotten)?;
        // An answer that had to be asked for again has brought its rows twice.
        let rows = if reading.list.parts == 1 { reading.list.size.rows } else { reading.counts.rows };
        let calls_of_day = reading.seen.calls_of_day;
        Some(KnownList { sha256, read_by_sha256: reading.facts.read_by, rows, calls_of_day })
    }
}
