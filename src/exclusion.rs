//! Which recordings the operator's rules keep out of the archive: pure, so that a reload can decide anew.

use crate::cdr::{CdrRow, normal, parties};
use crate::config::ExclusionRule;
use crate::message::Message;
use crate::recording::Text;

/// What a rule looks at in a call row. A field that is not text is empty here, so that no rule matches it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallFacts<'a> {
    /// Who called.
    pub callfrom: &'a str,
    /// Who was called, such as `6200(1003)`.
    pub callto: &'a str,
    /// The call's type, such as `Inbound`.
    pub direction: &'a str,
    /// The number that was dialled from outside.
    pub did: &'a str,
    /// The trunk it came in by.
    pub srctrunk: &'a str,
    /// The trunk it went out by.
    pub dsttrunk: &'a str,
    /// Talk time in seconds, if known.
    pub talk_s: Option<u64>,
}

impl<'a> CallFacts<'a> {
    /// The facts of a row.
    pub fn of(row: &'a CdrRow) -> Self {
        fn text(field: &Text) -> &str {
            field.as_str().unwrap_or_default()
        }
        Self {
            callfrom: text(&row.callfrom),
            callto: text(&row.callto),
            direction: text(&row.call_type),
            did: text(&row.didnumber),
            srctrunk: text(&row.srctrunkname),
            dsttrunk: text(&row.dsttrunkname),
            talk_s: row.talkduraction.known(),
        }
    }

    /// What a voicemail message has of them.
    pub fn of_message(message: &'a Message) -> Self {
        let Message { extension, caller, .. } = message;
        Self { callfrom: caller, callto: extension, talk_s: message.length_s(), ..Self::default() }
    }
}

/// The name of the first rule that matches a call row of the PBX `pbx`.
pub fn excluding<'r>(rules: &'r [ExclusionRule], pbx: &str, row: &CallFacts<'_>) -> Option<&'r str> {
    rules.iter().find(|rule| matches(rule, pbx, row)).map(|rule| rule.name.as_str())
}

/// The rule that excludes a recording, given every row that names it: each must match some rule, and the first row's is
/// named. A recording that no row names is not excluded.
pub fn verdict<'a>(
    rules: &[ExclusionRule],
    pbx: &str,
    rows: impl IntoIterator<Item = CallFacts<'a>>,
) -> Option<String> {
    let mut names = rows.into_iter().map(|row| excluding(rules, pbx, &row));
    let first = names.next()??;
    names.all(|name| name.is_some()).then(|| first.to_owned())
}

/// Whether all conditions of a rule hold. A rule without any would exclude everything and is taken for a slip.
fn matches(rule: &ExclusionRule, pbx: &str, row: &CallFacts<'_>) -> bool {
    let is_any_of = |list: &[String], values: &[&str]| {
        let has =
            |wanted: &String| values.iter().any(|value| !value.is_empty() && value.trim() == wanted.trim());
        list.is_empty() || list.iter().any(has)
    };
    let numbers: Vec<&str> = [row.callfrom, row.callto].into_iter().flat_map(parties).collect();
    let direction = normal(row.direction);
    has_condition(rule)
        && (rule.pbx.is_empty() || rule.pbx.iter().any(|id| id == pbx))
        && is_any_of(&rule.extension, &numbers)
        && (rule.direction.is_empty() || rule.direction.iter().any(|wanted| normal(wanted) == direction))
        && is_any_of(&rule.did, &[row.did])
        && is_any_of(&rule.trunk, &[row.srctrunk, row.dsttrunk])
        && rule.shorter_than_s.is_none_or(|limit_s| row.talk_s.is_some_and(|talk_s| talk_s < limit_s))
        && rule.longer_than_s.is_none_or(|limit_s| row.talk_s.is_some_and(|talk_s| talk_s > limit_s))
}

fn has_condition(rule: &ExclusionRule) -> bool {
    let lists = [&rule.pbx, &rule.extension, &rule.direction, &rule.did, &rule.trunk];
    lists.iter().any(|list| !list.is_empty()) || rule.shorter_than_s.is_some() || rule.longer_than_s.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::Told;

    const CALL: CallFacts<'_> = CallFacts {
        callfrom: "5550142",
        callto: "6200(1003)",
        direction: "Inbound",
        did: "5550100",
        srctrunk: "siptrunk1",
        dsttrunk: "",
        talk_s: Some(58),
    };

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
            assert_eq!(excluding(&rules, "hq", &CALL), wanted.then_some("rule"), "{rules:?}");
        }
    }

    #[test]
    fn a_call_of_unknown_length_is_neither_short_nor_long() {
        let rules = [rule(|rule| rule.shorter_than_s = Some(9)), rule(|rule| rule.longer_than_s = Some(0))];
        assert_eq!(excluding(&rules, "hq", &CallFacts { talk_s: None, ..CALL }), None);
    }

    #[test]
    fn a_recording_is_excluded_only_if_every_row_that_names_it_is() {
        let private = rule(|rule| (rule.name, rule.extension) = ("private".to_owned(), list(&["1003"])));
        let short = rule(|rule| (rule.name, rule.shorter_than_s) = ("short".to_owned(), Some(5)));
        let rules = [private, short];
        let brief = CallFacts { callto: "1004", talk_s: Some(3), ..CALL };
        let kept = CallFacts { callto: "1004", ..CALL };
        assert_eq!(verdict(&rules, "hq", [CALL]).as_deref(), Some("private"));
        assert_eq!(verdict(&rules, "hq", [brief, CALL]).as_deref(), Some("short"));
        assert_eq!(verdict(&rules, "hq", [CALL, kept]), None);
        assert_eq!(verdict(&rules, "hq", [kept, CALL]), None);
        assert_eq!(verdict(&rules, "hq", []), None);
    }

    #[test]
    fn the_facts_of_a_row_leave_out_what_is_no_text() {
        let row = CdrRow { callto: Text::Bytes { hex: "ff".to_owned() }, ..CdrRow::default() };
        let row =
            CdrRow { didnumber: Text::Utf8("5550100".to_owned()), talkduraction: Told::Known(3), ..row };
        assert_eq!(
            CallFacts::of(&row),
            CallFacts { did: "5550100", talk_s: Some(3), ..CallFacts::default() }
        );
    }
}
