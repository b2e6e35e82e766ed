//! Why a request to a PBX failed: the class that is stored, what it calls for, and the sentence that people read.

use std::fmt;
use std::time::Duration;

use hyper::StatusCode;

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
    /// `errno_<n>`: a documented error number without a word of its own.
    Errno(u32),
    /// `errno_other`: an error number that no document mentions.
    UnknownErrno(u32),
    /// `missing`: the PBX says that it does not have it.
    Missing,
    /// `deleted`: a voicemail message is no longer in its box.
    Deleted {
        /// Whether the box holds other messages: then the message is gone, and not the whole store.
        beside_others: bool,
    },
    /// `renumbered`: the voicemail box changed during the download.
    Renumbered,
    /// `ambiguous`: two messages of a voicemail box have one name.
    Ambiguous,
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
    /// Whether it concerns the way to the PBX or our account there, whatever was being asked for.
    fn is_about_the_way(self, when: When) -> bool {
        use Reason::{Dns, LockedOut, NotHttps, PasswordRefused, Redirect, Refused, Unreachable};
        use Reason::{NotHttp, TlsHandshake, TlsPinMismatch, TlsUnknownCertificate};
        matches!(self, Dns | Refused | Unreachable | NotHttps | PasswordRefused | LockedOut)
            || matches!(self, TlsUnknownCertificate | TlsPinMismatch | TlsHandshake | NotHttp)
            || self == Redirect && when == When::LoggingIn
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            // A closed set, whatever a PBX answers: these words are labels of metrics, and group what is owed.
            Self::Http(status) if is_known_status(*status) => return write!(f, "http_{status}"),
            Self::Http(_) => "http_other",
            Self::Errno(errno) => return write!(f, "errno_{errno}"),
            Self::UnknownErrno(_) => "errno_other",
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
            Self::Deleted { .. } => "deleted",
            Self::Renumbered => "renumbered",
            Self::Ambiguous => "ambiguous",
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

/// What is to be done after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The ticket was refused: take another one, up to three in one attempt.
    NewTicket,
    /// The session ended and has been forgotten: the next request logs in again by itself. Counts like a new ticket.
    LogIn,
    /// The PBX blocks this address: ask it nothing for `lockout_wait`.
    WaitOutLockout,
    /// Transient: repeat later with backoff, up to a number of times.
    Retry,
    /// The PBX says that it does not have this thing: ask again over days.
    NotThere,
    /// There is nothing in the range: not an error.
    Empty,
    /// The PBX is down or unreachable: pause all that concerns it.
    PausePbx,
    /// The operator must change something: pause the PBX and say what.
    Operator,
    /// The operator must change something if other requests end so too. Of one alone it is that request's failure: repeat
    /// it later with backoff.
    Unconfirmed,
}

impl Policy {
    /// Whether it concerns the PBX rather than one recording or one part of the CDR: it pauses the PBX and costs no
    /// attempt.
    pub fn concerns_pbx(self) -> bool {
        matches!(self, Self::PausePbx | Self::WaitOutLockout | Self::Operator)
    }

    /// Whether the PBX answered as it should, only not with what was asked for.
    pub fn is_an_answer(self) -> bool {
        matches!(self, Self::NotThere | Self::NewTicket | Self::LogIn | Self::Empty)
    }

    /// Whether another ticket may help at once.
    pub(super) fn wants_another_ticket(self) -> bool {
        matches!(self, Self::NewTicket | Self::LogIn)
    }

    /// The policy for a failure below the API: a broken transfer or a wrong kind of reply.
    pub(super) fn of_transport(when: When, reason: Reason) -> Self {
        match reason {
            Reason::Dns | Reason::Refused | Reason::Unreachable => Self::PausePbx,
            Reason::TlsUnknownCertificate
            | Reason::TlsPinMismatch
            | Reason::TlsHandshake
            | Reason::NotHttps
            | Reason::NotHttp
            | Reason::PasswordRefused
            | Reason::Unsupported => Self::Operator,
            Reason::LockedOut => Self::WaitOutLockout,
            Reason::Ticket => Self::NewTicket,
            Reason::Missing => Self::NotThere,
            // A login concerns the PBX, not the recording for which it was made.
            Reason::Redirect | Reason::Http(400..=499) if when == When::LoggingIn => Self::Operator,
            _ if when == When::LoggingIn => Self::PausePbx,
            // A filter on the way may send a single file to its own page.
            Reason::Redirect => Self::Unconfirmed,
            _ => Self::Retry,
        }
    }
}

/// What was being done when a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    LoggingIn,
    /// For a list, a fact, or permission to download.
    Asking,
    /// A file or a list was being downloaded.
    Receiving,
}

/// A request to a PBX that failed. Its text is one sentence and holds no token, ticket, password or query.
#[derive(Debug, Clone, thiserror::Error)]
#[error("pbx `{pbx}`: {what}")]
pub struct PbxError {
    pbx: String,
    reason: Reason,
    policy: Policy,
    /// `None` for what was found out later.
    when: Option<When>,
    is_unwell: bool,
    what: String,
    retry_after: Option<Duration>,
}

impl PbxError {
    /// A failure that was found out after the PBX had answered.
    pub fn new(pbx: &str, policy: Policy, reason: Reason, what: impl Into<String>) -> Self {
        let (pbx, what) = (pbx.to_owned(), what.into());
        Self { pbx, reason, policy, when: None, is_unwell: false, what, retry_after: None }
    }

    /// The failure of `doing`, such as "downloading `a.wav`".
    pub(super) fn of(pbx: &str, when: When, doing: &str, failure: Failure) -> Self {
        let Failure { reason, policy, is_unwell, retry_after, .. } = failure;
        let what = match reason.is_about_the_way(when) {
            true => failure.what,
            false => format!("{doing}: {}", failure.what),
        };
        Self {
            pbx: pbx.to_owned(),
            reason,
            policy: policy.unwrap_or_else(|| Policy::of_transport(when, reason)),
            when: Some(when),
            is_unwell: is_unwell || matches!(reason, Reason::Http(500..=599)),
            what,
            retry_after,
        }
    }

    pub fn reason(&self) -> Reason {
        self.reason
    }

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
            Reason::Reset => self.when.is_some_and(|when| when != When::Receiving),
            _ => false,
        }
    }

    /// Whether the PBX's web server answered, and what is behind it did not.
    pub fn is_unwell(&self) -> bool {
        self.is_unwell
    }

    /// Whether a transfer that failed in this way may have brought all of it before.
    pub fn may_follow_the_end(&self) -> bool {
        self.when == Some(When::Receiving)
            && matches!(self.reason, Reason::Reset | Reason::Truncated | Reason::Stall)
    }

    /// Whether the call itself was answered so, and not a login before it.
    pub(super) fn is_of_the_call(&self) -> bool {
        self.when.is_some_and(|when| when != When::LoggingIn)
    }

    /// The same after the last ticket that one attempt may spend: callers need not know of tickets.
    pub(super) fn after_the_last_ticket(self) -> Self {
        match self.policy.wants_another_ticket() {
            true => Self { reason: Reason::Ticket, ..self },
            false => self,
        }
    }
}

/// What went wrong, before it is known what it calls for.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) policy: Option<Policy>,
    /// The error number, if the PBX gave one.
    pub(super) number: Option<u32>,
    pub(super) is_unwell: bool,
    pub(super) what: String,
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(reason: Reason, what: impl Into<String>) -> Self {
        Self { reason, policy: None, number: None, is_unwell: false, what: what.into(), retry_after: None }
    }

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
