//! An `[[exclude]]` section, read.

use super::keys::nearest;
use super::section::{Section, Wrong, quotable, wrong};
use super::{ExclusionRule, value};
use toml::de::DeValue;

/// The longest name of a rule.
const NAME_CHARS_MAX: usize = 64;

/// The longest talk time that a rule can be about: a day.
const TALK_S_MAX: f64 = 86_400.0;

/// Reads the section; `ids` are those of the PBXs. Nothing if something is wrong.
pub(super) fn read(section: &Section<'_>, ids: &[String]) -> Option<ExclusionRule> {
    let name = section.require("name", "\"…\", as it is to stand in lists", name);
    let rule = ExclusionRule {
        name: String::new(),
        pbx: pbx_ids(section, ids),
        extension: list(section, "extension"),
        direction: list(section, "direction"),
        did: list(section, "did"),
        trunk: list(section, "trunk"),
        // The CDR has whole seconds: less than 2.5 s is less than 3 s, and more than 2.5 s is more than 2 s.
        shorter_than_s: section.read("shorter_than_s", |value| talk(value).map(|s| seconds(s.ceil()))),
        longer_than_s: section.read("longer_than_s", |value| talk(value).map(|s| seconds(s.floor()))),
    };
    refuse_all_or_nothing(section, &rule);
    Some(ExclusionRule { name: name?, ..rule })
}

/// A rule that excludes everything is a mistake, and so is one that can never match.
fn refuse_all_or_nothing(section: &Section<'_>, rule: &ExclusionRule) {
    // An unknown key may be a condition that is misspelt; that has been said.
    if section.has_at_most("name") {
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
pub(super) fn list(section: &Section<'_>, key: &'static str) -> Vec<String> {
    let Some(value) = section.get(key) else { return Vec::new() };
    match value::texts(value) {
        Ok(entries) => entries.into_iter().map(|(text, _)| text.to_owned()).collect(),
        Err(wrong) => {
            section.reject(key, wrong);
            Vec::new()
        }
    }
}

/// The ids under `pbx`, each of which must be one of `ids`.
pub(super) fn pbx_ids(section: &Section<'_>, ids: &[String]) -> Vec<String> {
    let named = list(section, "pbx");
    let Some(Ok(entries)) = section.get("pbx").map(value::texts) else { return named };
    for (text, entry) in entries {
        if !ids.iter().any(|id| id == text) {
            let remedy = match nearest(text, ids.iter().map(String::as_str)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("the ids are {}", quotable(&ids.join(", "))),
            };
            section.reject_part("pbx", entry, wrong("no [[pbx]] has this id", remedy));
        }
    }
    named
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
