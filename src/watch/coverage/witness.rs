//! Events as second witnesses: a call that was reported and that the CDR does not list.

use anyhow::Context as _;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, civil::Date};

use crate::store::calls;
use crate::store::db::Db;
use crate::store::findings::{self, Finding, FindingKind};

/// A call further from now is not believed: a PBX that lost its clock is no witness.
const APART_MAX: SignedDuration = SignedDuration::from_hours(48);
/// Open findings of this kind at one time; more would say no more.
const OPEN_MAX: usize = 20;

/// Checks whether the CDR lists the calls that events reported, and those of earlier checks again. The day is taken from the
/// call's id, which begins with a time.
pub async fn compare_events(db: &Db, pbx: &str, reported: &[String], now: Timestamp) -> anyhow::Result<()> {
    let open = findings::open_of(&mut *db.read().await?, pbx, FindingKind::EventWithoutRow).await?;
    let open: Vec<String> = open.into_iter().map(|finding| finding.subject).collect();
    let reported = reported.iter().filter(|callid| !open.contains(callid)).filter_map(|callid| {
        let at = begun_at(callid)?;
        (now.duration_since(at).abs() <= APART_MAX).then_some((callid.as_str(), at))
    });
    let reported: Vec<(&str, Timestamp)> = reported.collect();
    let mut listed = Vec::new();
    for callid in &open {
        if let Some(at) = begun_at(callid) {
            let found = calls::listed_among(&mut *db.read().await?, pbx, around(at, at), &[callid]).await?;
            listed.extend(found);
        }
    }
    let mut unlisted: Vec<(String, Timestamp)> = Vec::new();
    if let (Some(first), Some(last)) =
        (reported.iter().map(|(_, at)| *at).min(), reported.iter().map(|(_, at)| *at).max())
    {
        let ids: Vec<&str> = reported.iter().map(|(callid, _)| *callid).collect();
        let found = calls::listed_among(&mut *db.read().await?, pbx, around(first, last), &ids).await?;
        let lacking = reported.iter().filter(|(callid, _)| !found.iter().any(|found| found == callid));
        unlisted.extend(lacking.map(|(callid, at)| ((*callid).to_owned(), *at)));
    }
    if listed.is_empty() && unlisted.is_empty() {
        return Ok(());
    }
    unlisted.truncate(OPEN_MAX.saturating_sub(open.len()));
    let pbx = pbx.to_owned();
    db.write(async move |tx| {
        for callid in &listed {
            findings::close_about(tx, &pbx, FindingKind::EventWithoutRow, callid, now).await?;
        }
        for (callid, at) in unlisted {
            let detail = format!(
                "an event reported this call of {}, but the CDR still does not list it an hour later",
                at.strftime("%F %R UTC")
            );
            let finding = Finding { kind: FindingKind::EventWithoutRow, subject: callid, detail };
            findings::record_news(tx, &pbx, &finding, now).await?;
        }
        Ok(())
    })
    .await
    .context("comparing events with the CDR")
}

/// The days on which calls of that time can be, in any time zone.
fn around(first: Timestamp, last: Timestamp) -> (Date, Date) {
    let day = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
    let (first, last) = (day(first), day(last));
    (first.yesterday().unwrap_or(first), last.tomorrow().unwrap_or(last))
}

/// When a call began, by its id.
fn begun_at(callid: &str) -> Option<Timestamp> {
    Timestamp::from_second(callid.split_once('.')?.0.parse().ok()?).ok()
}
