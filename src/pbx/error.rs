//! Why a request to a PBX failed: the class that is stored, what it calls for, and the sentence that people read.

use std::fmt;
use std::time::Duration;

use hyper::StatusCode;

use crate::pbx::policy::{self, Family, Place, Policy, Stage, is_known};

/// The longest wait that a PBX may ask for: as long as it locks addresses out after wrong passwords.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// The class of a failure, as it stands in SQL and JSON (its `Display`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// `reset`: the connection broke.
    Reset,
    /// `stall`: nothing came for `idle_timeout`.
    Stall,
    /// `slow`: less than the least throughput.
    Slow,
    /// `truncated`: it ended before what it had declared.
    Truncated,
    /// `oversize`: more than declared or accepted.
    Oversize,
    /// `json_body`: JSON without an error number where audio was due.
    JsonBody,
    /// `html_body`: a web page.
    HtmlBody,
    /// `empty_body`: nothing.
    EmptyBody,
    /// `not_audio`: something else that is no audio.
    NotAudio,
    /// `ticket`: the ticket was refused, or too old to be spent.
    Ticket,
    /// `timeout`: no reply in time.
    Timeout,
    /// `http_<status>`: an HTTP status other than 200; `http_other` if it has no name.
    Http(u16),
    /// `errno_<n>`: an error number without a word of its own; `errno_other` if no document tells of it.
    Errno(u32),
    /// `missing`: the PBX says that it does not have it.
    Missing,
    /// `dns`: the host's name is not known.
    Dns,
    /// `refused`: nothing listens there.
    Refused,
    /// `unreachable`: no connection.
    Unreachable,
    /// `tls_unknown_certificate`: neither the roots nor a pin vouch for it.
    TlsUnknownCertificate,
    /// `tls_pin_mismatch`: another key than the pinned one.
    TlsPinMismatch,
    /// `tls_handshake`: no common language.
    TlsHandshake,
    /// `not_https`: HTTP where HTTPS is configured, or the other way round.
    NotHttps,
    /// `not_http`: something else than HTTP answers at the port.
    NotHttp,
    /// `redirect`: it sends us elsewhere, where we do not go.
    Redirect,
    /// `password_refused`: wrong user or password.
    PasswordRefused,
    /// `locked_out`: too many wrong passwords came from this address.
    LockedOut,
    /// `unsupported`: this device or version has no such call.
    Unsupported,
    /// `protocol`: an answer that makes no sense.
    Protocol,
}

fn is_known_status(status: u16) -> bool {
    StatusCode::from_u16(status).is_ok_and(|status| status.canonical_reason().is_some())
}

impl Reason {
    /// Whether it concerns the way to the PBX or our account there, whatever was being asked for at `place`.
    fn is_about_the_way(self, place: Place) -> bool {
        use Reason::{Dns, LockedOut, NotHttps, PasswordRefused, Redirect, Refused, Unreachable};
        use Reason::{NotHttp, TlsHandshake, TlsPinMismatch, TlsUnknownCertificate};
        matches!(self, Dns | Refused | Unreachable | NotHttps | PasswordRefused | LockedOut)
            || matches!(self, TlsUnknownCertificate | TlsPinMismatch | TlsHandshake | NotHttp)
            || self == Redirect && place.family == Family::Login
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            // A closed set, whatever a PBX answers: these words are labels of metrics, and group what is owed.
            Self::Http(status) if is_known_status(*status) => return write!(f, "http_{status}"),
            Self::Http(_) => "http_other",
            Self::Errno(errno) if is_known(*errno) => return write!(f, "errno_{errno}"),
            Self::Errno(_) => "errno_other",
            Self::Reset => "reset",
            Self::Stall => "stall",
            Self::Slow => "slow",
            Self::Truncated => "truncated",
            Self::Oversize => "oversize",
            Self::JsonBody => "json_body",
            Self::HtmlBody => "html_body",
            Self::EmptyBody => "empty_body",
            Self::NotAudio => "not_audio",
            Self::Ticket => "ticket",
            Self::Timeout => "timeout",
            Self::Missing => "missing",
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TlsUnknownCertificate => "tls_unknown_certificate",
            Self::TlsPinMismatch => "tls_pin_mismatch",
            Self::TlsHandshake => "tls_handshake",
            Self::NotHttps => "not_https",
            Self::NotHttp => "not_http",
            Self::Redirect => "redirect",
            Self::PasswordRefused => "password_refused",
            Self::LockedOut => "locked_out",
            Self::Unsupported => "unsupported",
            Self::Protocol => "protocol",
        })
    }
}

