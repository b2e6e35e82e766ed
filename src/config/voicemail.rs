//! The keys of a `[[pbx]]` section that concern its voicemail.

use super::section::Section;

/// Messages that a device keeps in one box, unless its administrator says otherwise (`docs/pbx-api.md` §10).
const PER_EXTENSION: u64 = 50;

const PER_EXTENSION_MAX: u64 = 100_000;

/// How one PBX's voicemail is dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoicemailConfig {
    /// Whether the service polls the boxes.
    pub is_polled: bool,
    /// Whether the folder of a message, as the list names it, is sent when it is asked for.
    pub sends_status: bool,
    /// How many messages the device keeps for one extension before it deletes the oldest: a hint, no API tells it.
    pub per_extension: u64,
}

impl Default for VoicemailConfig {
    fn default() -> Self {
        Self { is_polled: true, sends_status: true, per_extension: PER_EXTENSION }
    }
}

pub(super) fn read(section: &Section<'_>) -> VoicemailConfig {
    let default = VoicemailConfig::default();
    VoicemailConfig {
        is_polled: section.switch("voicemail", default.is_polled),
        sends_status: section.switch("voicemail_status", default.sends_status),
        per_extension: section.count("voicemail_per_extension", default.per_extension, 1..=PER_EXTENSION_MAX),
    }
}
