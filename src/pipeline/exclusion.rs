//! Which recordings the operator's rules keep out of the archive: a pure ruling, so that a reload can decide anew, and how it
//! is applied to the queue.
//!
//! A rule holds, or does not, or meets a field that cannot be read. The third is neither of the others: such a recording is
//! held, for it must neither be archived against a rule nor be lost by one.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use crate::base::digest::Digest;
use crate::base::message::Message;
use crate::base::recording::Text;
use crate::config::{Config, ExclusionRule};
use crate::formats::cdr::{CdrRow, Reported, normal, parties, readings};
use crate::store::calls;
use crate::store::findings::{self, FindingKind};
use crate::store::sql::Conn;
use crate::store::{fleet, queue, voicemail};
use crate::vault::Vault;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field<'a> {
    /// What it may say: one text, empty if there is none; several where its encoding is not known.
    Says(Vec<Cow<'a, str>>),
    /// Something is there that cannot be read.
    Unreadable,
}

impl<'a> Field<'a> {
    pub fn text(text: &'a str) -> Self {
        Self::Says(vec![Cow::Borrowed(text)])
    }

    /// The first thing that it may say; nothing if it cannot be read.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Says(texts) => texts.first().map(|text| &**text).unwrap_or_default(),
            Self::Unreadable => "",
        }
    }

    /// A field of a row; what a database or a person writes for nothing is nothing.
    fn of(field: &'a Text) -> Self {
        let says: Vec<Cow<'a, str>> = match field {
            Text::Utf8(text) if CdrRow::is_nothing(text) => return Self::default(),
            Text::Utf8(text) => vec![Cow::Borrowed(text)],
            Text::Bytes { .. } => {
                let bytes = field.to_bytes().unwrap_or_default();
                readings(&bytes).map(|text| Cow::Owned(text.into_owned())).collect()
            }
        };
        let is_lost = says.is_empty() || says.iter().all(|text| text.contains('\u{fffd}'));
        if is_lost { Self::Unreadable } else { Self::Says(says) }
    }

    /// Whether `holds` is true of what it says.
    fn test(&self, holds: impl Fn(&str) -> bool) -> Held {
        match self {
            Self::Says(texts) => Held::from(texts.iter().any(|text| holds(text))),
            Self::Unreadable => Held::Unknown,
        }
    }
}

impl Default for Field<'_> {
    fn default() -> Self {
        Self::text("")
    }
}

/// What a rule looks at in a call row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallFacts<'a> {
    pub callfrom: Field<'a>,
    /// Who was called, such as `6200(1003)`.
    pub callto: Field<'a>,
    /// The call's type, such as `Inbound`.
    pub direction: Field<'a>,
    /// The number that was dialled from outside.
    pub did: Field<'a>,
    /// The trunk it came in by.
    pub srctrunk: Field<'a>,
    /// The trunk it went out by.
    pub dsttrunk: Field<'a>,
    pub talk_s: Reported<u64>,
}

impl<'a> CallFacts<'a> {
    /// The facts of a row. Of a row whose values stand in other columns than their own nothing can be read.
    pub fn of(row: &'a CdrRow) -> Self {
        let is_shifted = row.is_shifted();
        let text = |field| if is_shifted { Field::Unreadable } else { Field::of(field) };
        // A spreadsheet may have rounded it.
        let number = |field| if CdrRow::is_number_lost(field) { Field::Unreadable } else { text(field) };
        Self {
            callfrom: number(&row.callfrom),
            callto: number(&row.callto),
            direction: text(&row.call_type),
            did: number(&row.didnumber),
            srctrunk: text(&row.srctrunkname),
            dsttrunk: text(&row.dsttrunkname),
            talk_s: if is_shifted { Reported::Unreadable } else { row.talkduraction },
        }
    }

    pub fn of_message(message: &'a Message) -> Self {
        let Message { extension, caller, .. } = message;
        let talk_s = message.length_s().map_or(Reported::Absent, Reported::Known);
        Self { callfrom: Field::text(caller), callto: Field::text(extension), talk_s, ..Self::default() }
    }
}