/// A request to a PBX that failed. Its text is one sentence and holds no token, ticket, password or query.
#[derive(Debug, Clone, thiserror::Error)]
#[error("pbx `{pbx}`: {what}")]
pub struct PbxError {
    pbx: String,
    reason: Reason,
    policy: Policy,
    /// The group of calls that it happened in; none for what was found out later.
    place: Option<Place>,
    what: String,
    /// How long the PBX, or a proxy before it, asked to be left alone.
    retry_after: Option<Duration>,
}

impl PbxError {
    /// The class of the failure.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// What it calls for.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// How long the PBX, or a proxy before it, asked to be left alone (`Retry-After`), at most [`RETRY_AFTER_MAX`].
    ///
    /// Nothing is asked of the PBX before that is over, whoever asks; what failed so need not be tried again sooner.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether asking for a shorter range of the CDR may help: the PBX took too long, or its reply was too large.
    pub fn is_too_much_at_once(&self) -> bool {
        matches!(self.reason, Reason::Timeout | Reason::Http(504) | Reason::Oversize)
    }

    /// Whether the PBX said nothing at all. A download that breaks off had begun.
    pub fn is_unanswered(&self) -> bool {
        match self.reason {
            Reason::Timeout => true,
            Reason::Reset => self.place.is_some_and(|place| place.stage != Stage::Download),
            _ => false,
        }
    }

    /// A CDR reply that arrived but cannot be what the PBX meant to send: worth another try.
    pub fn broken_cdr(pbx: &str, reason: Reason, what: String) -> Self {
        Self { pbx: pbx.to_owned(), reason, policy: Policy::Retry, place: None, what, retry_after: None }
    }

    /// A list that was answered in a way which what is known of the PBX contradicts: worth another try.
    pub fn doubtful_list(pbx: &str, reason: Reason, what: String) -> Self {
        Self { pbx: pbx.to_owned(), reason, policy: Policy::Retry, place: None, what, retry_after: None }
    }

    /// Whether it is the answer of a call of this group, and not of the login before it.
    pub(super) fn is_of(&self, family: Family) -> bool {
        self.place.is_some_and(|place| place.family == family)
    }

    /// The failure of `action` on the PBX named `pbx`.
    pub(super) fn new(pbx: &str, action: &Action, failure: Failure) -> Self {
        let policy = match failure.errno {
            Some(errno) => policy::for_errno(action.place, errno),
            None => policy::for_transport(action.place, failure.reason),
        };
        let what = match failure.reason.is_about_the_way(action.place) {
            true => failure.what.clone(),
            false => format!("{}: {}", action.doing, failure.what),
        };
        let Failure { reason, retry_after, .. } = failure;
        Self { pbx: pbx.to_owned(), reason, policy, place: Some(action.place), what, retry_after }
    }
}

/// What was being done, and where in the API: it picks the policy and begins the sentence.
#[derive(Debug, Clone)]
pub(super) struct Action {
    pub(super) place: Place,
    /// Such as "downloading `a.wav`".
    pub(super) doing: String,
}

/// What went wrong, before it is known what it calls for.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    errno: Option<u32>,
    what: String,
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    /// A failure without an error number.
    pub(super) fn new(reason: Reason, what: impl Into<String>) -> Self {
        Self { reason, errno: None, what: what.into(), retry_after: None }
    }

    /// The PBX answered with an error number.
    pub(super) fn errno(place: Place, errno: u32) -> Self {
        let what = match policy::meaning(errno) {
            _ if policy::for_errno(place, errno) == Policy::NewTicket => {
                format!("the ticket was refused (errno {errno})")
            }
            _ if policy::for_errno(place, errno) == Policy::NotThere => {
                format!("the PBX says that it does not have it (errno {errno})")
            }
            Some(meaning) => format!("the PBX answered with errno {errno}: {meaning}"),
            None => format!("the PBX answered with the unknown errno {errno}"),
        };
        Self { errno: Some(errno), ..Self::new(policy::reason_of_errno(place, errno), what) }
    }

    /// The error number, if there was one.
    pub(super) fn number(&self) -> Option<u32> {
        self.errno
    }

    /// The same failure in other words.
    pub(super) fn saying(self, what: impl Into<String>) -> Self {
        Self { what: what.into(), ..self }
    }

    /// The same failure of a PBX that asked to be left alone for so long.
    pub(super) fn after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    /// The same failure with what the operator can do about it.
    pub(super) fn with_remedy(mut self, remedy: &str) -> Self {
        self.what.push_str("; ");
        self.what.push_str(remedy);
        self
    }
}
