use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use sqlx::SqliteConnection;

use super::Look;
use super::call::{is_conversation, shared_id};
use crate::base::recording::printable;
use crate::config::{ExclusionRule, MustRecord};
use crate::formats::cdr::CdrRow;
use crate::pipeline::exclusion::{CallFacts, Ruling, ruling_on_call};
use crate::store::calls::{self, Leg};
use crate::store::findings::{self, FindingKind};

/// Further call ids are counted. Ids are not phone numbers: a finding may be published.
const NAMED_MAX: usize = 5;

pub(super) async fn look(
    db: &mut SqliteConnection,
    pbx: &str,
    rules: &[MustRecord],
    from: Date,
    look: &mut Look,
) -> anyhow::Result<()> {
    let rules: Vec<Rule<'_>> = rules.iter().filter_map(|rule| Rule::of(rule, pbx)).collect();
    let mut found = BTreeSet::new();
    if !rules.is_empty() {
        for day in calls::days_with_unrecorded(db, pbx, from).await? {
            if let Some(detail) = of_day(db, pbx, &rules, day).await? {
                found.insert(day.to_string());
                look.finds(FindingKind::MustRecord, day.to_string(), detail);
            }
        }
    }
    for finding in findings::open_of(db, pbx, FindingKind::MustRecord).await? {
        let is_in_sight = rules.is_empty() || finding.subject >= from.to_string();
        if is_in_sight && !found.contains(&finding.subject) {
            look.over.push((FindingKind::MustRecord, finding.subject));
        }
    }
    Ok(())
}

/// A rule in the form of the exclusion rules that share its conditions.
struct Rule<'a> {
    conditions: [ExclusionRule; 1],
    min_talk_s: i64,
    reason: Option<&'a str>,
}

impl<'a> Rule<'a> {
    /// None if the rule is for other PBXs.
    fn of(rule: &'a MustRecord, pbx: &str) -> Option<Self> {
        let MustRecord { pbx: ids, extension, direction, did, trunk, min_talk_s, reason } = rule;
        let is_for = ids.is_empty() || ids.iter().any(|id| id == pbx);
        let conditions = ExclusionRule {
            pbx: ids.clone(),
            extension: extension.clone(),
            direction: direction.clone(),
            did: did.clone(),
            trunk: trunk.clone(),
            ..ExclusionRule::default()
        };
        let min_talk_s = i64::try_from(*min_talk_s).unwrap_or(i64::MAX);
        is_for.then_some(Self { conditions: [conditions], min_talk_s, reason: reason.as_deref() })
    }

    fn concerns(&self, pbx: &str, leg: &Leg, row: &CdrRow) -> bool {
        is_conversation(leg, row, self.min_talk_s)
            && matches!(ruling_on_call(&self.conditions, pbx, &CallFacts::of(row)), Ruling::Excluded(_))
    }
}

/// The finding of a day; none if all those calls have a recording.
async fn of_day(
    db: &mut SqliteConnection,
    pbx: &str,
    rules: &[Rule<'_>],
    day: Date,
) -> anyhow::Result<Option<String>> {
    let mut unrecorded: BTreeMap<String, Option<&str>> = BTreeMap::new();
    for (number, leg) in calls::unrecorded_of_day(db, pbx, day).await?.iter().enumerate() {
        let Some(row) = CdrRow::from_raw_json(&leg.row) else { continue };
        if let Some(rule) = rules.iter().find(|rule| rule.concerns(pbx, leg, &row)) {
            let id = shared_id(&row)
                .map_or_else(|| format!("without an id, number {}", number + 1), str::to_owned);
            unrecorded.insert(id, rule.reason);
        }
    }
    if unrecorded.is_empty() {
        return Ok(None);
    }
    // The second leg of a transfer, which has the recording, may begin after midnight.
    for near in [day.yesterday().unwrap_or(day), day, day.tomorrow().unwrap_or(day)] {
        for leg in calls::legs_of_day(db, pbx, near).await?.iter().filter(|leg| leg.names_recording) {
            let row = CdrRow::from_raw_json(&leg.row);
            if let Some(id) = row.as_ref().and_then(shared_id) {
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