/// What the rules say of a call, or of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling<'r> {
    Kept,
    Excluded(&'r str),
    /// Whether a rule holds cannot be read.
    Unknown,
}

/// What the rules say of a call row of the PBX `pbx`: the first rule that holds counts.
pub fn ruling_on_call<'r>(rules: &'r [ExclusionRule], pbx: &str, row: &CallFacts<'_>) -> Ruling<'r> {
    let mut is_unknown = false;
    for rule in rules {
        match held(rule, pbx, row) {
            Held::Yes => return Ruling::Excluded(&rule.name),
            Held::Unknown => is_unknown = true,
            Held::No => {}
        }
    }
    if is_unknown { Ruling::Unknown } else { Ruling::Kept }
}

/// What the rules say of a recording, given every row that names it: each must be excluded, and the first row's rule is
/// named. A recording that no row names is kept.
pub fn ruling<'a, 'r>(
    rules: &'r [ExclusionRule],
    pbx: &str,
    rows: impl IntoIterator<Item = CallFacts<'a>>,
) -> Ruling<'r> {
    let mut ruling = None;
    for row in rows {
        ruling = match (ruling_on_call(rules, pbx, &row), ruling) {
            (Ruling::Kept, _) => return Ruling::Kept,
            (Ruling::Unknown, _) | (_, Some(Ruling::Unknown)) => Some(Ruling::Unknown),
            (excluded, None) => Some(excluded),
            (_, before) => before,
        };
    }
    ruling.unwrap_or(Ruling::Kept)
}

/// In this order: the least counts of conditions that must all hold, the most of those of which one must.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    No,
    Unknown,
    Yes,
}

