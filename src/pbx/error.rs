//! Why a request to a PBX failed: the class that is stored, what it calls for, and the sentence that people read.

use std::fmt;
use std::time::Duration;

use hyper::StatusCode;

/// The longest wait that a PBX may ask for: as long as it locks addresses out after wrong passwords.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// The class of a failure. One table, `entry`, has its word and what it calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Reset,
    /// Nothing came for `idle_timeout`.
    Stall,
    Slow,
    /// It ended before what it had declared.
    Truncated,
    /// More than declared or accepted.
    Oversize,
    /// JSON without an error number where audio was due.
    JsonBody,
    HtmlBody,
    EmptyBody,
    /// Something else that is no audio.
    NotAudio,
    /// The ticket was refused, or too old to be spent.
    Ticket,
    Timeout,
    Http(u16),
    /// A documented error number without a word of its own.
    Errno(u32),
    /// An error number that no document mentions.
    UnknownErrno(u32),
    /// The PBX says that it does not have it.
    Missing,
    /// A voicemail message is no longer in its box.
    Deleted {
        /// Whether the box holds other messages: then the message is gone, and not the whole store.
        beside_others: bool,
    },
    Renumbered,
    /// Two messages of a voicemail box have one name.
    Ambiguous,
    /// The host's name is not known.
    Dns,
    Refused,
    /// No connection.
    Unreachable,
    /// Neither the roots nor a pin vouch for it.
    TlsUnknownCertificate,
    /// Another key than the pinned one.
    TlsPinMismatch,
    /// No common language.
    TlsHandshake,
    /// HTTP where HTTPS is configured, or the other way round.
    NotHttps,
    /// Something else than HTTP answers at the port.
    NotHttp,
    /// It sends us elsewhere, where we do not go.
    Redirect,
    PasswordRefused,
    /// Too many wrong passwords came from this address.
    LockedOut,
    /// This device or version has no such call.
    Unsupported,
    /// An answer that makes no sense.
    Protocol,
}

impl Reason {
    /// Its word in SQL and JSON, and what it calls for below the API: of a login, which concerns the PBX and not the
    /// recording for which it was made; and of anything else.
    fn entry(self) -> (&'static str, [Policy; 2]) {
        use Policy::{NewTicket, NotThere, Operator, PausePbx, Retry, Unconfirmed, WaitOutLockout};
        let transient = [PausePbx, Retry];
        match self {
            Self::Reset => ("reset", transient),
            Self::Stall => ("stall", transient),
            Self::Slow => ("slow", transient),
            Self::Truncated => ("truncated", transient),
            Self::Oversize => ("oversize", transient),
            Self::JsonBody => ("json_body", transient),
            Self::HtmlBody => ("html_body", transient),
            Self::EmptyBody => ("empty_body", transient),
            Self::NotAudio => ("not_audio", transient),
            Self::Ticket => ("ticket", [NewTicket; 2]),
            Self::Timeout => ("timeout", transient),
            Self::Http(400..=499) => ("http_other", [Operator, Retry]),
            Self::Http(_) => ("http_other", transient),
            Self::Errno(_) | Self::UnknownErrno(_) => ("errno_other", transient),
            Self::Missing => ("missing", [NotThere; 2]),
            Self::Deleted { .. } => ("deleted", transient),
            Self::Renumbered => ("renumbered", transient),
            Self::Ambiguous => ("ambiguous", transient),
            Self::Dns => ("dns", [PausePbx; 2]),
            Self::Refused => ("refused", [PausePbx; 2]),
            Self::Unreachable => ("unreachable", [PausePbx; 2]),
            Self::TlsUnknownCertificate => ("tls_unknown_certificate", [Operator; 2]),
            Self::TlsPinMismatch => ("tls_pin_mismatch", [Operator; 2]),
            Self::TlsHandshake => ("tls_handshake", [Operator; 2]),
            Self::NotHttps => ("not_https", [Operator; 2]),
            Self::NotHttp => ("not_http", [Operator; 2]),
            // A filter on the way may send a single file to its own page.
            Self::Redirect => ("redirect", [Operator, Unconfirmed]),
            Self::PasswordRefused => ("password_refused", [Operator; 2]),
            Self::LockedOut => ("locked_out", [WaitOutLockout; 2]),
            Self::Unsupported => ("unsupported", [Operator; 2]),
            Self::Protocol => ("protocol", transient),
        }
    }

    /// Whether it concerns the way to the PBX or our account there, whatever was being asked for.
    fn is_about_the_way(self, when: When) -> bool {
        match self {
            Self::Unsupported => false,
            Self::Redirect => when == When::LoggingIn,
            _ => self.entry().1[1].concerns_pbx(),
        }
    }
}

impl fmt::Display for Reason {
    /// A closed set, whatever a PBX answers: these words are labels of metrics, and group what is owed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(status) if is_known_status(*status) => write!(f, "http_{status}"),
            Self::Errno(errno) => write!(f, "errno_{errno}"),
            _ => f.write_str(self.entry().0),
        }
    }
}

