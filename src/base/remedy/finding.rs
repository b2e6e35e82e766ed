//! What to do about a finding.

use crate::base::finding::FindingKind;

/// What to do about a finding of this kind about `pbx`. A later version may have found something that this one has no
/// word for.
pub fn of_finding(kind: &str, pbx: &str) -> String {
    let seen = format!("`callvault retry --pbx {pbx}`");
    match kind.parse() {
        Ok(kind) => remedy(kind, pbx, &seen),
        Err(_) => format!("look into it, then note with {seen} that you have"),
    }
}

fn remedy(kind: FindingKind, pbx: &str, seen: &str) -> String {
    use FindingKind as Kind;
    let fixed = match kind {
        Kind::SerialNumberChanged
        | Kind::Conflict
        | Kind::DayIncomplete
        | Kind::NotRebuilt
        | Kind::Found
        | Kind::Quarantined
        | Kind::FileUnlisted
        | Kind::FileUnreadable
        | Kind::LedgerMismatch
        | Kind::OverwriteNear
        | Kind::RefetchFailed
        | Kind::CdrShrank
        | Kind::VoicemailUnlisted
        | Kind::VoicemailNearlyFull
        | Kind::DoubtfulRow => return acknowledged(kind, seen),
        Kind::DoubtsOpen | Kind::DayUnread | Kind::IntakeSlowed => return of_list(kind, pbx),
        Kind::MustRecord
        | Kind::RecordingStopped
        | Kind::SilentDay
        | Kind::CallsStopped
        | Kind::SameAudio
        | Kind::OneSided => return of_coverage(kind, seen),
        Kind::StoreOffline => "check the PBX's card, disk or network share for recordings",
        Kind::OffsetDisagrees => "correct `timezone`, or the PBX's clock",
        Kind::BadFile => "correct the file, or remove it from `cdr_folder`",
        Kind::BadMessage => {
            "look at the messages of that box on the PBX: the caller's name of one of them breaks its list"
        }
        Kind::BadRow => {
            "look at the line in the list, or at the call on the PBX: callvault does not know a recording that only \
             this line names. If the list was cut off or edited, export it again"
        }
        Kind::FileMissing | Kind::FileAltered => {
            "restore it from a backup; the next verification sees that it is well again"
        }
        Kind::DayDoesNotSum => {
            "the database contradicts itself: look at the page, and restore the state from a backup"
        }
        Kind::LimitSuspected => {
            "nothing while its days are read whole: callvault asks for shorter stretches of time. If days stay open, \
             export the CDR from the PBX's web interface and read it with `callvault backfill --cdr FILE`"
        }
        Kind::ClockSkewed => "set the PBX's clock, best by a time server; no recording is lost meanwhile",
        Kind::ClockJumped => {
            "let the PBX take its time from a time server; callvault reads the days around the jump again by itself"
        }
        Kind::OwnClock => {
            "let this machine take its time from a time server, such as by chrony or systemd-timesyncd"
        }
        Kind::EventWithoutRow => {
            "look at that call on the PBX, and whether its CDR has it; the finding ends when the CDR does"
        }
    };
    fixed.to_owned()
}

/// What stands until a person has looked at it.
fn acknowledged(kind: FindingKind, seen: &str) -> String {
    match kind {
        FindingKind::SerialNumberChanged => format!(
            "if the device was replaced, confirm it with {seen}; otherwise correct `url`: another PBX answers there"
        ),
        FindingKind::Conflict => {
            format!("both files are kept: compare them, then note with {seen} that you have")
        }
        FindingKind::DayIncomplete => format!(
            "look at its page; if the recordings were deleted on the PBX, or its store was offline, nobody can bring them \
             back: note with {seen} that you have seen it"
        ),
        FindingKind::NotRebuilt => format!(
            "restore it from a backup and run `callvault rebuild` again, with `--vkey KEY` if you have the ledger's key \
             from elsewhere; otherwise note with {seen} that you know"
        ),
        FindingKind::Found => format!(
            "if you know that it is the recording, take it with `callvault accept NAME --reason \"…\"`; otherwise move it \
             away, and run {seen}"
        ),
        FindingKind::Quarantined => format!("look at what was moved, then note with {seen} that you have"),
        _ => format!("look into it, then note with {seen} that you have"),
    }
}

/// What leaves it open whether a list of calls is whole.
fn of_list(kind: FindingKind, pbx: &str) -> String {
    match kind {
        FindingKind::DoubtsOpen => format!(
            "look at those rows on the PBX: callvault does not know a recording that only such a row names. Correct them \
             there, or read an export with `callvault backfill --pbx {pbx} --cdr FILE`"
        ),
        FindingKind::DayUnread => format!(
            "see the log for what the PBX answers for that day; if a restart of the PBX does not help, export the day \
             from its web interface and read it with `callvault backfill --pbx {pbx} --cdr FILE`"
        ),
        _ => format!(
            "if pbx `{pbx}` really has so many calls, raise the key that the finding names; if not, find out what answers \
             in its place; if the disk is full, make room"
        ),
    }
}

/// What callvault cannot archive, because it was never recorded or listed.
fn of_coverage(kind: FindingKind, seen: &str) -> String {
    match kind {
        FindingKind::MustRecord => format!(
            "see on the PBX whether recording is switched on for them, and whether it had room; nobody can bring those \
             calls back: note with {seen} that you have seen it"
        ),
        FindingKind::RecordingStopped => format!(
            "see on the PBX whether recording is still switched on for them, and whether it has room; if you want it so, \
             note that with {seen}. The finding ends when such calls are recorded again"
        ),
        FindingKind::SilentDay => format!(
            "if it was a holiday, or nobody called, note that with {seen}; otherwise find out on the PBX why it listed no \
             call"
        ),
        FindingKind::CallsStopped => format!(
            "if nobody calls there at present, note that with {seen}; otherwise check on the PBX whether it still writes \
             its CDR, and whether its trunks work. The finding ends with the next call"
        ),
        FindingKind::SameAudio => format!(
            "listen to both: the PBX gave one recording for two calls, so that the audio of one of them may be lost. Both \
             files are kept; note with {seen} that you have"
        ),
        _ => format!(
            "listen to it: one side of the conversation is silent. Check the trunk and the network between it and the \
             PBX, then note with {seen} that you have"
        ),
    }
}
