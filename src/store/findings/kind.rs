//! The kinds of finding: a closed set, in SQL, JSON and the label of a metric.

use serde::Serialize;

/// The kinds of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A CDR row that could not be read.
    BadRow,
    /// A CDR file that could not be read at all, or that proves nothing of its days.
    BadFile,
    /// A reading of a day held fewer rows than are known of it.
    CdrShrank,
    /// The PBX's own offset from UTC and the configured time zone disagree.
    OffsetDisagrees,
    /// The CDR names another serial number than the PBX had.
    SerialNumberChanged,
    /// The PBX says of one recording after another that it has none: its store is most likely offline.
    StoreOffline,
    /// One recording, two contents: both are kept.
    Conflict,
    /// A file lay where a recording belongs, and was no recording: it was moved to quarantine.
    Quarantined,
    /// A file that callvault did not write stands at the place of a recording that the PBX does not have.
    Found,
    /// An archived file, or its sidecar, is gone.
    FileMissing,
    /// An archived file has other bytes than it had.
    FileAltered,
    /// A file in the archive that callvault did not put there.
    FileUnlisted,
    /// An archived file, or a folder of the archive, that cannot be read.
    FileUnreadable,
    /// The ledger is not what it was, or the catalog says otherwise than it does.
    LedgerMismatch,
    /// Something that is not archived yet is overwritten soon.
    OverwriteNear,
    /// An entry of a list of voicemail from which no message could be read.
    BadMessage,
    /// The voicemail boxes could not be listed.
    VoicemailUnlisted,
    /// A voicemail box holds nearly as many messages as the device keeps: it deletes the oldest.
    VoicemailNearlyFull,
    /// An archived recording was named by a call far from the first, and could not be fetched again.
    RefetchFailed,
    /// A day has closed, and recordings that were listed are missing.
    DayIncomplete,
    /// A day has closed, and what became of its recordings does not add up.
    DayDoesNotSum,
    /// Something in the archive that could not be used when the database was made anew.
    NotRebuilt,
    /// The PBX seems to give at most so many rows of its CDR in one reply, and does not say so.
    LimitSuspected,
    /// A day whose CDR had rows that could not be read for certain, for more than a day now.
    DoubtsOpen,
    /// A day whose calls could not be read, or not all of them, while the PBX answers otherwise.
    DayUnread,
    /// No more of the PBX's calls are read at present: it has told too many, or the disk of the database is nearly full.
    IntakeSlowed,
    /// The PBX's clock is far from ours, by a steady difference.
    ClockSkewed,
    /// The PBX's clock jumped between two readings.
    ClockJumped,
    /// The clock of this machine is not known to be right.
    OwnClock,
    /// Answered calls of a day that `[[must_record]]` names, and that name no recording.
    MustRecord,
    /// Calls of a group that used to be recorded are not recorded any more.
    RecordingStopped,
    /// A day that usually has calls had none.
    SilentDay,
    /// The PBX has listed no call for much longer than is usual there.
    CallsStopped,
    /// An event told of a call that the PBX's CDR does not list.
    EventWithoutRow,
    /// An archived recording of two sides, of which one is silent.
    OneSided,
    /// Two calls that were not at one time have the same audio.
    SameAudio,
    /// A recording that an exclusion rule may keep out, and whose row cannot be read: it is held.
    DoubtfulRow,
}

impl FindingKind {
    /// All of them.
    pub const ALL: [Self; 37] = [
        Self::BadRow,
        Self::BadFile,
        Self::CdrShrank,
        Self::OffsetDisagrees,
        Self::SerialNumberChanged,
        Self::StoreOffline,
        Self::Conflict,
        Self::Quarantined,
        Self::Found,
        Self::FileMissing,
        Self::FileAltered,
        Self::FileUnlisted,
        Self::FileUnreadable,
        Self::LedgerMismatch,
        Self::OverwriteNear,
        Self::BadMessage,
        Self::VoicemailUnlisted,
        Self::VoicemailNearlyFull,
        Self::RefetchFailed,
        Self::DayIncomplete,
        Self::DayDoesNotSum,
        Self::NotRebuilt,
        Self::LimitSuspected,
        Self::DoubtsOpen,
        Self::DayUnread,
        Self::IntakeSlowed,
        Self::ClockSkewed,
        Self::ClockJumped,
        Self::OwnClock,
        Self::MustRecord,
        Self::RecordingStopped,
        Self::SilentDay,
        Self::CallsStopped,
        Self::EventWithoutRow,
        Self::OneSided,
        Self::SameAudio,
        Self::DoubtfulRow,
    ];

    /// The word in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRow => "bad_row",
            Self::BadFile => "bad_file",
            Self::CdrShrank => "cdr_shrank",
            Self::OffsetDisagrees => "offset_disagrees",
            Self::SerialNumberChanged => "serial_number_changed",
            Self::StoreOffline => "store_offline",
            Self::Conflict => "conflict",
            Self::Quarantined => "quarantined",
            Self::Found => "found",
            Self::FileMissing => "file_missing",
            Self::FileAltered => "file_altered",
            Self::FileUnlisted => "file_unlisted",
            Self::FileUnreadable => "file_unreadable",
            Self::LedgerMismatch => "ledger_mismatch",
            Self::OverwriteNear => "overwrite_near",
            Self::BadMessage => "bad_message",
            Self::VoicemailUnlisted => "voicemail_unlisted",
            Self::VoicemailNearlyFull => "voicemail_nearly_full",
            Self::RefetchFailed => "refetch_failed",
            Self::DayIncomplete => "day_incomplete",
            Self::DayDoesNotSum => "day_does_not_sum",
            Self::NotRebuilt => "not_rebuilt",
            Self::LimitSuspected => "limit_suspected",
            Self::DoubtsOpen => "doubts_open",
            Self::DayUnread => "day_unread",
            Self::IntakeSlowed => "intake_slowed",
            Self::ClockSkewed => "clock_skewed",
            Self::ClockJumped => "clock_jumped",
            Self::OwnClock => "own_clock",
            Self::MustRecord => "must_record",
            Self::RecordingStopped => "recording_stopped",
            Self::SilentDay => "silent_day",
            Self::CallsStopped => "calls_stopped",
            Self::EventWithoutRow => "event_without_row",
            Self::OneSided => "one_sided",
            Self::SameAudio => "same_audio",
            Self::DoubtfulRow => "doubtful_row",
        }
    }

    /// Whether a finding of this word says that a list could not be read, or not all of it.
    pub fn is_about_lists(word: &str) -> bool {
        [Self::BadFile, Self::DayUnread, Self::DoubtsOpen, Self::IntakeSlowed, Self::VoicemailUnlisted]
            .iter()
            .any(|kind| kind.as_str() == word)
    }

    /// Whether a person has to look at a finding of this word.
    ///
    /// A PBX forgets old calls by itself, a recording that cannot be fetched again is archived all the same, what is
    /// overwritten soon is forecast anew at each look, and a limit that is only suspected is read around.
    pub fn needs_a_person(word: &str) -> bool {
        ![Self::CdrShrank, Self::RefetchFailed, Self::OverwriteNear, Self::LimitSuspected]
            .iter()
            .any(|harmless| harmless.as_str() == word)
    }
}