impl Held {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// Whether all conditions of a rule hold. A rule without any would exclude everything and is taken for a slip.
fn held(rule: &ExclusionRule, pbx: &str, row: &CallFacts<'_>) -> Held {
    let is_any_of = |list: &[String], fields: &[&Field<'_>]| {
        let is_one = |text: &str| !text.is_empty() && list.iter().any(|wanted| text.trim() == wanted.trim());
        any_of(list, fields, &is_one)
    };
    let is_party = |text: &str| {
        parties(text).iter().any(|party| rule.extension.iter().any(|wanted| wanted.trim() == *party))
    };
    let is_direction = |text: &str| rule.direction.iter().any(|wanted| normal(wanted) == normal(text));
    if !has_condition(rule) {
        return Held::No;
    }
    let conditions = [
        Held::from(rule.is_for(pbx)),
        any_of(&rule.extension, &[&row.callfrom, &row.callto], &is_party),
        any_of(&rule.direction, &[&row.direction], &is_direction),
        is_any_of(&rule.did, &[&row.did]),
        is_any_of(&rule.trunk, &[&row.srctrunk, &row.dsttrunk]),
        talk(rule.shorter_than_s, row.talk_s, |talk_s, limit_s| talk_s < limit_s),
        talk(rule.longer_than_s, row.talk_s, |talk_s, limit_s| talk_s > limit_s),
    ];
    conditions.into_iter().min().unwrap_or(Held::Yes)
}

/// Whether `holds` is true of any of the fields; of an empty list it is.
fn any_of(list: &[String], fields: &[&Field<'_>], holds: &dyn Fn(&str) -> bool) -> Held {
    if list.is_empty() {
        return Held::Yes;
    }
    fields.iter().map(|field| field.test(holds)).max().unwrap_or(Held::No)
}

/// Whether a talk time keeps a limit. A call without one is neither short nor long.
fn talk(limit_s: Option<u64>, talk_s: Reported<u64>, holds: impl Fn(u64, u64) -> bool) -> Held {
    match (limit_s, talk_s) {
        (None, _) => Held::Yes,
        (Some(limit_s), Reported::Known(talk_s)) => Held::from(holds(talk_s, limit_s)),
        (Some(_), Reported::Absent) => Held::No,
        (Some(_), Reported::Unreadable) => Held::Unknown,
    }
}

fn has_condition(rule: &ExclusionRule) -> bool {
    let lists = [&rule.pbx, &rule.extension, &rule.direction, &rule.did, &rule.trunk];
    lists.iter().any(|list| !list.is_empty()) || rule.shorter_than_s.is_some() || rule.longer_than_s.is_some()
}

const RECORDINGS_PER_UNIT: i64 = 500;
/// A recording that more rows name is that of no call, and no rule is applied to it: a conference has some thousands.
const LEGS_MAX: usize = 10_000;

/// Applies the rules to every recording that is not archived, if they are not those that were applied last.
pub async fn apply_rules(vault: &Vault) -> Result<()> {
    let (config, db) = (&vault.config, &vault.state.db);
    let rules = Arc::new(config.exclude.clone());
    let hash = Digest::of(format!("{rules:?}")).to_string();
    for pbx in &config.pbx {
        // Kept for each PBX: one that was out of the configuration meanwhile is judged when it is back.
        let key = format!("exclusions/{}", pbx.id);
        if fleet::meta(&mut *db.read().await?, &key).await?.as_ref() == Some(&hash) {
            continue;
        }
        let mut after = 0;
        while let Some(last) = judge_some(vault, &pbx.id, rules.clone(), after).await? {
            after = last;
        }
        let hash = hash.clone();
        db.write(async move |tx| fleet::set_meta(tx, &key, &hash).await).await?;
    }
    Ok(())
}

/// Judges the recordings of one unit, those after `after`. Returns the last of them.
async fn judge_some(
    vault: &Vault,
    pbx: &str,
    rules: Arc<Vec<ExclusionRule>>,
    after: i64,
) -> Result<Option<i64>> {
    let (pbx, now) = (pbx.to_owned(), vault.clock.now());
    let unit = async move |tx: &mut Conn| {
        let some = queue::concerned_by_rules(tx, &pbx, after, RECORDINGS_PER_UNIT, !rules.is_empty()).await?;
        for id in &some {
            judge_exclusion(tx, &rules, &pbx, *id, now).await?;
        }
        Ok(some.last().copied())
    };
    vault.state.db.write(unit).await
}

/// Applies the operator's rules to a recording: every row that names it must match. A voicemail message is like a call
/// from its caller to its extension, of which nothing else is known.
pub(super) async fn judge_exclusion(
    tx: &mut Conn,
    rules: &[ExclusionRule],
    pbx: &str,
    id: i64,
    now: Timestamp,
) -> Result<()> {
    let ruling = match voicemail::of_recording(tx, id).await? {
        Some(kept) => ruling(rules, pbx, [CallFacts::of_message(&kept.message)]),
        None => {
            let mut are_too_many = false;
            let calls = calls::of_recording(tx, id, LEGS_MAX, |_| are_too_many = true).await?;
            let rows = calls
                .iter()
                .map(|call| CdrRow::from_raw(&call.row).context("a stored call is damaged"))
                .collect::<Result<Vec<_>>>()?;
            match are_too_many {
                true => Ruling::Unknown,
                false => ruling(rules, pbx, believed(&rows).map(CallFacts::of)),
            }
        }
    };
    let changed = match ruling {
        Ruling::Excluded(rule) => queue::exclude(tx, id, rule).await?,
        Ruling::Kept => queue::include(tx, id).await?,
        Ruling::Unknown => queue::hold(tx, id).await?,
    };
    if changed {
        note_held(tx, pbx, id, ruling == Ruling::Unknown, now).await?;
        calls::reopen_for(tx, id).await?;
    }
    Ok(())
}

/// The rows that tell of a recording: those that are shifted or went through a spreadsheet only where no other one does, for
/// they tell of a call that another row tells of as well.
fn believed(rows: &[CdrRow]) -> impl Iterator<Item = &CdrRow> {
    let is_believed = |row: &&CdrRow| !row.is_shifted() && !row.is_rewritten();
    let any_believed = rows.iter().any(|row| is_believed(&row));
    rows.iter().filter(move |row| !any_believed || is_believed(row))
}

/// A recording that is held is a finding, until it is held no more.
async fn note_held(tx: &mut Conn, pbx: &str, id: i64, is_held: bool, now: Timestamp) -> Result<()> {
    let Some(subject) = queue::path_of(tx, id).await? else { return Ok(()) };
    let detail = "an [[exclude]] rule may apply to this recording, and the row of its call cannot be read: it is neither \
                  archived nor left out until the PBX lists the call readably, or the rule is changed";
    let detail = is_held.then(|| detail.to_owned());
    findings::settle(tx, pbx, FindingKind::DoubtfulRow, &subject, detail, now).await
}

pub fn rules_of(config: &Config, pbx: &str) -> Arc<Vec<ExclusionRule>> {
    Arc::new(config.exclude.iter().filter(|rule| rule.is_for(pbx)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> CallFacts<'static> {
        CallFacts {
            callfrom: Field::text("5550142"),
            callto: Field::text("6200(1003)"),
            direction: Field::text("Inbound"),
            did: Field::text("5550100"),
            srctrunk: Field::text("siptrunk1"),
            dsttrunk: Field::text(""),
            talk_s: Reported::Known(58),
        }
    }

    fn rule(change: impl FnOnce(&mut ExclusionRule)) -> ExclusionRule {
        let mut rule = ExclusionRule { name: "rule".to_owned(), ..ExclusionRule::default() };
        change(&mut rule);
        rule
    }

    fn list(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn a_rule_matches_if_all_that_it_says_holds() {
        let cases: [(ExclusionRule, bool); 19] = [
            (rule(|_| {}), false),
            (rule(|rule| rule.pbx = list(&["hq"])), true),
            (rule(|rule| rule.pbx = list(&["branch"])), false),
            (rule(|rule| rule.extension = list(&["1001", "1003"])), true),
            (rule(|rule| rule.extension = list(&["6200"])), true),
            (rule(|rule| rule.extension = list(&["5550142"])), true),
            (rule(|rule| rule.extension = list(&["100", "6200(1003)"])), false),
            (rule(|rule| rule.direction = list(&["in bound"])), true),
            (rule(|rule| rule.direction = list(&["Internal"])), false),
            (rule(|rule| rule.did = list(&["5550100"])), true),
            (rule(|rule| rule.did = list(&["555"])), false),
            (rule(|rule| rule.trunk = list(&["siptrunk1"])), true),
            (rule(|rule| rule.trunk = list(&[""])), false),
            (rule(|rule| rule.shorter_than_s = Some(58)), false),
            (rule(|rule| rule.shorter_than_s = Some(59)), true),
            (rule(|rule| rule.longer_than_s = Some(58)), false),
            (rule(|rule| rule.longer_than_s = Some(57)), true),
            (rule(|rule| (rule.extension, rule.did) = (list(&["1003"]), list(&["5550100"]))), true),
            (rule(|rule| (rule.extension, rule.did) = (list(&["1003"]), list(&["5550199"]))), false),
        ];
        for (rule, wanted) in cases {
            let rules = [rule];
            let wanted = if wanted { Ruling::Excluded("rule") } else { Ruling::Kept };
            assert_eq!(ruling_on_call(&rules, "hq", &call()), wanted, "{rules:?}");
        }
    }

    #[test]
    fn a_call_of_unknown_length_is_neither_short_nor_long() {
        let rules = [rule(|rule| rule.shorter_than_s = Some(9)), rule(|rule| rule.longer_than_s = Some(0))];
        assert_eq!(
            ruling_on_call(&rules, "hq", &CallFacts { talk_s: Reported::Absent, ..call() }),
            Ruling::Kept
        );
    }

    #[test]
    fn a_rule_that_meets_an_unreadable_field_neither_holds_nor_does_not() {
        let short = [rule(|rule| rule.shorter_than_s = Some(9))];
        let facts = || CallFacts { talk_s: Reported::Unreadable, ..call() };
        assert_eq!(ruling_on_call(&short, "hq", &facts()), Ruling::Unknown);
        // What another condition rules out, an unreadable field does not bring back.
        let elsewhere = [rule(|rule| (rule.shorter_than_s, rule.did) = (Some(9), list(&["1"])))];
        assert_eq!(ruling_on_call(&elsewhere, "hq", &facts()), Ruling::Kept);
        // Another rule that holds for certain holds.
        let both = [
            short[0].clone(),
            rule(|rule| (rule.name, rule.extension) = ("private".to_owned(), list(&["1003"]))),
        ];
        assert_eq!(ruling_on_call(&both, "hq", &facts()), Ruling::Excluded("private"));
        // A field that no rule looks at may be anything.
        assert_eq!(ruling_on_call(&both[1..], "hq", &facts()), Ruling::Excluded("private"));
        // One row for which no rule holds is enough to archive it, and no other row can say otherwise.
        assert_eq!(ruling(&short, "hq", [facts(), call()]), Ruling::Kept);
        let brief = CallFacts { talk_s: Reported::Known(1), ..call() };
        assert_eq!(ruling(&short, "hq", [brief, facts()]), Ruling::Unknown);
    }

    #[test]
    fn a_trunk_is_known_in_any_encoding_and_a_rounded_number_in_none() {
        let trunk = [rule(|rule| rule.trunk = list(&["中继一"]))];
        for (name, wanted) in [("中继一", true), ("中继二", false)] {
            let row = CdrRow {
                srctrunkname: Text::from_bytes(&encoding_rs::GB18030.encode(name).0),
                ..CdrRow::default()
            };
            let wanted = if wanted { Ruling::Excluded("rule") } else { Ruling::Kept };
            assert_eq!(ruling_on_call(&trunk, "hq", &CallFacts::of(&row)), wanted, "{name}");
        }
        let did = [rule(|rule| rule.did = list(&["5550100"]))];
        let row = CdrRow { didnumber: Text::Utf8("5.55E+06".to_owned()), ..CdrRow::default() };
        assert_eq!(ruling_on_call(&did, "hq", &CallFacts::of(&row)), Ruling::Unknown);
        let row = CdrRow { didnumber: Text::Utf8("NULL".to_owned()), ..CdrRow::default() };
        assert_eq!(ruling_on_call(&did, "hq", &CallFacts::of(&row)), Ruling::Kept);
    }

    #[test]
    fn a_recording_is_excluded_only_if_every_row_that_names_it_is() {
        let private = rule(|rule| (rule.name, rule.extension) = ("private".to_owned(), list(&["1003"])));
        let short = rule(|rule| (rule.name, rule.shorter_than_s) = ("short".to_owned(), Some(5)));
        let rules = [private, short];
        let brief = || CallFacts { callto: Field::text("1004"), talk_s: Reported::Known(3), ..call() };
        let kept = || CallFacts { callto: Field::text("1004"), ..call() };
        assert_eq!(ruling(&rules, "hq", [call()]), Ruling::Excluded("private"));
        assert_eq!(ruling(&rules, "hq", [brief(), call()]), Ruling::Excluded("short"));
        assert_eq!(ruling(&rules, "hq", [call(), kept()]), Ruling::Kept);
        assert_eq!(ruling(&rules, "hq", [kept(), call()]), Ruling::Kept);
        assert_eq!(ruling(&rules, "hq", []), Ruling::Kept);
    }

    #[test]
    fn of_a_shifted_row_nothing_is_known() {
        let shifted = Some(crate::formats::cdr::DoubtCause::Shifted);
        let row = CdrRow { doubt: shifted, didnumber: Text::Utf8("5550100".to_owned()), ..CdrRow::default() };
        assert_eq!(CallFacts::of(&row).did, Field::Unreadable);
        let row = CdrRow { doubt: None, ..row };
        assert_eq!(CallFacts::of(&row), CallFacts { did: Field::text("5550100"), ..CallFacts::default() });
    }
}
