//! What raises an alert, with its severity and its word in SQL and JSON.

use std::fmt;

use super::finding::{FindingKind, Severity};
use super::words::{UnknownWord, words};

words! {
    /// What the state alone shows.
    pub enum Condition as "condition" {
        /// The PBX has not answered, or not as it should, for longer than `down_after`.
        PbxDown = "pbx_down",
        /// The calls were not read completely for too long, whatever the reason.
        SweepOverdue = "sweep_overdue",
        /// Nothing is asked of the PBX until the password is corrected.
        PasswordRefused = "password_refused",
        LockedOut = "locked_out",
        CertificateChanged = "certificate_changed",
        /// Two configured PBXs are one device: one of them is not served.
        SameDevice = "same_device",
        ArchiveNotMounted = "archive_not_mounted",
        ArchiveUnusable = "archive_unusable",
        /// So full that nothing is downloaded.
        DiskFull = "disk_full",
        DiskNearlyFull = "disk_nearly_full",
        SnapshotOverdue = "snapshot_overdue",
        Stuck = "stuck",
        /// The PBX is about to overwrite recordings that are not archived.
        OverwriteNear = "overwrite_near",
        BoxNearlyFull = "box_nearly_full",
        /// The ledger, or what is published of it, is not what was signed.
        LedgerDamaged = "ledger_damaged",
        VerificationOverdue = "verification_overdue",
        /// The ledger is not signed, because it would contradict what was signed.
        LedgerRefused = "ledger_refused",
        LedgerUnsigned = "ledger_unsigned",
        AnchorOverdue = "anchor_overdue",
        FeedWebhookFailing = "feed_webhook_failing",
        ListenerTrouble = "listener_trouble",
        /// Recordings wait for a row that cannot be read for certain.
        Held = "held",
        SecretReadable = "secret_readable",
        WritableByOthers = "writable_by_others",
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
        use Condition as C;
        match self {
            Self::State(
                C::PbxDown
                | C::PasswordRefused
                | C::CertificateChanged
                | C::SameDevice
                | C::ArchiveNotMounted
                | C::ArchiveUnusable
                | C::DiskFull
                | C::OverwriteNear
                | C::BoxNearlyFull
                | C::LedgerDamaged
                | C::LedgerRefused,
            ) => Severity::Critical,
            Self::State(_) => Severity::Warning,
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
