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

mod call;
mod must_record;
mod silent;
mod stopped;
mod witness;

use anyhow::Context as _;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, civil::Date};
use sqlx::SqliteConnection;

use crate::base::times::zone_of;
use crate::config::{MustRecord, PbxConfig};
use crate::store::calls;
use crate::store::db::Db;
use crate::store::findings::{self, Finding, FindingKind};
use crate::store::fleet;

pub use witness::compare_events;

use call::SeenCall;
use silent::{HISTORY_DAYS, History, Silence};
use stopped::{Judgement, Stopped};

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

/// What was found, to be written.
#[derive(Debug, Default)]
struct Look {
    findings: Vec<Finding>,
    /// What is no longer true.
    over: Vec<(FindingKind, String)>,
}

impl Look {
    fn finds(&mut self, kind: FindingKind, subject: String, detail: String) {
        self.findings.push(Finding { kind, subject, detail });
    }
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
) -> anyhow::Result<()> {
    let id = pbx.id.clone();
    let mut look = Look::default();
    {
        let mut db = db.read().await?;
        let zone = zone_of(pbx.timezone.as_ref(), fleet::remembered(&mut db, &id).await?.utc_offset_s);
        let today = now.to_zoned(zone.clone()).date();
        let from = match scope {
            Scope::Latest => before(today, LATEST_DAYS),
            Scope::AllDays => Date::MIN,
        };
        must_record::look(&mut db, &id, rules, from, &mut look).await?;
        look_for_habit(&mut db, &id, today, &zone, now, &mut look).await?;
        look_for_silence(&mut db, &id, today, &mut look).await?;
    }
    db.write(async move |tx| {
        for (kind, subject) in &look.over {
            findings::close_about(tx, &id, *kind, subject, now).await?;
        }
        for finding in &look.findings {
            findings::record_news(tx, &id, finding, now).await?;
        }
        Ok(())
    })
    .await
    .context("keeping what coverage found")
}

async fn look_for_habit(
    db: &mut SqliteConnection,
    pbx: &str,
    today: Date,
    zone: &TimeZone,
    now: Timestamp,
    look: &mut Look,
) -> anyhow::Result<()> {
    let calls = latest_calls(db, pbx, today).await?;
    let Judgement { stopped, recorded } = stopped::judge(&calls, now.as_millisecond());
    for finding in findings::open_of(db, pbx, FindingKind::RecordingStopped).await? {
        // Nothing new is known about a group without a recorded call in sight.
        if recorded.contains(&finding.subject) {
            look.over.push((FindingKind::RecordingStopped, finding.subject));
        }
    }
    for Stopped { group, since_ms } in stopped {
        let name = group.name();
        let since = Timestamp::from_millisecond(since_ms).unwrap_or(now).to_zoned(zone.clone());
        let since = since.strftime("%F %R");
        let detail = format!(
            "since {since} by the PBX's clock none of them that was answered has a recording; before, most had one"
        );
        look.finds(FindingKind::RecordingStopped, name, detail);
    }
    Ok(())
}

/// The calls of the last weeks by their start; of fewer weeks if there are very many.
async fn latest_calls(db: &mut SqliteConnection, pbx: &str, today: Date) -> anyhow::Result<Vec<SeenCall>> {
    let mut legs = Vec::new();
    for days_ago in 0..HABIT_DAYS {
        legs.extend(calls::legs_of_day(db, pbx, before(today, days_ago)).await?);
        if legs.len() >= HABIT_ROWS_MAX {
            break;
        }
    }
    Ok(call::calls_of(legs))
}

async fn look_for_silence(
    db: &mut SqliteConnection,
    pbx: &str,
    today: Date,
    look: &mut Look,
) -> anyhow::Result<()> {
    let from = before(today, HISTORY_DAYS);
    let history = History {
        rows: calls::rows_by_day(db, pbx, from).await?.into_iter().filter(|(day, _)| *day <= today).collect(),
        whole: calls::settled_days(db, pbx, from).await?.into_iter().collect(),
    };
    let Silence { days, stopped_after } = history.judge(today);
    for finding in findings::open_of(db, pbx, FindingKind::SilentDay).await? {
        // Unless calls turn up, it stays until somebody acknowledges it.
        if finding.subject.parse().is_ok_and(|day: Date| history.rows.contains_key(&day)) {
            look.over.push((FindingKind::SilentDay, finding.subject));
        }
    }
    for (day, usual) in days {
        let detail = format!(
            "the PBX listed no call on this {}; such a day usually has about {usual} rows",
            day.strftime("%A")
        );
        look.finds(FindingKind::SilentDay, day.to_string(), detail);
    }
    match stopped_after {
        Some(last) => {
            let detail = format!(
                "the PBX has listed no call since {last}, which is much longer than usual, although it answers"
            );
            look.finds(FindingKind::CallsStopped, CALLS.to_owned(), detail);
        }
        None => look.over.push((FindingKind::CallsStopped, CALLS.to_owned())),
    }
    Ok(())
}

fn before(day: Date, days: i32) -> Date {
    day.checked_sub(Span::new().days(days)).unwrap_or(Date::MIN)
}
