//! The kinds of finding: a closed set, in SQL, JSON and the label of a metric. Each with the alert that it raises, if it
//! raises one, and with what to do about it.

use crate::base::words::words;

words! {
    pub enum Severity as "severity" {
        /// Recordings are not archived, or about to be lost.
        Critical = "critical",
        /// Somebody should look at it.
        Warning = "warning",
    }
}

const CRITICAL: Option<Severity> = Some(Severity::Critical);
const WARNING: Option<Severity> = Some(Severity::Warning);
const LOOK: &str = "look into it, then note with {seen} that you have";

/// The enum from its table: name, word in SQL and JSON, severity of the alert that it raises, and remedy. In a remedy
/// `{pbx}` stands for the PBX, and `{seen}` for the command that closes its findings.
macro_rules! findings {
    ($($(#[$about:meta])* $name:ident = $word:literal, $severity:ident, $remedy:expr;)+) => {
        words! { pub enum FindingKind as "kind of finding" { $($(#[$about])* $name = $word),+ } }

        impl FindingKind {
            /// The severity of the alert that a finding of this kind raises, if it raises one.
            pub fn severity(self) -> Option<Severity> {
                match self { $(Self::$name => $severity),+ }
            }

            fn remedy_of_any(self) -> &'static str {
                match self { $(Self::$name => $remedy),+ }
            }
        }
    };
}

findings! {
    /// A CDR file that could not be read at all, or that proves nothing of its days.
    BadFile = "bad_file", None, "correct the file, or remove it from `cdr_folder`";
    /// An entry of a list of voicemail from which no message could be read.
    BadMessage = "bad_message", None,
        "look at the messages of that box on the PBX: the caller's name of one of them breaks its list";
    /// A CDR row that could not be read.
    BadRow = "bad_row", None,
        "look at the line in the list, or at the call on the PBX: callvault does not know a recording \
         that only this line names. If the list was cut off or edited, export it again";
    /// The PBX has listed no call for much longer than is usual there.
    CallsStopped = "calls_stopped", WARNING,
        "if nobody calls there at present, note that with {seen}; otherwise check on the PBX whether it \
         still writes its CDR, and whether its trunks work. The finding ends with the next call";
    /// A reading of a day held fewer rows than are known of it.
    CdrShrank = "cdr_shrank", None, LOOK;
    /// The PBX's clock jumped between two readings.
    ClockJumped = "clock_jumped", WARNING,
        "let the PBX take its time from a time server; callvault reads the days around the jump again by \
         itself";
    /// The PBX's clock is far from ours, by a steady difference.
    ClockSkewed = "clock_skewed", WARNING,
        "set the PBX's clock, best by a time server; no recording is lost meanwhile";
    /// One recording, two contents: both are kept.
    Conflict = "conflict", WARNING, "both files are kept: compare them, then note with {seen} that you have";
    /// A day has closed, and what became of its recordings does not add up.
    DayDoesNotSum = "day_does_not_sum", CRITICAL,
        "the database contradicts itself: look at the page, and restore the state from a backup";
    /// A day has closed, and recordings that were listed are missing.
    DayIncomplete = "day_incomplete", WARNING,
        "look at its page; if the recordings were deleted on the PBX, or its store was offline, nobody \
         can bring them back: note with {seen} that you have seen it";
    /// A day whose calls could not be read, or not all of them, while the PBX answers otherwise.
    DayUnread = "day_unread", CRITICAL,
        "see the log for what the PBX answers for that day; if a restart of the PBX does not help, export \
         the day from its web interface and read it with `callvault backfill --pbx {pbx} --cdr FILE`";
    /// A recording that an exclusion rule may keep out, and whose row cannot be read: it is held.
    DoubtfulRow = "doubtful_row", None, LOOK;
    /// A day whose CDR had rows that could not be read for certain, for more than a day now.
    DoubtsOpen = "doubts_open", WARNING,
        "look at those rows on the PBX: callvault does not know a recording that only such a row names. \
         Correct them there, or read an export with `callvault backfill --pbx {pbx} --cdr FILE`";
    /// An event told of a call that the PBX's CDR does not list.
    EventWithoutRow = "event_without_row", WARNING,
        "look at that call on the PBX, and whether its CDR has it; the finding ends when the CDR does";
    /// An archived file has other bytes than it had.
    FileAltered = "file_altered", CRITICAL,
        "restore it from a backup; the next verification sees that it is well again";
    /// An archived file, or its sidecar, is gone.
    FileMissing = "file_missing", CRITICAL,
        "restore it from a backup; the next verification sees that it is well again";
    /// A file in the archive that callvault did not put there.
    FileUnlisted = "file_unlisted", WARNING, LOOK;
    /// An archived file, or a folder of the archive, that cannot be read.
    FileUnreadable = "file_unreadable", CRITICAL, LOOK;
    /// A file that callvault did not write stands at the place of a recording that the PBX does not have.
    Found = "found", None,
        "if you know that it is the recording, take it with `callvault accept NAME --reason \"…\"`; \
         otherwise move it away, and run {seen}";
    /// No more of the PBX's calls are read at present: it has told too many, or the disk of the database is nearly full.
    IntakeSlowed = "intake_slowed", CRITICAL,
        "if pbx `{pbx}` really has so many calls, raise the key that the finding names; if not, find out \
         what answers in its place; if the disk is full, make room";
    /// The ledger is not what it was, or the catalog says otherwise than it does.
    LedgerMismatch = "ledger_mismatch", CRITICAL, LOOK;
    /// The PBX seems to give at most so many rows of its CDR in one reply, and does not say so.
    LimitSuspected = "limit_suspected", WARNING,
        "nothing while its days are read whole: callvault asks for shorter stretches of time. If days \
         stay open, export the CDR from the PBX's web interface and read it with `callvault backfill \
         --cdr FILE`";
    /// Answered calls of a day that `[[must_record]]` names, and that name no recording.
    MustRecord = "must_record", CRITICAL,
        "see on the PBX whether recording is switched on for them, and whether it had room; nobody can \
         bring those calls back: note with {seen} that you have seen it";
    /// Something in the archive that could not be used when the database was made anew.
    NotRebuilt = "not_rebuilt", None,
        "restore it from a backup and run `callvault rebuild` again, with `--vkey KEY` if you have the \
         ledger's key from elsewhere; otherwise note with {seen} that you know";
    /// The PBX's own offset from UTC and the configured time zone disagree.
    OffsetDisagrees = "offset_disagrees", WARNING, "correct `timezone`, or the PBX's clock";
    /// An archived recording of two sides, of which one is silent.
    OneSided = "one_sided", WARNING,
        "listen to it: one side of the conversation is silent. Check the trunk and the network between it \
         and the PBX, then note with {seen} that you have";
    /// Something that is not archived yet is overwritten soon.
    OverwriteNear = "overwrite_near", None, LOOK;
    /// The clock of this machine is not known to be right.
    OwnClock = "own_clock", WARNING,
        "let this machine take its time from a time server, such as by chrony or systemd-timesyncd";
    /// A file lay where a recording belongs, and was no recording: it was moved to quarantine.
    Quarantined = "quarantined", None, "look at what was moved, then note with {seen} that you have";
    /// Calls of a group that used to be recorded are not recorded any more.
    RecordingStopped = "recording_stopped", CRITICAL,
        "see on the PBX whether recording is still switched on for them, and whether it has room; if you \
         want it so, note that with {seen}. The finding ends when such calls are recorded again";
    /// An archived recording was named by a call far from the first, and could not be fetched again.
    RefetchFailed = "refetch_failed", None, LOOK;
    /// Two calls that were not at one time have the same audio.
    SameAudio = "same_audio", None,
        "listen to both: the PBX gave one recording for two calls, so that the audio of one of them may \
         be lost. Both files are kept; note with {seen} that you have";
    /// The CDR names another serial number than the PBX had.
    SerialNumberChanged = "serial_number_changed", WARNING,
        "if the device was replaced, confirm it with {seen}; otherwise correct `url`: another PBX answers \
         there";
    /// A day that usually has calls had none.
    SilentDay = "silent_day", WARNING,
        "if it was a holiday, or nobody called, note that with {seen}; otherwise find out on the PBX why \
         it listed no call";
    /// The PBX says of one recording after another that it has none: its store is most likely offline.
    StoreOffline = "store_offline", CRITICAL, "check the PBX's card, disk or network share for recordings";
    /// A voicemail box holds nearly as many messages as the device keeps: it deletes the oldest.
    VoicemailNearlyFull = "voicemail_nearly_full", None, LOOK;
    /// The voicemail boxes could not be listed.
    VoicemailUnlisted = "voicemail_unlisted", None, LOOK;
}

impl FindingKind {
    /// What to do about a finding of this kind about `pbx`.
    pub fn remedy(self, pbx: &str) -> String {
        let seen = format!("`callvault retry --pbx {pbx}`");
        self.remedy_of_any().replace("{seen}", &seen).replace("{pbx}", pbx)
    }

    /// Whether it says that a list could not be read, or not all of it.
    pub fn is_about_lists(self) -> bool {
        use FindingKind::{BadFile, DayUnread, DoubtsOpen, IntakeSlowed, VoicemailUnlisted};
        matches!(self, BadFile | DayUnread | DoubtsOpen | IntakeSlowed | VoicemailUnlisted)
    }

    /// Whether a person has to look at it.
    ///
    /// A PBX forgets old calls by itself, a recording that cannot be fetched again is archived all the same, what is
    /// overwritten soon is forecast anew at each look, and a limit that is only suspected is read around.
    pub fn needs_a_person(self) -> bool {
        use FindingKind::{CdrShrank, LimitSuspected, OverwriteNear, RefetchFailed};
        !matches!(self, CdrShrank | RefetchFailed | OverwriteNear | LimitSuspected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_names_the_pbx_and_the_command_that_closes_its_findings() {
        let remedy = FindingKind::DayUnread.remedy("hq");
        assert!(remedy.ends_with("`callvault backfill --pbx hq --cdr FILE`"), "{remedy}");
        assert!(FindingKind::Found.remedy("hq").ends_with("run `callvault retry --pbx hq`"));
        for kind in FindingKind::ALL {
            assert!(!kind.remedy("hq").contains('{'), "{kind}");
        }
    }
}
