//! `[[exclude]]` and `[[must_record]]`: calls whose recordings are not archived, and calls that must have one.

use toml::de::DeValue;

use super::keys::nearest;
use super::section::{Section, Wrong, quotable, wrong};
use super::{ExclusionRule, value};

/// The longest name of a rule.
const NAME_CHARS_MAX: usize = 64;

/// The longest talk time that a rule can be about: a day.
const TALK_S_MAX: f64 = 86_400.0;

/// Reads the section; `ids` are those of the PBXs. Nothing if something is wrong.
pub(super) fn exclude(section: &Section<'_>, ids: &[String]) -> Option<ExclusionRule> {
    let name = section.require("name", "\"…\", as it is to stand in lists", name);
    let rule = ExclusionRule {
        // The CDR has whole seconds: less than 2.5 s is less than 3 s, and more than 2.5 s is more than 2 s.
        shorter_than_s: section.read("shorter_than_s", |value| talk(value).map(|s| seconds(s.ceil()))),
        longer_than_s: section.read("longer_than_s", |value| talk(value).map(|s| seconds(s.floor()))),
        ..conditions(section, ids)
    };
    refuse_all_or_nothing(section, &rule);
    Some(ExclusionRule { name: name?, ..rule })
}

impl ExclusionRule {
    /// Whether it is about this PBX at all.
    pub fn is_for(&self, pbx: &str) -> bool {
        self.pbx.is_empty() || self.pbx.iter().any(|id| id == pbx)
    }
}

/// The conditions that both sections have.
fn conditions(section: &Section<'_>, ids: &[String]) -> ExclusionRule {
    ExclusionRule {
        pbx: pbx_ids(section, ids),
        extension: list(section, "extension"),
        direction: list(section, "direction"),
        did: list(section, "did"),
        trunk: list(section, "trunk"),
        ..ExclusionRule::default()
    }
}

/// A rule that excludes everything is a mistake, and so is one that can never match.
fn refuse_all_or_nothing(section: &Section<'_>, rule: &ExclusionRule) {
    // An unknown key may be a condition that is misspelt; that has been said.
    if section.has_only(&["name"]) {
        let remedy = "add a condition such as shorter_than_s = 3, or remove the rule";
        section.reject_whole(wrong("has no condition and would exclude every recording", remedy));
    }
    if rule.shorter_than_s == Some(0) {
        section.reject("shorter_than_s", wrong("no call is shorter than that", "write 1 or more"));
    } else if let (Some(shorter), Some(longer)) = (rule.shorter_than_s, rule.longer_than_s)
        && shorter <= longer + 1
    {
        let remedy = "make two rules of it, or make longer_than_s smaller";
        section.reject("longer_than_s", wrong("no call is longer than that and shorter_than_s too", remedy));
    }
}

fn name(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = value::text(value)?;
    if text.trim() != text || text.chars().count() > NAME_CHARS_MAX {
        let message = format!("must be 1 to {NAME_CHARS_MAX} characters without spaces around them");
        return Err(wrong(message, "write a short name"));
    }
    Ok(text.to_owned())
}

/// One text or a list of them; none if the key is absent or wrong.
fn list(section: &Section<'_>, key: &'static str) -> Vec<String> {
    section.each(key, |text| Ok(text.to_owned()))
}

/// The ids under `pbx`, each of which must be one of `ids`.
pub(super) fn pbx_ids(section: &Section<'_>, ids: &[String]) -> Vec<String> {
    section.each("pbx", |text| {
        if ids.iter().any(|id| id == text) {
            return Ok(text.to_owned());
        }
        let remedy = match nearest(text, ids.iter().map(String::as_str)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("the ids are {}", quotable(&ids.join(", "))),
        };
        Err(wrong("no [[pbx]] has this id", remedy))
    })
}

fn talk(value: &DeValue<'_>) -> Result<f64, Wrong> {
    value::number(value, &(0.0..=TALK_S_MAX), "seconds")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number of seconds, at most a day"
)]
fn seconds(whole: f64) -> u64 {
    whole as u64
}

/// Talk time from which on a call must have a recording, unless the section says otherwise: a caller who hangs up at once may
/// be gone before the PBX begins to record.
const MIN_TALK_S: u64 = 10;

/// The longest talk time that a section can ask for: a day.
const MUST_TALK_S_MAX: u64 = 86_400;

/// The longest reason, in characters.
const REASON_CHARS_MAX: usize = 200;

/// Calls that must have a recording.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MustRecord {
    /// Which calls; it has no name.
    pub conditions: ExclusionRule,
    /// The least talk time, in seconds. A call whose talk time is not known is not judged.
    pub min_talk_s: u64,
    /// Why they must be recorded, for whoever reads the finding.
    pub reason: Option<String>,
}

/// Reads the section; `ids` are those of the PBXs.
pub(super) fn must_record(section: &Section<'_>, ids: &[String]) -> MustRecord {
    // An unknown key may be a condition that is misspelt; that has been said.
    if section.has_only(&["min_talk_s", "reason"]) {
        let remedy = "add a condition such as extension = [\"1001\"], or pbx = \"…\" for all calls of a PBX";
        section.reject_whole(wrong("does not say which calls must be recorded", remedy));
    }
    MustRecord {
        conditions: conditions(section, ids),
        min_talk_s: section.count("min_talk_s", MIN_TALK_S, 1..=MUST_TALK_S_MAX),
        reason: section.read("reason", reason),
    }
}

fn reason(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = value::text(value)?.trim();
    if text.is_empty() || text.chars().count() > REASON_CHARS_MAX {
        let message = format!("must be 1 to {REASON_CHARS_MAX} characters");
        return Err(wrong(message, "write a short reason, or remove the line"));
    }
    Ok(text.to_owned())
}
