//! What was selected and is not in the bag, said before all that is.

use std::collections::BTreeMap;

use askama::Template;

use super::state_in_words;
use crate::base::remedy;
use crate::proof::export::cdr::Absence;
use crate::proof::html;

/// Things of one group that are named; `data/not-exported.jsonl` names all.
const NAMED_MAX: usize = 200;
/// A longer group is folded.
const OPEN_MAX: usize = 10;

#[derive(Template)]
#[template(path = "export_absent.html")]
pub(super) struct Absent<'a> {
    pub(super) absent: &'a [Absence],
    /// Lines of the operator's list that match nothing.
    pub(super) unknown: &'a [String],
}

/// Recordings that are absent for one reason, with that reason in words.
type Group<'a> = (String, Vec<&'a Absence>);

impl<'a> Absent<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.absent.is_empty() && self.unknown.is_empty()
    }

    pub(super) fn has_damage(&self) -> bool {
        self.absent.iter().any(Absence::is_damage)
    }

    fn damaged(&self) -> Vec<&'a Absence> {
        self.absent.iter().filter(|absence| absence.is_damage()).collect()
    }

    fn unarchived(&self) -> [(&'static str, &'static str, Vec<Group<'a>>); 2] {
        let rest = || self.absent.iter().filter(|absence| !absence.is_damage());
        let owed = groups(rest().filter(|absence| !absence.is_excluded()));
        let excluded = groups(rest().filter(|absence| absence.is_excluded()));
        [("never archived", "fair", owed), ("kept out of the archive by a rule", "plain", excluded)]
    }
}

fn groups<'a>(absent: impl Iterator<Item = &'a Absence>) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<(&str, bool, &str), Vec<&Absence>> = BTreeMap::new();
    for absence in absent {
        let reason = absence.reason.as_deref().unwrap_or("waiting");
        groups.entry((&absence.state, absence.r#final, reason)).or_default().push(absence);
    }
    let in_words = |((state, is_final, reason), group)| (why(state, is_final, reason), group);
    groups.into_iter().map(in_words).collect()
}

fn sum(groups: &[Group<'_>]) -> usize {
    groups.iter().map(|(_, group)| group.len()).sum()
}

fn why(state: &str, is_final: bool, reason: &str) -> String {
    match (state, remedy::of(state, reason).meaning) {
        ("excluded", _) => format!("by the rule \u{201c}{reason}\u{201d}"),
        (_, meaning) if is_final => format!("{} for good: {meaning}", state_in_words(state)),
        (_, meaning) => format!("{}: {meaning}", state_in_words(state)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::export::page::samples::absence;

    fn page(absent: &[Absence], unknown: &[&str]) -> String {
        let unknown: Vec<String> = unknown.iter().map(|line| (*line).to_owned()).collect();
        Absent { absent, unknown: &unknown }.render().unwrap()
    }

    #[test]
    fn each_absence_is_told_with_its_reason_in_words() {
        let mut final_one = absence("missing", "deleted", None);
        final_one.r#final = true;
        let absent = [
            absence("missing", "missing", None),
            final_one,
            absence("pending", "waiting", None),
            absence("stuck", "timeout", None),
            absence("excluded", "house <line>", None),
            absence("damaged", "it has other bytes than were archived", Some("data/_damaged/hq/a,.wav")),
            absence("gone", "it was archived and is gone", None),
        ];
        let page = page(&absent, &["<nobody>.wav"]);
        for words in [
            "<h3>2 files damaged or gone since archived</h3>",
            "damaged: it has other bytes than were archived (<a href=\"data/_damaged/hq/a%2C.wav\">what there is now</a>",
            "not here: it was archived and is gone",
            "<h3>4 recordings never archived</h3>",
            "<summary>1 missing on the PBX: the PBX lists them but says that it has no such file</summary>",
            "1 missing on the PBX for good: deleted from the voicemail box before it was archived",
            "1 still to be fetched: not asked for yet",
            "1 stuck after repeated failures: the transfer broke off",
            "<h3>1 recording kept out of the archive by a rule</h3>",
            "1 by the rule \u{201c}house &#60;line&#62;\u{201d}",
            "<h3>1 line of the list of wanted recordings matches no known recording</h3>",
            "&#60;nobody&#62;.wav",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }

    #[test]
    fn of_very_many_the_first_are_named_and_the_others_counted() {
        let absent = vec![absence("missing", "missing", None); NAMED_MAX + 1234];
        let page = page(&absent, &[]);
        assert_eq!(page.matches("hq/2026/01/09/a.wav").count(), NAMED_MAX);
        assert!(
            page.contains("\u{2026} and 1,234 more.") && page.contains("<details><summary>1,434 "),
            "{page}"
        );
    }

    #[test]
    fn nothing_is_said_if_all_is_here() {
        assert_eq!(page(&[], &[]).trim(), "");
    }
}
