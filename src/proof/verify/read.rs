//! Reading units on as many threads as there are cores, a page at a time; the database works meanwhile. The files of a unit
//! are compared with what they were.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Context as _, Result};

use super::report::{Class, Damage, Thing};
use super::settle::Tally;
use super::{Budget, Verification};
use crate::archive::{ArchiveError, Content, Key, Reader};
use crate::base::digest::Digest;
use crate::formats::sums;
use crate::store::db::Db;
use crate::store::fixity::{self, ArchivedAs, Cursor, Documents, ToRead, Unit, What};

/// Units of a page: what a crash can cost of what was read.
const PAGE_UNITS: i64 = 512;
/// Bytes of a page, for the same reason. One unit may be larger.
const PAGE_BYTES: u64 = 1 << 30;

/// A unit with what was found; none if a stop interrupted the reading.
pub(super) type Judged = (Subject, Option<Verdict>);

impl Tally<'_> {
    /// Reads `what`, the longest unread first, until all is read, the budget is used up, or `quota` bytes were read. At
    /// least one page is begun, so that a budget that is always too small gets on all the same.
    pub(super) async fn read_all(&mut self, what: ToRead, quota: Option<u64>) -> Result<()> {
        let Verification { db, budget, .. } = self.verification;
        let mut pages = Pages { what, cursor: Cursor::START, quota };
        let mut page = pages.next(db).await?;
        let mut before: Vec<Judged> = Vec::new();
        while let Some(mut units) = page {
            units.retain(|subject| !self.judged.contains(&subject.unit.id));
            let read = self.verification.read_page(units);
            let (read, settled, next) = tokio::join!(read, self.settle(before), pages.next(db));
            settled?;
            (before, page) = (read?, next?);
            if page.is_some() && budget.is_over() {
                self.report.whole = false;
                break;
            }
        }
        self.settle(before).await
    }
}

impl Verification<'_> {
    /// Reads and judges units.
    pub(super) async fn read_page(&self, page: Vec<Subject>) -> Result<Vec<Judged>> {
        let (page, next) = (Arc::new(page), Arc::new(AtomicUsize::new(0)));
        let threads = (0..self.threads.min(page.len())).map(|_| {
            let (reader, budget) = (self.reader.clone(), self.budget.clone());
            let (page, next) = (page.clone(), next.clone());
            tokio::task::spawn_blocking(move || {
                let mut judged = Vec::new();
                while let Some((at, subject)) = take(&page, &next) {
                    judged.push((at, judge(&*reader, subject, &budget)?));
                    if budget.is_over() {
                        break;
                    }
                }
                Ok::<_, ArchiveError>(judged)
            })
        });
        let mut verdicts = Vec::new();
        for thread in threads.collect::<Vec<_>>() {
            verdicts.extend(thread.await.context("reading the archive")??);
        }
        let page = Arc::unwrap_or_clone(page);
        let mut judged: Vec<Judged> = page.into_iter().map(|subject| (subject, None)).collect();
        for (at, verdict) in verdicts {
            judged[at].1 = verdict;
        }
        Ok(judged)
    }
}

fn take<'a>(page: &'a [Subject], next: &AtomicUsize) -> Option<(usize, &'a Subject)> {
    let at = next.fetch_add(1, Relaxed);
    Some((at, page.get(at)?))
}

struct Pages {
    what: ToRead,
    cursor: Cursor,
    quota: Option<u64>,
}

impl Pages {
    async fn next(&mut self, db: &Db) -> Result<Option<Vec<Subject>>> {
        if self.quota == Some(0) {
            return Ok(None);
        }
        let units = fixity::oldest(&mut *db.read().await?, &self.what, self.cursor, PAGE_UNITS).await?;
        let mut page = Vec::with_capacity(units.len());
        let mut left = PAGE_BYTES.min(self.quota.unwrap_or(PAGE_BYTES));
        for unit in units {
            if !page.is_empty() && unit.size_bytes() > left {
                break;
            }
            left = left.saturating_sub(unit.size_bytes());
            self.quota = self.quota.map(|quota| quota.saturating_sub(unit.size_bytes()));
            self.cursor = Cursor::after(&unit);
            let documents = match &unit.what {
                What::Documents(folder) => Some(fixity::documents(&mut *db.read().await?, folder).await?),
                What::File(_) => None,
            };
            page.push(Subject { unit, documents, is_partial: false });
        }
        Ok((!page.is_empty()).then_some(page))
    }
}