fn is_known_status(status: u16) -> bool {
    StatusCode::from_u16(status).is_ok_and(|status| status.canonical_reason().is_some())
}

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

    pub(super) fn wants_another_ticket(self) -> bool {
        matches!(self, Self::NewTicket | Self::LogIn)
    }

    /// The policy for a failure below the API: a broken transfer or a wrong kind of reply.
    pub(super) fn of_transport(when: When, reason: Reason) -> Self {
        let (_, [at_login, later]) = reason.entry();
        if when == When::LoggingIn { at_login } else { later }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    LoggingIn,
    /// For a list, a fact, or permission to download.
    Asking,
    /// A file or a list was being downloaded.
    Receiving,
}

/// What a PBX was asked for, or why it did not come.
pub(super) type Result<T, E = PbxError> = std::result::Result<T, E>;

/// A request to a PBX that failed. Its text is one sentence and holds no token, ticket, password or query.
#[derive(Debug, Clone, thiserror::Error)]
#[error("pbx `{pbx}`: {}", failure.what)]
pub struct PbxError {
    pbx: String,
    policy: Policy,
    /// `None` for what was found out later.
    when: Option<When>,
    failure: Failure,
}

impl PbxError {
    /// A failure that was found out after the PBX had answered.
    pub fn new(pbx: &str, policy: Policy, reason: Reason, what: impl Into<String>) -> Self {
        Self { pbx: pbx.to_owned(), policy, when: None, failure: Failure::new(reason, what) }
    }

    /// The failure of `doing`, such as "downloading `a.wav`".
    pub(super) fn of(pbx: &str, when: When, doing: &str, mut failure: Failure) -> Self {
        if !failure.reason.is_about_the_way(when) {
            failure.what = format!("{doing}: {}", failure.what);
        }
        failure.is_unwell |= matches!(failure.reason, Reason::Http(500..=599));
        let policy = failure.policy.unwrap_or_else(|| Policy::of_transport(when, failure.reason));
        Self { pbx: pbx.to_owned(), policy, when: Some(when), failure }
    }

    pub fn reason(&self) -> Reason {
        self.failure.reason
    }

    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// How long the PBX, or a proxy before it, asked to be left alone (`Retry-After`), at most [`RETRY_AFTER_MAX`].
    ///
    /// Nothing is asked of the PBX before that is over, whoever asks; what failed so need not be tried again sooner.
    pub fn retry_after(&self) -> Option<Duration> {
        self.failure.retry_after
    }

    /// Whether asking for a shorter range of the CDR may help: the PBX took too long, or its reply was too large.
    pub fn is_too_much_at_once(&self) -> bool {
        matches!(self.failure.reason, Reason::Timeout | Reason::Http(504) | Reason::Oversize)
    }

    /// Whether the PBX said nothing at all. A download that breaks off had begun.
    pub fn is_unanswered(&self) -> bool {
        match self.failure.reason {
            Reason::Timeout => true,
            Reason::Reset => self.when.is_some_and(|when| when != When::Receiving),
            _ => false,
        }
    }

    /// Whether the PBX's web server answered, and what is behind it did not.
    pub fn is_unwell(&self) -> bool {
        self.failure.is_unwell
    }

    /// The same failure of a PBX whose web server alone answers.
    #[cfg(test)]
    pub(crate) fn of_one_unwell(mut self) -> Self {
        self.failure.is_unwell = true;
        self
    }

    /// Whether a transfer that failed in this way may have brought all of it before.
    pub fn may_follow_the_end(&self) -> bool {
        self.when == Some(When::Receiving)
            && matches!(self.failure.reason, Reason::Reset | Reason::Truncated | Reason::Stall)
    }

    /// Whether the call itself, and not a login before it, was answered with: there is no such call.
    pub(super) fn says_no_such_call(&self) -> bool {
        self.when.is_some_and(|when| when != When::LoggingIn)
            && matches!(self.failure.reason, Reason::Unsupported | Reason::Http(404))
    }

    /// The same after the last ticket that one attempt may spend: callers need not know of tickets.
    pub(super) fn after_the_last_ticket(mut self) -> Self {
        if self.policy.wants_another_ticket() {
            self.failure.reason = Reason::Ticket;
        }
        self
    }
}

/// What went wrong, before it is known what it calls for.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) policy: Option<Policy>,
    pub(super) is_unwell: bool,
    pub(super) what: String,
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(reason: Reason, what: impl Into<String>) -> Self {
        Self { reason, policy: None, is_unwell: false, what: what.into(), retry_after: None }
    }

    pub(super) fn saying(self, what: impl Into<String>) -> Self {
        Self { what: what.into(), ..self }
    }

    /// The same failure with what the operator can do about it.
    pub(super) fn with_remedy(mut self, remedy: &str) -> Self {
        self.what.push_str("; ");
        self.what.push_str(remedy);
        self
    }
}
