//! What raises an alert, with its severity and its word in SQL and JSON.

use std::fmt;

use super::finding::{FindingKind, Severity};
use super::words::{UnknownWord, words};

words! {
    /// What the state alone shows.
    pub enum Condition as "condition",
    /// The severity of its alert.
    severity: Severity {
        /// The PBX has not answered, or not as it should, for longer than `down_after`.
        PbxDown = "pbx_down" => Severity::Critical,
        /// The calls were not read completely for too long, whatever the reason.
        SweepOverdue = "sweep_overdue" => Severity::Warning,
        /// Nothing is asked of the PBX until the password is corrected.
        PasswordRefused = "password_refused" => Severity::Critical,
        LockedOut = "locked_out" => Severity::Warning,
        CertificateChanged = "certificate_changed" => Severity::Critical,
        /// Two configured PBXs are one device: one of them is not served.
        SameDevice = "same_device" => Severity::Critical,
        ArchiveNotMounted = "archive_not_mounted" => Severity::Critical,
        ArchiveUnusable = "archive_unusable" => Severity::Critical,
        /// So full that nothing is downloaded.
        DiskFull = "disk_full" => Severity::Critical,
        DiskNearlyFull = "disk_nearly_full" => Severity::Warning,
        SnapshotOverdue = "snapshot_overdue" => Severity::Warning,
        Stuck = "stuck" => Severity::Warning,
        /// The PBX is about to overwrite recordings that are not archived.
        OverwriteNear = "overwrite_near" => Severity::Critical,
        BoxNearlyFull = "box_nearly_full" => Severity::Critical,
        /// The ledger, or what is published of it, is not what was signed.
        LedgerDamaged = "ledger_damaged" => Severity::Critical,
        VerificationOverdue = "verification_overdue" => Severity::Warning,
        /// The ledger is not signed, because it would contradict what was signed.
        LedgerRefused = "ledger_refused" => Severity::Critical,
        LedgerUnsigned = "ledger_unsigned" => Severity::Warning,
        AnchorOverdue = "anchor_overdue" => Severity::Warning,
        FeedWebhookFailing = "feed_webhook_failing" => Severity::Warning,
        ListenerTrouble = "listener_trouble" => Severity::Warning,
        /// Recordings wait for a row that cannot be read for certain.
        Held = "held" => Severity::Warning,
        SecretReadable = "secret_readable" => Severity::Warning,
        WritableByOthers = "writable_by_others" => Severity::Warning,
    }
}

/// What raises an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Cause {
    State(Condition),
    /// An open finding of this kind.
    Finding(FindingKind),
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::State(condition) => condition.as_str(),
            Self::Finding(kind) => kind.as_str(),
        }
    }

    pub fn severity(self) -> Severity {
        match self {
            Self::State(condition) => condition.severity(),
            Self::Finding(kind) => kind.severity().unwrap_or(Severity::Warning),
        }
    }

    /// Whether people are reminded of it while it lasts: not of a past day, which cannot change any more.
    pub fn has_reminders(self) -> bool {
        self != Self::Finding(FindingKind::SilentDay)
    }
}

impl From<Condition> for Cause {
    fn from(condition: Condition) -> Self {
        Self::State(condition)
    }
}

impl From<FindingKind> for Cause {
    fn from(kind: FindingKind) -> Self {
        Self::Finding(kind)
    }
}

impl From<Cause> for String {
    fn from(cause: Cause) -> Self {
        cause.as_str().to_owned()
    }
}

impl TryFrom<String> for Cause {
    type Error = UnknownWord;

    fn try_from(word: String) -> Result<Self, UnknownWord> {
        word.parse().map(Self::State).or_else(|_| word.parse().map(Self::Finding))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
