//! Coverage: what the lists of a PBX cannot show, because it was never recorded or never listed.
//!
//! It does not change a certificate, which says that everything listed is archived. The first leg of a blind transfer is
//! never recorded, so habit is no proof. None of this makes a day incomplete; it has findings and alerts of its own.
//!
//! | finding | what was seen |
//! |---|---|
//! | `must_record` | answered calls that `[[must_record]]` names, without a recording in any row |
//! | `recording_stopped` | a group of calls that used to be recorded and no longer is |
//! | `silent_day` | a day without calls, although that weekday has always had some |
//! | `calls_stopped` | no call for much longer than is usual |
//! | `event_without_row` | a call reported by an event that the CDR does not list |

mod habit;
mod silent;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

use crate::base::recording::printable;
use crate::base::times::zone_of;
use crate::config::{MustRecord, PbxConfig};
use crate::pipeline::exclusion::{CallFacts, Ruling, ruling_on_call};
use crate::store::calls::{self, Leg};
use crate::store::db::Db;
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::fleet;
use crate::store::sql::Conn;
use habit::{Judgement, SeenCall, Stopped, calls_of, is_conversation, shared_id};
use silent::{HISTORY_DAYS, History, Silence};

/// Days from which the habit of recording is learnt.
const HABIT_DAYS: i32 = 28;
/// Rows read for that at most, the latest first.
const HABIT_ROWS_MAX: usize = 20_000;
/// Days checked again for calls that must be recorded: a late row can change them.
const LATEST_DAYS: i32 = 14;
/// The subject of a finding about the calls of a PBX in general.
const CALLS: &str = "its calls";

/// How far back to look for calls that must be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Latest,
    /// The rules may be new.
    AllDays,
}

/// What is looked at, and what was found.
struct Look<'a> {
    pbx: &'a str,
    zone: TimeZone,
    today: Date,
    now: Timestamp,
    findings: Vec<Finding>,
    /// What is no longer true.
    over: Vec<(FindingKind, String)>,
}

/// Checks the calls of one PBX, and records findings.
///
/// It reads the rows of the last four weeks (about 20,000 at most), the daily counts of the last twelve, and the answered
/// calls without a recording that `scope` asks for: for a PBX with a million calls, well within a second each.
pub async fn look(
    db: &Db,
    pbx: &PbxConfig,
    rules: &[MustRecord],
    scope: Scope,
    now: Timestamp,
) -> Result<()> {
    let id = pbx.id.clone();
    let Look { findings, over, .. } = {
        let mut db = db.read().await?;
        let zone = zone_of(pbx.timezone.as_ref(), fleet::remembered(&mut db, &id).await?.utc_offset_s);
        let today = now.to_zoned(zone.clone()).date();
        let from = match scope {
            Scope::Latest => before(today, LATEST_DAYS),
            Scope::AllDays => Date::MIN,
        };
        let mut look = Look { pbx: &id, zone, today, now, findings: Vec::new(), over: Vec::new() };
        look.for_must_record(&mut db, rules, from).await?;
        look.for_habit(&mut db).await?;
        look.for_silence(&mut db).await?;
        look
    };
    db.write(async move |tx| {
        for (kind, subject) in &over {
            findings::close_about(tx, &id, *kind, subject, now).await?;
        }
        for finding in &findings {
            findings::record_news(tx, &id, finding, now).await?;
        }
        Ok(())
    })
    .await
    .context("keeping what coverage found")
}

impl Look<'_> {
    fn finds(&mut self, kind: FindingKind, subject: impl Into<String>, detail: String) {
        self.findings.push(Finding { kind, subject: subject.into(), detail });
    }

    async fn for_must_record(&mut self, db: &mut Conn, rules: &[MustRecord], from: Date) -> Result<()> {
        let rules: Vec<&MustRecord> = rules.iter().filter(|rule| rule.conditions.is_for(self.pbx)).collect();
        let mut found = BTreeSet::new();
        if !rules.is_empty() {
            for day in calls::days_with_unrecorded(db, self.pbx, from).await? {
                if let Some(detail) = of_day(db, self.pbx, &rules, day).await? {
                    found.insert(day.to_string());
                    self.finds(FindingKind::MustRecord, day.to_string(), detail);
                }
            }
        }
        for finding in findings::open_of(db, self.pbx, FindingKind::MustRecord).await? {
            let is_in_sight = rules.is_empty() || finding.subject >= from.to_string();
            if is_in_sight && !found.contains(&finding.subject) {
                self.over.push((FindingKind::MustRecord, finding.subject));
            }
        }
        Ok(())
    }

    async fn for_habit(&mut self, db: &mut Conn) -> Result<()> {
        let calls = latest_calls(db, self.pbx, self.today).await?;
        let Judgement { stopped, recorded } = habit::judge(&calls, self.now.as_millisecond());
        for finding in findings::open_of(db, self.pbx, FindingKind::RecordingStopped).await? {
            // Nothing new is known about a group without a recorded call in sight.
            if recorded.contains(&finding.subject) {
                self.over.push((FindingKind::RecordingStopped, finding.subject));
            }
        }
        for Stopped { group, since_ms } in stopped {
            let since = Timestamp::from_millisecond(since_ms).unwrap_or(self.now);
            let detail = format!(
                "since {} by the PBX's clock no answered one has a recording; before, most had one",
                since.to_zoned(self.zone.clone()).strftime("%F %R")
            );
            self.finds(FindingKind::RecordingStopped, group.name(), detail);
        }
        Ok(())
    }

    async fn for_silence(&mut self, db: &mut Conn) -> Result<()> {
        let from = before(self.today, HISTORY_DAYS);
        let mut rows: BTreeMap<Date, i64> =
            calls::rows_by_day(db, self.pbx, from).await?.into_iter().collect();
        rows.retain(|day, _| *day <= self.today);
        let whole = calls::settled_days(db, self.pbx, from).await?.into_iter().collect();
        let history = History { rows, whole };
        let Silence { days, stopped_after } = history.judge(self.today);
        for finding in findings::open_of(db, self.pbx, FindingKind::SilentDay).await? {
            // Unless calls turn up, it stays until somebody acknowledges it.
            let day: Date = finding.subject.parse().context("a stored finding names no day")?;
            if history.rows.contains_key(&day) {
                self.over.push((FindingKind::SilentDay, finding.subject));
            }
        }
        for (day, usual) in days {
            let weekday = day.strftime("%A");
            let detail = format!(
                "the PBX listed no call on this {weekday}; such a day usually has about {usual} rows"
            );
            self.finds(FindingKind::SilentDay, day.to_string(), detail);
        }
        match stopped_after {
            Some(last) => {
                let detail = format!(
                    "the PBX has listed no call since {last}, which is much longer than usual, although it answers"
                );
                self.finds(FindingKind::CallsStopped, CALLS, detail);
            }
            None => self.over.push((FindingKind::CallsStopped, CALLS.to_owned())),
        }
        Ok(())
    }
}