/// A unit to be judged; of documents, with what they should be.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) unit: Unit,
    pub(super) documents: Option<Documents>,
    /// Whether only some of its documents are judged: then it is not read yet, however right these are.
    pub(super) is_partial: bool,
}

impl Subject {
    /// Of the documents of a folder only the files of certificates; `None` if there is none.
    pub(super) fn certificates_of(unit: &Unit, documents: &Documents) -> Option<Self> {
        let lists: Vec<_> =
            documents.lists.iter().filter(|(name, _)| name.starts_with("certificate-")).cloned().collect();
        // Sums that are behind are not judged.
        let certificates = Documents { lists, sums: Vec::new(), changed: documents.changed, is_behind: true };
        let is_any = !certificates.lists.is_empty();
        is_any.then(|| Self { unit: unit.clone(), documents: Some(certificates), is_partial: true })
    }
}

/// How much of a unit was read, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) damages: Vec<Damage>,
}

struct Expected {
    thing: Thing,
    place: String,
    /// Where the catalog knows it.
    size_bytes: Option<u64>,
    sha256: Digest,
}

/// Reads the files of a unit and compares them; `None` if the budget interrupted that.
fn judge(reader: &dyn Reader, subject: &Subject, budget: &Budget) -> Result<Option<Verdict>, ArchiveError> {
    let mut verdict = Verdict::default();
    for expected in files_of(subject)? {
        let mut go_on = |bytes| {
            verdict.bytes += bytes as u64;
            !budget.is_stopped()
        };
        let content = match Key::found(&*expected.place).and_then(|key| reader.hash(&key, &mut go_on)) {
            // What stands in the way of a folder is a stray by itself.
            Err(ArchiveError::Planted { .. }) => Ok(Content::Nothing),
            content => content,
        };
        verdict.files += 1;
        let (class, found) = match content {
            Ok(Content::Bytes { size_bytes, sha256 }) => {
                let is_size = expected.size_bytes.is_none_or(|size| size == size_bytes);
                if is_size && sha256 == expected.sha256 {
                    continue;
                }
                (Class::Altered, shown(Some(size_bytes), sha256))
            }
            Ok(Content::Nothing) => (Class::Missing, "nothing".to_owned()),
            Ok(Content::NotAFile) => (Class::Altered, "no regular file".to_owned()),
            Ok(Content::Unread) => return Ok(None),
            Err(error) if error.concerns_what_was_read() => (Class::Unreadable, error.to_string()),
            Err(error) => return Err(error),
        };
        let damage = Damage::new(class, expected.thing, &subject.unit.pbx, expected.place);
        verdict.damages.push(damage.evidence(shown(expected.size_bytes, expected.sha256), found));
    }
    Ok(Some(verdict))
}

/// Where the files of a unit are that are judged.
pub(super) fn paths_of(subject: &Subject) -> Vec<String> {
    files_of(subject).unwrap_or_default().into_iter().map(|expected| expected.place).collect()
}

/// Audio and sidecar; or call lists and, unless they still have to be written, the sums.
fn files_of(subject: &Subject) -> Result<Vec<Expected>, ArchiveError> {
    let expect = |thing, place, size_bytes, sha256| Expected { thing, place, size_bytes, sha256 };
    let (folder, documents) = match (&subject.unit.what, &subject.documents) {
        (What::File(ArchivedAs { path, size_bytes, sha256, sidecar_sha256, .. }), _) => {
            return Ok(vec![
                expect(Thing::Audio, path.clone(), Some(*size_bytes), *sha256),
                expect(Thing::Document, format!("{path}.json"), None, *sidecar_sha256),
            ]);
        }
        (What::Documents(_), None) => return Ok(Vec::new()),
        (What::Documents(folder), Some(documents)) => (folder, documents),
    };
    let list = |(name, sha256): &(String, Digest)| {
        expect(Thing::Document, format!("{folder}/{name}"), None, *sha256)
    };
    let mut expected: Vec<Expected> = documents.lists.iter().map(list).collect();
    if !documents.is_behind {
        let content = sums::to_text(&documents.sums)?;
        let (place, size_bytes) = (format!("{folder}/{}", sums::NAME), content.len() as u64);
        expected.push(expect(Thing::Sums, place, Some(size_bytes), Digest::of(&content)));
    }
    Ok(expected)
}

fn shown(size_bytes: Option<u64>, sha256: Digest) -> String {
    match size_bytes {
        Some(size_bytes) => format!("{size_bytes} bytes with SHA-256 {sha256}"),
        None => format!("SHA-256 {sha256}"),
    }
}
