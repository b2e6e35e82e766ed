//! What the reason of a failure means to an operator, and what to do about it.

use serde::{Deserialize, Serialize};

use super::recording::RecordingState;
use super::words::words;

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

words! {
    /// The reasons with a remedy of their own. Others are numbers of errors, such as `http_503` and `errno_20014`.
    enum Cause as "reason" {
        Ambiguous = "ambiguous",
        Archive = "archive",
        Deleted = "deleted",
        DoubtfulRow = "doubtful_row",
        EmptyBody = "empty_body",
        Found = "found",
        HeaderSize = "header_size",
        HtmlBody = "html_body",
        JsonBody = "json_body",
        Missing = "missing",
        NotAudio = "not_audio",
        NotReady = "not_ready",
        Oversize = "oversize",
        Protocol = "protocol",
        Redirect = "redirect",
        Renumbered = "renumbered",
        Reset = "reset",
        Slow = "slow",
        Stall = "stall",
        Ticket = "ticket",
        Timeout = "timeout",
        Truncated = "truncated",
        UnknownLength = "unknown_length",
        Unsupported = "unsupported",
        Waiting = "waiting",
    }
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
    let meaning = if reason.starts_with("http_") || reason.starts_with("errno_") {
        "the PBX reported an error of its own"
    } else {
        "failed"
    };
    reason.parse().map_or(Remedy { meaning, remedy: AGAIN }, Cause::remedy)
}

impl Cause {
    fn remedy(self) -> Remedy {
        let (meaning, remedy) = match self {
            Self::Waiting => ("not asked for yet", "run the backfill again"),
            Self::Missing => (
                "the PBX lists them but says that it has no such file",
                "check whether they were deleted on the PBX or its storage is offline; later runs ask for them again, \
                 for final ones use `callvault retry NAME`",
            ),
            Self::Deleted => (
                "deleted from the voicemail box before it was archived",
                "nothing, if its owner deleted it; if the box was full, poll more often or empty the box: callvault \
                 looks for it again over several days",
            ),
            Self::Ambiguous => (
                "the voicemail box has two messages of this name, one read and one unread, and the request does not \
                 tell the PBX which one is meant",
                "set `voicemail_status = true`, or mark all messages of that box as read",
            ),
            Self::Renumbered => ("the voicemail box changed during each download", AGAIN),
            Self::NotReady => (
                "the PBX gave an empty file for a call with talk time",
                "nothing yet: callvault asks again over several days, then archives the file as it is and marks it \
                 as suspect",
            ),
            Self::HeaderSize => (
                "the sizes in the audio's header do not fit the audio, although the PBX sent all that it has",
                COMPARED,
            ),
            Self::UnknownLength => (
                "the audio is no WAV file and does not say where it ends, so that one download cannot show whether it \
                 is whole",
                COMPARED,
            ),
            Self::Ticket => (
                "the PBX refused its own download tickets",
                "check that nothing between here and the PBX changes our address (NAT with several addresses: set \
                 `allowed_ip`)",
            ),
            Self::Truncated | Self::Reset | Self::Stall | Self::Slow | Self::Timeout | Self::EmptyBody => (
                "the transfer broke off",
                "check the network to the PBX and the PBX's load, then run the backfill again",
            ),
            Self::Oversize => (
                "larger than `recording_bytes_max`, or a body without an end",
                "raise `recording_bytes_max` if such recordings exist",
            ),
            Self::JsonBody | Self::HtmlBody | Self::NotAudio | Self::Protocol => {
                ("the PBX sent something else instead of audio", AGAIN)
            }
            Self::DoubtfulRow => (
                "their CDR row, or a field of it that a rule of [[exclude]] needs, cannot be read for certain",
                "look at those calls on the PBX and correct the row there, or correct the rule; the next reading decides",
            ),
            Self::Redirect => (
                "the PBX, or a filter in front of it, redirects the request to another page",
                "check what stands between here and the PBX; callvault asks again once a day for what is stuck, or at \
                 once with `callvault retry --stuck`",
            ),
            Self::Unsupported => ("the PBX says that it does not support this request", AGAIN),
            Self::Archive => {
                ("the archive could not be written", "check the archive's disk, then run the backfill again")
            }
            Self::Found => (
                "a file that callvault did not write is in their place",
                "if you know that it is the recording, take it with `callvault accept NAME --reason \"…\"`; otherwise \
                 move it away",
            ),
        };
        Remedy { meaning, remedy }
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
