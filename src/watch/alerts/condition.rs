//! What is worth telling: derived from the state alone, so that it can neither be forgotten nor told twice.

use jiff::Timestamp;

use super::machine;
use super::of_pbx::{of_findings, of_held, of_risk, of_stuck, of_sweep, of_trouble};
use crate::config::AlertsConfig;
use crate::watch::status::Status;

/// The things that one is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// A PBX does not answer, or not as it should, for longer than it may.
    PbxDown,
    /// A PBX's calls were not read completely for too long, whatever the reason.
    SweepOverdue,
    /// A PBX refuses our password: nothing is asked of it until that is mended.
    PasswordRefused,
    /// A PBX has locked us out.
    LockedOut,
    /// A PBX shows another certificate than the one trusted.
    CertificateChanged,
    /// Two ids, one device: one of them does not work.
    SameDevice,
    /// The archive is not the one that it should be.
    ArchiveNotMounted,
    /// The archive cannot be used for another reason.
    ArchiveUnusable,
    /// The archive's disk is so full that nothing is downloaded.
    DiskFull,
    /// It will soon be.
    DiskNearlyFull,
    /// No copy of the database was made for more than a day.
    SnapshotOverdue,
    /// Recordings failed too often for one reason.
    Stuck,
    /// The PBX is about to overwrite audio that is owed.
    OverwriteNear,
    /// A voicemail box is about to lose its oldest message.
    BoxNearlyFull,
    /// Another device answers, or its CDR names another.
    SerialNumberChanged,
    /// The PBX's recording store is most likely offline.
    StoreOffline,
    /// One recording has two contents.
    Conflict,
    /// The PBX's clock and the configured time zone disagree.
    OffsetDisagrees,
    /// An archived file is gone.
    FileMissing,
    /// An archived file is not what it was.
    FileAltered,
    /// An archived file cannot be read.
    FileUnreadable,
    /// Something lies in the archive that nobody archived.
    FileUnlisted,
    /// What the catalog says of a file is not what the ledger says.
    LedgerMismatch,
    /// The ledger, or what is published of it, is not what was signed.
    LedgerDamaged,
    /// A part of the archive was not read again for too long.
    VerificationOverdue,
    /// The ledger is not signed, for it would contradict what was.
    LedgerRefused,
    /// Entries of the ledger wait too long to be signed.
    LedgerUnsigned,
    /// A day has closed, and recordings that were listed are missing.
    DayIncomplete,
    /// A day has closed, and what became of its recordings does not add up.
    DayDoesNotSum,
    /// A time-stamp authority or a witness has not vouched for the ledger for too long.
    AnchorOverdue,
    /// A webhook of the feed has taken nothing for too long.
    FeedWebhookFailing,
    /// The listener does not serve as it is configured.
    ListenerTrouble,
    /// Recordings are held: their row, or a field of it that a rule asks for, cannot be read for certain.
    Held,
    /// The PBX seems to give at most so many rows of its CDR in one reply, and does not say so.
    LimitSuspected,
    /// A day whose CDR had rows that could not be read for certain, for more than a day now.
    DoubtsOpen,
    /// A day whose calls the PBX has not told for long, while it told others.
    DayUnread,
    /// No more calls of the PBX are read at present: it has told too many, or the disk of the state is nearly full.
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
    /// Others on this machine can read a secret.
    SecretReadable,
    /// Others on this machine can write the configuration, a secret, or the archive's root.
    WritableByOthers,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Recordings are not archived, or about to be lost.
    Critical,
    /// Somebody should look at it.
    Warning,
}

/// One thing that is wrong at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// What it is.
    pub condition: Condition,
    /// Where; none if it is this machine.
    pub pbx: Option<String>,
    /// What of it, where there can be several.
    pub subject: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