/// The calls of the last weeks by their start; of fewer weeks if there are very many.
async fn latest_calls(db: &mut Conn, pbx: &str, today: Date) -> Result<Vec<SeenCall>> {
    let mut legs = Vec::new();
    for days_ago in 0..HABIT_DAYS {
        legs.extend(calls::legs_of_day(db, pbx, before(today, days_ago)).await?);
        if legs.len() >= HABIT_ROWS_MAX {
            break;
        }
    }
    Ok(calls_of(legs))
}

fn before(day: Date, days: i32) -> Date {
    day.checked_sub(Span::new().days(days)).unwrap_or(Date::MIN)
}

/// Further call ids are counted. Ids are not phone numbers: a finding may be published.
const NAMED_MAX: usize = 5;

/// Whether a call must have a recording by this rule.
fn concerns(MustRecord { conditions, min_talk_s, .. }: &MustRecord, pbx: &str, leg: &Leg) -> bool {
    let rules = std::slice::from_ref(conditions);
    is_conversation(leg, i64::try_from(*min_talk_s).unwrap_or(i64::MAX))
        && matches!(ruling_on_call(rules, pbx, &CallFacts::of(&leg.row)), Ruling::Excluded(_))
}

/// The finding of a day; none if all those calls have a recording.
async fn of_day(db: &mut Conn, pbx: &str, rules: &[&MustRecord], day: Date) -> Result<Option<String>> {
    let mut unrecorded: BTreeMap<String, Option<&str>> = BTreeMap::new();
    for (number, leg) in calls::unrecorded_of_day(db, pbx, day).await?.iter().enumerate() {
        if let Some(rule) = rules.iter().find(|rule| concerns(rule, pbx, leg)) {
            let id = shared_id(&leg.row)
                .map_or_else(|| format!("without an id, number {}", number + 1), str::to_owned);
            unrecorded.insert(id, rule.reason.as_deref());
        }
    }
    if unrecorded.is_empty() {
        return Ok(None);
    }
    // The second leg of a transfer, which has the recording, may begin after midnight.
    for near in [day.yesterday().unwrap_or(day), day, day.tomorrow().unwrap_or(day)] {
        for leg in calls::legs_of_day(db, pbx, near).await?.iter().filter(|leg| leg.names_recording) {
            if let Some(id) = shared_id(&leg.row) {
                unrecorded.remove(id);
            }
        }
    }
    Ok((!unrecorded.is_empty()).then(|| detail(&unrecorded)))
}

fn detail(unrecorded: &BTreeMap<String, Option<&str>>) -> String {
    let reasons: BTreeSet<&str> = unrecorded.values().filter_map(|reason| *reason).collect();
    let reasons = match reasons.is_empty() {
        true => String::new(),
        false => format!(" ({})", reasons.into_iter().collect::<Vec<_>>().join("; ")),
    };
    let mut named: Vec<String> =
        unrecorded.keys().take(NAMED_MAX).map(|id| printable(id.as_bytes())).collect();
    if let Some(more) = unrecorded.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        named.push(format!("and {more} more"));
    }
    let calls = match unrecorded.len() {
        1 => "1 answered call that [[must_record]] names has".to_owned(),
        count => format!("{count} answered calls that [[must_record]] names have"),
    };
    format!("{calls} no recording{reasons}: {}", named.join(", "))
}

/// A call further from now is not believed: a PBX that lost its clock is no witness.
const APART_MAX: SignedDuration = SignedDuration::from_hours(48);
/// Open findings of this kind at one time; more would say no more.
const OPEN_MAX: usize = 20;

/// Checks whether the CDR lists the calls that events reported, and those of earlier checks again. The day is taken from the
/// call's id, which begins with a time.
pub async fn compare_events(db: &Db, pbx: &str, reported: &[String], now: Timestamp) -> Result<()> {
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
