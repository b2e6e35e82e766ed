//! The CDR as the PBX's API exports it: CSV for a range of its local time (`docs/pbx-api.md` §6), read as typed rows.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use jiff::civil::DateTime;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};

use crate::base::digest::Digest;
use crate::base::recording::Text;
use crate::config::Generation;
use crate::formats::cdr::{CdrItem, CdrReader};
use crate::pbx::body::{Body, Kind};
use crate::pbx::error::{Failure, PbxError, Policy, Reason, Result};
use crate::pbx::http::{Request, parameter};
use crate::pbx::s_series::download::Download;
use crate::pbx::s_series::policy::{Family, Stage};
use crate::pbx::s_series::slot::{Answer, Slot};
use crate::pbx::s_series::{Action, TICKETS_MAX};
use crate::pbx::{Asked, Audio as _, Calls, Expected, Listed};

impl Slot {
    /// Reads the CDR from `from` to `to`, both in the PBX's local time and both included; `None` if the PBX says that
    /// there are no calls. `unsupported` without a request for v1.0.x, which has no such call.
    pub(super) async fn cdr(mut self, from: DateTime, to: DateTime) -> Result<Option<Download>> {
        let text = |time: DateTime| time.strftime("%Y-%m-%d %H:%M:%S").to_string();
        let (from, to) = (text(from), text(to));
        let doing = format!("reading the CDR from {from} to {to}");
        if self.shared.config.api_version.generation == Generation::V1_0 {
            let action = self.shared.action(Family::Cdr, Stage::GetRandom, doing);
            let what = "API v1.0 has no CDR download; give its CSV export with `cdr_folder` or `--cdr`";
            return Err(self.shared.error(&action, Failure::new(Reason::Unsupported, what)));
        }
        let range = [(self.extension_key(), "all".to_owned()), ("starttime", from), ("endtime", to)];
        let mut tickets = 1;
        loop {
            match self.read_cdr(&range, &doing).await {
                Ok(body) => return Ok(Some(body)),
                Err(error) if error.policy() == Policy::Empty => return Ok(None),
                Err(error) if error.policy().wants_another_ticket() && tickets < TICKETS_MAX => tickets += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads a range, given in the words of the API.
    async fn read_cdr(&mut self, range: &[(&str, String)], doing: &str) -> Result<Download> {
        let shared = Arc::clone(&self.shared);
        let asking = shared.action(Family::Cdr, Stage::GetRandom, doing);
        let (body, mut query) = self.ticket_members(range);
        let (random, Answer { token, .. }) = self.random(&asking, body).await?;
        query.extend([token.parameter(), parameter("random", random.expose_secret().as_bytes())]);
        let action = shared.action(Family::Cdr, Stage::Download, doing);
        match self.open_cdr(&action, query.join("&")).await {
            Ok(body) => Ok(self.hand_over(body, action).await),
            Err(failure) => Err(shared.refused(&action, failure, &token).await),
        }
    }

    async fn open_cdr(&mut self, action: &Action, query: String) -> Result<Body, Failure> {
        self.spend_admission(Stage::Download).await;
        self.hold_lease().await.open().await;
        let shared = Arc::clone(&self.shared);
        shared.counters.note(|counted| counted.requests += 1);
        let bytes_max = shared.config.limits.cdr_bytes_max;
        let request = shared.request(action.place, query);
        let request = Request { timeout: shared.config.limits.cdr_timeout, bytes_max, ..request };
        let mut body = shared.http.send(request).await?;
        body.inflate(bytes_max).await?;
        Err(match body.kind().await? {
            Kind::Json => self.refusal(action.place, &mut body).await,
            Kind::Html => {
                let page = shared.http.page(&mut body).await;
                Failure::new(Reason::HtmlBody, format!("{page} came instead of the CSV"))
            }
            Kind::Empty => Failure::new(Reason::EmptyBody, "nothing came instead of the CSV"),
            Kind::Audio | Kind::AudioCut | Kind::Other => return Ok(body),
        })
    }
}

/// Rows as they arrive. The last one is held back until it is known to be whole.
pub(super) struct CsvCalls {
    pbx: String,
    /// `None` where the PBX says that there are no calls.
    body: Option<Download>,
    reader: CdrReader,
    /// The serial number of the last row, or the one learnt before.
    known_sn: Option<Text>,
    /// What the whole list is expected to be; taken when it is known whether it is.
    expected: Option<Digest>,
    /// What came and was not read yet.
    held: VecDeque<Bytes>,
    has_ended: bool,
    hash: Sha256,
    last: Option<CdrItem>,
    size_bytes: u64,
}

/// A list that is longer is read while it comes, whether it has changed or not.
const HELD_BYTES_MAX: u64 = 8 << 20;

impl Calls for CsvCalls {
    fn next(&mut self) -> Asked<'_, Listed> {
        Box::pin(self.next_listed())
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn sha256(&self) -> Option<Digest> {
        self.has_ended.then(|| self.hash.clone().into())
    }
}

impl CsvCalls {
    pub(super) fn new(pbx: String, body: Option<Download>, reader: CdrReader, expected: Expected) -> Self {
        Self {
            pbx,
            body,
            reader,
            known_sn: expected.sn,
            expected: expected.sha256,
            held: VecDeque::new(),
            has_ended: false,
            hash: Sha256::new(),
            last: None,
            size_bytes: 0,
        }
    }

    async fn next_listed(&mut self) -> Result<Listed> {
        if self.body.is_none() {
            return Ok(Listed::Whole);
        }
        if let Some(expected) = self.expected.take()
            && self.is_all(expected).await?
        {
            return Ok(Listed::Unchanged);
        }
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
            let bytes = match self.held.pop_front() {
                None => self.receive().await?,
                held => held,
            };
            match bytes {
                Some(bytes) => self.reader.push(&bytes),
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

    /// Whether all that comes has this hash. What came until that was known is held, to be read.
    async fn is_all(&mut self, expected: Digest) -> Result<bool> {
        while self.size_bytes <= HELD_BYTES_MAX {
            match self.receive().await? {
                Some(bytes) => self.held.push_back(bytes),
                None => return Ok(self.sha256() == Some(expected)),
            }
        }
        Ok(false)
    }

    async fn receive(&mut self) -> Result<Option<Bytes>> {
        let bytes = match &mut self.body {
            Some(body) if !self.has_ended => body.next().await?,
            _ => None,
        };
        self.has_ended = bytes.is_none();
        if let Some(bytes) = &bytes {
            self.size_bytes += bytes.len() as u64;
            self.hash.update(bytes);
        }
        Ok(bytes)
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

/// How the last row of a CDR ended: the end of the connection is all that ends the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Whole,
    CutOff,
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
