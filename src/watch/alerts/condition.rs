//! What raises an alert. Alerts are derived from the state alone, so that none is forgotten and none is sent twice.

use jiff::Timestamp;

use super::{machine, of_pbx};
use crate::config::AlertsConfig;
use crate::watch::status::Status;

/// The enum from its table: name, severity, and the word in SQL and JSON. A condition `of findings` is raised by an open
/// finding whose kind has the same word.
macro_rules! conditions {
    (
        of the state: { $($(#[$about:meta])* $name:ident: $severity:ident = $word:literal,)* }
        of findings: { $($(#[$of_about:meta])* $of_finding:ident: $of_severity:ident = $of_word:literal,)* }
    ) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Condition {
            $($(#[$about])* $name,)*
            $($(#[$of_about])* $of_finding,)*
        }

        impl Condition {
            /// The word in SQL and JSON.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                    $(Self::$of_finding => $of_word,)*
                }
            }

            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)*
                    $(Self::$of_finding => Severity::$of_severity,)*
                }
            }

            /// The condition that a finding of this kind raises, if it raises one.
            pub(super) fn of_finding(kind: &str) -> Option<Self> {
                match kind {
                    $($of_word => Some(Self::$of_finding),)*
                    _ => None,
                }
            }
        }
    };
}

conditions! {
    of the state: {
        /// The PBX has not answered, or not as it should, for longer than `down_after`.
        PbxDown: Critical = "pbx_down",
        /// The calls were not read completely for too long, whatever the reason.
        SweepOverdue: Warning = "sweep_overdue",
        /// Nothing is asked of the PBX until the password is corrected.
        PasswordRefused: Critical = "password_refused",
        LockedOut: Warning = "locked_out",
        CertificateChanged: Critical = "certificate_changed",
        /// Two configured PBXs are one device: one of them is not served.
        SameDevice: Critical = "same_device",
        ArchiveNotMounted: Critical = "archive_not_mounted",
        ArchiveUnusable: Critical = "archive_unusable",
        /// So full that nothing is downloaded.
        DiskFull: Critical = "disk_full",
        DiskNearlyFull: Warning = "disk_nearly_full",
        SnapshotOverdue: Warning = "snapshot_overdue",
        Stuck: Warning = "stuck",
        /// The PBX is about to overwrite recordings that are not archived.
        OverwriteNear: Critical = "overwrite_near",
        BoxNearlyFull: Critical = "box_nearly_full",
        /// The ledger, or what is published of it, is not what was signed.
        LedgerDamaged: Critical = "ledger_damaged",
        VerificationOverdue: Warning = "verification_overdue",
        /// The ledger is not signed, because it would contradict what was signed.
        LedgerRefused: Critical = "ledger_refused",
        LedgerUnsigned: Warning = "ledger_unsigned",
        AnchorOverdue: Warning = "anchor_overdue",
        FeedWebhookFailing: Warning = "feed_webhook_failing",
        ListenerTrouble: Warning = "listener_trouble",
        /// Recordings wait for a row that cannot be read for certain.
        Held: Warning = "held",
        SecretReadable: Warning = "secret_readable",
        WritableByOthers: Warning = "writable_by_others",
    }
    of findings: {
        /// Raised by the state of this machine too.
        OwnClock: Warning = "own_clock",
        SerialNumberChanged: Warning = "serial_number_changed",
        StoreOffline: Critical = "store_offline",
        Conflict: Warning = "conflict",
        OffsetDisagrees: Warning = "offset_disagrees",
        FileMissing: Critical = "file_missing",
        FileAltered: Critical = "file_altered",
        FileUnreadable: Critical = "file_unreadable",
        FileUnlisted: Warning = "file_unlisted",
        LedgerMismatch: Critical = "ledger_mismatch",
        DayIncomplete: Warning = "day_incomplete",
        DayDoesNotSum: Critical = "day_does_not_sum",
        LimitSuspected: Warning = "limit_suspected",
        DoubtsOpen: Warning = "doubts_open",
        DayUnread: Critical = "day_unread",
        IntakeSlowed: Critical = "intake_slowed",
        ClockSkewed: Warning = "clock_skewed",
        ClockJumped: Warning = "clock_jumped",
        MustRecord: Critical = "must_record",
        RecordingStopped: Critical = "recording_stopped",
        SilentDay: Warning = "silent_day",
        CallsStopped: Warning = "calls_stopped",
        EventWithoutRow: Warning = "event_without_row",
        OneSided: Warning = "one_sided",
    }
}

impl Condition {
    /// Whether people are reminded of it while it lasts: not of a past day, which cannot change any more.
    pub(super) fn has_reminders(self) -> bool {
        self != Self::SilentDay
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Recordings are not archived, or about to be lost.
    Critical,
    /// Somebody should look at it.
    Warning,
}

impl Severity {
    /// The word in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub condition: Condition,
    /// None if it is this machine.
    pub pbx: Option<String>,
    /// What of it, where there can be several.
    pub subject: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
    pub since: Timestamp,
}

impl Alert {
    pub(super) fn new(condition: Condition, message: impl Into<String>, since: Timestamp) -> Self {
        Self { condition, pbx: None, subject: None, message: message.into(), since }
    }

    pub(super) fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// The same for as long as the trouble lasts.
    pub fn key(&self) -> String {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        format!("{}/{}/{}", self.condition.as_str(), part(&self.pbx), part(&self.subject))
    }
}

/// Everything that is wrong at present, the worst first.
pub fn all(status: &Status, config: &AlertsConfig) -> Vec<Alert> {
    let mut alerts = machine::all(status, config);
    for (id, pbx) in &status.pbx {
        let of_pbx = of_pbx::all(id, pbx, config, status.at).into_iter();
        alerts.extend(of_pbx.map(|alert| Alert { pbx: Some(id.clone()), ..alert }));
    }
    alerts.sort_by_key(|alert| alert.condition.severity());
    alerts
}