impl Condition {
    /// The word in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PbxDown => "pbx_down",
            Self::SweepOverdue => "sweep_overdue",
            Self::PasswordRefused => "password_refused",
            Self::LockedOut => "locked_out",
            Self::CertificateChanged => "certificate_changed",
            Self::SameDevice => "same_device",
            Self::ArchiveNotMounted => "archive_not_mounted",
            Self::ArchiveUnusable => "archive_unusable",
            Self::DiskFull => "disk_full",
            Self::DiskNearlyFull => "disk_nearly_full",
            Self::SnapshotOverdue => "snapshot_overdue",
            Self::Stuck => "stuck",
            Self::OverwriteNear => "overwrite_near",
            Self::BoxNearlyFull => "box_nearly_full",
            Self::SerialNumberChanged => "serial_number_changed",
            Self::StoreOffline => "store_offline",
            Self::Conflict => "conflict",
            Self::OffsetDisagrees => "offset_disagrees",
            Self::FileMissing => "file_missing",
            Self::FileAltered => "file_altered",
            Self::FileUnreadable => "file_unreadable",
            Self::FileUnlisted => "file_unlisted",
            Self::LedgerMismatch => "ledger_mismatch",
            Self::LedgerDamaged => "ledger_damaged",
            Self::VerificationOverdue => "verification_overdue",
            Self::LedgerRefused => "ledger_refused",
            Self::LedgerUnsigned => "ledger_unsigned",
            Self::DayIncomplete => "day_incomplete",
            Self::DayDoesNotSum => "day_does_not_sum",
            Self::AnchorOverdue => "anchor_overdue",
            Self::FeedWebhookFailing => "feed_webhook_failing",
            Self::ListenerTrouble => "listener_trouble",
            Self::Held => "held",
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
            Self::SecretReadable => "secret_readable",
            Self::WritableByOthers => "writable_by_others",
        }
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            Self::DiskNearlyFull
            | Self::FileUnlisted
            | Self::VerificationOverdue
            | Self::LedgerUnsigned
            | Self::AnchorOverdue
            | Self::FeedWebhookFailing
            | Self::ListenerTrouble
            | Self::LockedOut
            | Self::SweepOverdue
            | Self::SnapshotOverdue
            | Self::Stuck
            | Self::SerialNumberChanged
            | Self::Conflict
            | Self::OffsetDisagrees
            | Self::DayIncomplete
            | Self::Held
            | Self::LimitSuspected
            | Self::DoubtsOpen
            | Self::ClockSkewed
            | Self::ClockJumped
            | Self::OwnClock
            | Self::SilentDay
            | Self::CallsStopped
            | Self::EventWithoutRow
            | Self::OneSided
            | Self::SecretReadable
            | Self::WritableByOthers => Severity::Warning,
            _ => Severity::Critical,
        }
    }

    /// The condition that a PBX's trouble of this class is.
    pub(super) fn of_trouble(reason: &str) -> Self {
        match reason {
            "password_refused" => Self::PasswordRefused,
            "locked_out" => Self::LockedOut,
            "tls_pin_mismatch" | "tls_unknown_certificate" => Self::CertificateChanged,
            "same_device" => Self::SameDevice,
            _ => Self::PbxDown,
        }
    }

    /// Whether it is why nothing is asked of a PBX, which is known since when.
    fn is_trouble(self) -> bool {
        use Condition::{CertificateChanged, LockedOut, PasswordRefused, PbxDown, SameDevice};
        matches!(self, PbxDown | PasswordRefused | LockedOut | CertificateChanged | SameDevice)
    }

    /// Whether nobody is reminded of it: it tells of a day that is over, and that cannot change any more.
    pub(super) fn is_told_once(self) -> bool {
        self == Self::SilentDay
    }

    /// The condition that a finding of this kind is, if anybody is told of it.
    pub(super) fn of_finding(kind: &str) -> Option<Self> {
        let told = [
            Self::SerialNumberChanged,
            Self::StoreOffline,
            Self::Conflict,
            Self::OffsetDisagrees,
            Self::FileMissing,
            Self::FileAltered,
            Self::FileUnreadable,
            Self::FileUnlisted,
            Self::LedgerMismatch,
            Self::DayIncomplete,
            Self::DayDoesNotSum,
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
        ];
        told.into_iter().find(|condition| condition.as_str() == kind)
    }
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

impl Alert {
    /// The same trouble has the same key for as long as it lasts.
    pub fn key(&self) -> String {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        format!("{}/{}/{}", self.condition.as_str(), part(&self.pbx), part(&self.subject))
    }
}

/// Everything that is wrong at present, the worst first.
pub fn all(status: &Status, config: &AlertsConfig) -> Vec<Alert> {
    let now = status.at;
    let mut alerts = machine::all(status, config);
    for (id, pbx) in &status.pbx {
        let alert = |(condition, subject, message)| {
            let since = if Condition::is_trouble(condition) { pbx.error_since } else { None };
            let since = since.map_or(now, |since| since.min(now));
            Alert { condition, pbx: Some(id.clone()), subject, message, since }
        };
        let trouble = of_trouble(pbx, config, now);
        let trouble = trouble.or_else(|| of_sweep(id, pbx, config, now));
        let rest = of_risk(pbx)
            .into_iter()
            .chain(of_stuck(pbx))
            .chain(of_held(pbx))
            .chain(of_findings(id, pbx, now));
        alerts.extend(trouble.into_iter().chain(rest).map(alert));
    }
    alerts.sort_by_key(|alert| alert.condition.severity());
    alerts
}
