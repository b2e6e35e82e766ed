//! Reading units on as many threads as there are cores, a page at a time; the database works meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::Context as _;

use super::judge::{Subject, Verdict, judge};
use super::progress::Phase;
use super::settle::{Tally, settle};
use super::{Scope, Tools};
use crate::archive::ArchiveError;
use crate::store::fixity::{self, Cursor, ToRead, What};

/// Units of a page: what a crash can cost of what was read.
const PAGE_UNITS: i64 = 512;
/// Bytes of a page, for the same reason. One unit may be larger.
const PAGE_BYTES: u64 = 1 << 30;

pub(super) type Judged = (Subject, Verdict);

/// Reads `what`, the longest unread first, until all is read, the budget is used up, or `quota` bytes were read. At least
/// one page is begun, so that a budget that is always too small gets on all the same.
pub(super) async fn read_all(
    tools: &Tools<'_>,
    tally: &mut Tally,
    what: ToRead,
    quota: Option<u64>,
) -> anyhow::Result<()> {
    if tools.scope == Scope::Full {
        let extent = fixity::extent(&mut *tools.vault.state.db.read().await?, &what.pbxs).await?;
        let count = |number| u64::try_from(number).unwrap_or(0);
        tools.progress.begin(Phase::Reading, count(extent.units), count(extent.bytes));
    }
    let mut pages = Pages { what, cursor: Cursor::START, quota };
    let mut page = pages.next(tools).await?;
    let mut before: Vec<Judged> = Vec::new();
    while let Some(mut units) = page {
        units.retain(|subject| !tally.judged.contains(&subject.unit.id));
        let (read, settled, next) =
            tokio::join!(read_page(tools, units), settle(tools, tally, before), pages.next(tools));
        settled?;
        (before, page) = (read?, next?);
        if page.is_some() && tools.budget.is_over() {
            tally.report.whole = false;
            break;
        }
    }
    settle(tools, tally, before).await
}

/// Reads and judges units. Those that a stop interrupted are `Unread`.
pub(super) async fn read_page(tools: &Tools<'_>, page: Vec<Subject>) -> anyhow::Result<Vec<Judged>> {
    let (page, next) = (Arc::new(page), Arc::new(AtomicUsize::new(0)));
    let threads = (0..tools.threads.min(page.len())).map(|_| {
        let (reader, budget, progress) = (tools.reader.clone(), tools.budget.clone(), tools.progress.clone());
        let (page, next) = (page.clone(), next.clone());
        tokio::task::spawn_blocking(move || {
            let mut judged = Vec::new();
            while let Some((at, subject)) = take(&page, &next) {
                let verdict = judge(&*reader, subject, &budget)?;
                progress.change(|now| {
                    now.units += 1;
                    now.bytes += subject.unit.size_bytes();
                });
                judged.push((at, verdict));
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
    let mut judged: Vec<Judged> = page.into_iter().map(|subject| (subject, Verdict::Unread)).collect();
    for (at, verdict) in verdicts {
        judged[at].1 = verdict;
    }
    Ok(judged)
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
    async fn next(&mut self, tools: &Tools<'_>) -> anyhow::Result<Option<Vec<Subject>>> {
        if self.quota == Some(0) {
            return Ok(None);
        }
        let db = &tools.vault.state.db;
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
