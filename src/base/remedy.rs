//! What the reason of a failure means to an operator, and what to do about it.

use serde::{Deserialize, Serialize};

use super::recording::RecordingState;

/// Recordings that are not archived, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub state: RecordingState,
    /// The class of the last error or the name of the rule; `waiting` if none was tried yet.
    pub reason: String,
    pub count: i64,
    /// The name of one of them, safe to print.
    pub example: String,
}

/// A reason in an operator's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedy {
    pub meaning: &'static str,
    pub remedy: &'static str,
}

const AGAIN: &str = "run the backfill again; to ask at once for what is stuck, run `callvault retry --stuck`";

const COMPARED: &str = "wait for a later run: after an hour callvault downloads it again, and archives it, marked as suspect, \
     if both downloads are equal. The service does so by itself; otherwise run the backfill again after an hour";

/// The words for a recording that is not archived because of `reason` in `state`.
pub fn of(state: &str, reason: &str) -> Remedy {
    if state == RecordingState::Excluded.as_str() {
        let remedy = "nothing; remove the rule from [[exclude]] to archive them";
        return Remedy { meaning: "kept out by your rule", remedy };
    }
    let (meaning, remedy) = of_failure(reason);
    Remedy { meaning, remedy }
}

/// What a reason means, and what to do about it. Those without an entry are numbers of errors, such as `http_503`.
fn of_failure(reason: &str) -> (&'static str, &'static str) {
    let is_number = reason.starts_with("http_") || reason.starts_with("errno_");
    match reason {
        "waiting" => ("not asked for yet", "run the backfill again"),
        "missing" => (
            "the PBX lists them but says that it has no such file",
            "check whether they were deleted on the PBX or its storage is offline; later runs ask for them again, for \
             final ones use `callvault retry NAME`",
        ),
        "deleted" => (
            "deleted from the voicemail box before it was archived",
            "nothing, if its owner deleted it; if the box was full, poll more often or empty the box: callvault looks \
             for it again over several days",
        ),
        "ambiguous" => (
            "the voicemail box has two messages of this name, one read and one unread, and the request does not tell \
             the PBX which one is meant",
            "set `voicemail_status = true`, or mark all messages of that box as read",
        ),
        "renumbered" => ("the voicemail box changed during each download", AGAIN),
        "not_ready" => (
            "the PBX gave an empty file for a call with talk time",
            "nothing yet: callvault asks again over several days, then archives the file as it is and marks it as \
             suspect",
        ),
        "header_size" => (
            "the sizes in the audio's header do not fit the audio, although the PBX sent all that it has",
            COMPARED,
        ),
        "unknown_length" => (
            "the audio is no WAV file and does not say where it ends, so that one download cannot show whether it is \
             whole",
            COMPARED,
        ),
        "ticket" => (
            "the PBX refused its own download tickets",
            "check that nothing between here and the PBX changes our address (NAT with several addresses: set \
             `allowed_ip`)",
        ),
        "truncated" | "reset" | "stall" | "slow" | "timeout" | "empty_body" => (
            "the transfer broke off",
            "check the network to the PBX and the PBX's load, then run the backfill again",
        ),
        "oversize" => (
            "larger than `recording_bytes_max`, or a body without an end",
            "raise `recording_bytes_max` if such recordings exist",
        ),
        "json_body" | "html_body" | "not_audio" | "protocol" => {
            ("the PBX sent something else instead of audio", AGAIN)
        }
        "doubtful_row" => (
            "their CDR row, or a field of it that a rule of [[exclude]] needs, cannot be read for certain",
            "look at those calls on the PBX and correct the row there, or correct the rule; the next reading decides",
        ),
        "redirect" => (
            "the PBX, or a filter in front of it, redirects the request to another page",
            "check what stands between here and the PBX; callvault asks again once a day for what is stuck, or at once \
             with `callvault retry --stuck`",
        ),
        "unsupported" => ("the PBX says that it does not support this request", AGAIN),
        "archive" => {
            ("the archive could not be written", "check the archive's disk, then run the backfill again")
        }
        "found" => (
            "a file that callvault did not write is in their place",
            "if you know that it is the recording, take it with `callvault accept NAME --reason \"…\"`; otherwise move \
             it away",
        ),
        _ if is_number => ("the PBX reported an error of its own", AGAIN),
        _ => ("failed", AGAIN),
    }
}

/// A group of recordings that are not archived, in two indented lines: how many and why, and what to do.
pub fn in_words(reason: &Reason) -> String {
    let Remedy { meaning, remedy } = of(reason.state.as_str(), &reason.reason);
    format!(
        "  {} {} ({}): {meaning}, such as {}\n    What to do: {remedy}.",
        reason.count, reason.state, reason.reason, reason.example
    )
}
