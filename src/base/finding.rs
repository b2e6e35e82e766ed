//! The kinds of finding: a closed set, in SQL, JSON and the label of a metric.

use crate::base::words::words;

words! {
    pub enum FindingKind as "kind of finding" {
        /// A CDR file that could not be read at all, or that proves nothing of its days.
        BadFile = "bad_file",
        /// An entry of a list of voicemail from which no message could be read.
        BadMessage = "bad_message",
        /// A CDR row that could not be read.
        BadRow = "bad_row",
        /// The PBX has listed no call for much longer than is usual there.
        CallsStopped = "calls_stopped",
        /// A reading of a day held fewer rows than are known of it.
        CdrShrank = "cdr_shrank",
        /// The PBX's clock jumped between two readings.
        ClockJumped = "clock_jumped",
        /// The PBX's clock is far from ours, by a steady difference.
        ClockSkewed = "clock_skewed",
        /// One recording, two contents: both are kept.
        Conflict = "conflict",
        /// A day has closed, and what became of its recordings does not add up.
        DayDoesNotSum = "day_does_not_sum",
        /// A day has closed, and recordings that were listed are missing.
        DayIncomplete = "day_incomplete",
        /// A day whose calls could not be read, or not all of them, while the PBX answers otherwise.
        DayUnread = "day_unread",
        /// A recording that an exclusion rule may keep out, and whose row cannot be read: it is held.
        DoubtfulRow = "doubtful_row",
        /// A day whose CDR had rows that could not be read for certain, for more than a day now.
        DoubtsOpen = "doubts_open",
        /// An event told of a call that the PBX's CDR does not list.
        EventWithoutRow = "event_without_row",
        /// An archived file has other bytes than it had.
        FileAltered = "file_altered",
        /// An archived file, or its sidecar, is gone.
        FileMissing = "file_missing",
        /// A file in the archive that callvault did not put there.
        FileUnlisted = "file_unlisted",
        /// An archived file, or a folder of the archive, that cannot be read.
        FileUnreadable = "file_unreadable",
        /// A file that callvault did not write stands at the place of a recording that the PBX does not have.
        Found = "found",
        /// No more of the PBX's calls are read at present: it has told too many, or the disk of the database is nearly full.
        IntakeSlowed = "intake_slowed",
        /// The ledger is not what it was, or the catalog says otherwise than it does.
        LedgerMismatch = "ledger_mismatch",
        /// The PBX seems to give at most so many rows of its CDR in one reply, and does not say so.
        LimitSuspected = "limit_suspected",
        /// Answered calls of a day that `[[must_record]]` names, and that name no recording.
        MustRecord = "must_record",
        /// Something in the archive that could not be used when the database was made anew.
        NotRebuilt = "not_rebuilt",
        /// The PBX's own offset from UTC and the configured time zone disagree.
        OffsetDisagrees = "offset_disagrees",
        /// An archived recording of two sides, of which one is silent.
        OneSided = "one_sided",
        /// Something that is not archived yet is overwritten soon.
        OverwriteNear = "overwrite_near",
        /// The clock of this machine is not known to be right.
        OwnClock = "own_clock",
        /// A file lay where a recording belongs, and was no recording: it was moved to quarantine.
        Quarantined = "quarantined",
        /// Calls of a group that used to be recorded are not recorded any more.
        RecordingStopped = "recording_stopped",
        /// An archived recording was named by a call far from the first, and could not be fetched again.
        RefetchFailed = "refetch_failed",
        /// Two calls that were not at one time have the same audio.
        SameAudio = "same_audio",
        /// The CDR names another serial number than the PBX had.
        SerialNumberChanged = "serial_number_changed",
        /// A day that usually has calls had none.
        SilentDay = "silent_day",
        /// The PBX says of one recording after another that it has none: its store is most likely offline.
        StoreOffline = "store_offline",
        /// A voicemail box holds nearly as many messages as the device keeps: it deletes the oldest.
        VoicemailNearlyFull = "voicemail_nearly_full",
        /// The voicemail boxes could not be listed.
        VoicemailUnlisted = "voicemail_unlisted",
    }
}

impl FindingKind {
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
