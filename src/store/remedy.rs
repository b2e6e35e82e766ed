//! What the class of a failure means to an operator, and what to do about it.

mod finding;

pub use finding::of_finding;

use crate::store::queue::Reason;

/// A reason in an operator's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedy {
    /// What happened.
    pub meaning: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

const AGAIN: &str = "run the backfill again; what is stuck comes back with `callvault retry --stuck`";

/// The words for a recording that is not archived because of `reason` in `state`.
pub fn of(state: &str, reason: &str) -> Remedy {
    let (meaning, remedy) = match (state, reason) {
        ("excluded", _) => {
            ("kept out by your rule", "nothing; remove the rule from [[exclude]] to archive them")
        }
        (_, "waiting") => ("not asked for yet", "run the backfill again"),
        (_, "missing") => (
            "the PBX lists them but says that it has no such file",
            "check whether they were deleted on the PBX or its storage is offline; later runs ask for \
             them again, for final ones use `callvault retry NAME`",
        ),
        (_, "deleted") => (
            "deleted from its voicemail box before it was archived",
            "nothing, if its owner deleted it; if the box was full, poll more often or empty the box: it is looked for \
             again over days",
        ),
        (_, "ambiguous") => (
            "two messages of a voicemail box have one name, read and unread, and the PBX is not told which is meant",
            "set `voicemail_status = true`, or mark all messages of that box as read",
        ),
        (_, "renumbered") => ("the voicemail box changed during each download", AGAIN),
        (_, "not_ready") => (
            "the PBX gave an empty file for a call with talk time",
            "nothing yet: they are asked for again over days, then archived as they are and marked suspect",
        ),
        (_, "header_size") => (
            "the sizes in the header of the audio do not fit the audio, though all that the PBX sends has come",
            "nothing but a later run: callvault compares a second download after an hour, and archives equal ones, marked \
             suspect `header_size`; the service does it by itself, else run the backfill again after an hour",
        ),
        (_, "unknown_length") => (
            "the PBX gave audio that is no WAV file and does not tell where it ends, so that one download does not show \
             whether it is whole",
            "nothing but a later run: callvault compares a second download after an hour, and archives equal ones, marked \
             suspect `container`; the service does it by itself, else run the backfill again after an hour",
        ),
        (_, "ticket") => (
            "the PBX refused its own download tickets",
            "check that nothing between here and the PBX changes our address (NAT with several addresses: set \
             `allowed_ip`)",
        ),
        (_, "truncated" | "reset" | "stall" | "slow" | "timeout" | "empty_body") => (
            "the transfer broke off",
            "check the network to the PBX and its load, then run the backfill again",
        ),
        (_, "oversize") => (
            "larger than `recording_bytes_max`, or a body without an end",
            "raise `recording_bytes_max` if such recordings exist",
        ),
        (_, "json_body" | "html_body" | "not_audio" | "protocol") => {
            ("the PBX sent something else instead of audio", AGAIN)
        }
        (_, "doubtful_row") => (
            "their row of the CDR, or a field of it that a rule of [[exclude]] asks for, cannot be read for certain",
            "see those calls on the PBX; correct the row there, or the rule, and the next reading decides",
        ),
        (_, "redirect") => (
            "the PBX, or a filter on the way to it, redirects the request to another page",
            "see what stands between here and the PBX; what is stuck is asked for again once a day, or at once with \
             `callvault retry --stuck`",
        ),
        (_, "unsupported") => ("the PBX says that it does not support the request for it", AGAIN),
        (_, "archive") => {
            ("the archive could not be written", "see the archive's disk, then run the backfill again")
        }
        (_, reason) if reason.starts_with("http_") || reason.starts_with("errno_") => {
            ("the PBX reported an error of its own", AGAIN)
        }
        _ => ("failed", AGAIN),
    };
    Remedy { meaning, remedy }
}

/// A group of recordings that are not archived, in two indented lines: how many and why, and what to do.
pub fn told(reason: &Reason) -> String {
    let Remedy { meaning, remedy } = of(reason.state.as_str(), &reason.reason);
    format!(
        "  {} {} ({}): {meaning}, such as {}\n    What to do: {remedy}.",
        reason.count, reason.state, reason.reason, reason.example
    )
}
