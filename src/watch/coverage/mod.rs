//! Coverage: what the lists of a PBX cannot show, for it was never recorded, or never listed.
//!
//! It stands beside the verdict. A certificate says that everything which was listed is archived. The first leg of a blind transfer is never recorded, so
//! habit is no proof, and none of this makes a day incomplete: it is told, with findings and alerts of its own.
//!
//! | finding | what is seen |
//! |---|---|
//! | `must_record` | answered calls that `[[must_record]]` names, and that no row gives a recording to |
//! | `recording_stopped` | a group of calls that used to be recorded, and of which the latest are not |
//! | `silent_day` | a day without calls, where that weekday has always had some |
//! | `calls_stopped` | no call for much longer than is usual |
//! | `event_without_row` | a call that an event told of, and that the CDR does not list |

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

/// Days whose calls tell of the habit of recording.
const HABIT_DAYS: i32 = 28;
/// Rows that are read for that at most, the latest first.
const HABIT_ROWS_MAX: usize = 20_000;
/// Days that are looked at again for calls that must be recorded, though nothing but a late row can change them.
const LATEST_DAYS: i32 = 14;
/// The subject of a finding that is about the calls of a PBX as such.
const CALLS: &str = "its calls";

/// How far back is looked for calls that must be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Two weeks.
    Latest,
    /// All days: the rules may be new.
    AllDays,
}

/// What a look found, to be written.
#[derive(Debug, Default)]
struct Look {
    /// What holds.
    findings: Vec<Finding>,
    /// What does not hold any more.
    over: Vec<(FindingKind, String)>,
}

impl Look {
    fn finds(&mut self, kind: FindingKind, subject: String, detail: String) {
        self.findings.push(Finding { kind, subject, detail });
    }
}

/// Looks at the calls of one PBX, and keeps what it finds as findings.
///
/// It reads the rows of the latest four weeks, at most some 20,000 of them, the counts of the latest twelve, and those answered
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

/// What was recorded, and is not any more.
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
        // Of a group without a recorded call in sight nothing new is known: it is neither over nor news.
        if recorded.contains(&finding.subject) {
            look.over.push((FindingKind::RecordingStopped, finding.subject));
        }
    }
    for Stopped { group, since_ms } in stopped {
        let name = group.name();
        let since = Timestamp::from_millisecond(since_ms).unwrap_or(now).to_zoned(zone.clone());
        let since = since.strftime("%F %R");
        let detail = format!(
            "none of them that was answered has a recording since {since} by the PBX's clock, where most had one before"
        );
        look.finds(FindingKind::RecordingStopped, name, detail);
    }
    Ok(())
}

/// The calls of the latest weeks in the order of their start; fewer weeks where there are very many.
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

/// Days that had no call, and a PBX that has none any more.
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
        // Unless calls turned up, it stays until somebody has noted it.
        if finding.subject.parse().is_ok_and(|day: Date| history.rows.contains_key(&day)) {
            look.over.push((FindingKind::SilentDay, finding.subject));
        }
    }
    for (day, usual) in days {
        let detail = format!(
            "the PBX listed no call on this {}, where such a day usually has about {usual} rows",
            day.strftime("%A")
        );
        look.finds(FindingKind::SilentDay, day.to_string(), detail);
    }
    match stopped_after {
        Some(last) => {
            let detail = format!(
                "the PBX has listed no call since {last}, which is much longer than is usual there, and answers as before"
            );
            look.finds(FindingKind::CallsStopped, CALLS.to_owned(), detail);
        }
        None => look.over.push((FindingKind::CallsStopped, CALLS.to_owned())),
    }
    Ok(())
}

/// So many days earlier.
fn before(day: Date, days: i32) -> Date {
    day.checked_sub(Span::new().days(days)).unwrap_or(Date::MIN)
}
