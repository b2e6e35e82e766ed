//! A `[[must_record]]` section: calls that must have a recording.

use toml::de::DeValue;

use super::exclude::{list, pbx_ids};
use super::section::{Section, Wrong, wrong};
use super::value;

/// Talk time from which on a call must have a recording, unless the section says otherwise: who hangs up at once may be
/// gone before the PBX has begun to record.
const MIN_TALK_S: u64 = 10;

/// The longest talk time that a section can ask for: a day.
const TALK_S_MAX: u64 = 86_400;

/// The longest reason, in characters.
const REASON_CHARS_MAX: usize = 200;

/// Calls that must have a recording. All the conditions given must hold, and they mean what those of an
/// [`ExclusionRule`](super::ExclusionRule) do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MustRecord {
    /// The PBXs it applies to; empty means all.
    pub pbx: Vec<String>,
    /// Extensions on either side of the call; empty means any.
    pub extension: Vec<String>,
    /// Call types such as `Inbound`; empty means any. Case does not matter.
    pub direction: Vec<String>,
    /// DID numbers; empty means any.
    pub did: Vec<String>,
    /// Trunk names, on either side; empty means any.
    pub trunk: Vec<String>,
    /// The least talk time, in seconds. A call whose talk time is not known is not judged.
    pub min_talk_s: u64,
    /// Why they must be recorded, for whoever reads the finding.
    pub reason: Option<String>,
}

/// Reads the section; `ids` are those of the PBXs.
pub(super) fn read(section: &Section<'_>, ids: &[String]) -> MustRecord {
    const CONDITIONS: [&str; 5] = ["pbx", "extension", "direction", "did", "trunk"];
    // An unknown key may be a condition that is misspelt; that has been said.
    if !CONDITIONS.iter().any(|key| section.has(key)) && !section.has_unknown() {
        let remedy = "add a condition such as extension = [\"1001\"], or pbx = \"…\" for all calls of a PBX";
        section.reject_whole(wrong("does not say which calls must be recorded", remedy));
    }
    MustRecord {
        pbx: pbx_ids(section, ids),
        extension: list(section, "extension"),
        direction: list(section, "direction"),
        did: list(section, "did"),
        trunk: list(section, "trunk"),
        min_talk_s: section.count("min_talk_s", MIN_TALK_S, 1..=TALK_S_MAX),
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
