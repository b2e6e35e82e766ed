//! What each failure of a PBX calls for: one table, one policy each.
//!
//! Error numbers mean different things at different places: the table is asked with the API generation, the family
//! of calls and the stage within it. Source of the numbers: `docs/pbx-api.md` §4.

use crate::base::words::words;
use crate::config::{Generation, PbxConfig, PushMode};
use crate::pbx::error::{Failure, Policy, Reason, When};

words! {
    /// A group of calls with one meaning per error number, by the API's own word.
    pub(super) enum Family as "family of calls" {
        Login = "login",
        /// Renews the session, and where reports go.
        Heartbeat = "heartbeat",
        Device = "deviceinfo",
        Recording = "recording",
        Cdr = "cdr",
        Voicemail = "voicemail",
    }
}

words! {
    pub(super) enum Stage as "stage of a call" {
        /// A call that answers with JSON and gives no ticket.
        Query = "query",
        /// Asking for a ticket.
        GetRandom = "get_random",
        /// Spending it.
        Download = "download",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Whose rules apply.
    pub(super) generation: Generation,
    pub(super) family: Family,
    pub(super) stage: Stage,
}

impl Place {
    /// What the call is named in the API's paths, such as `recording/get_random`.
    pub(super) fn endpoint(self) -> String {
        match self.family {
            Family::Login | Family::Heartbeat => self.family.to_string(),
            family => format!("{family}/{}", self.stage),
        }
    }

    pub(super) fn when(self) -> When {
        match (self.family, self.stage) {
            (Family::Login, _) => When::LoggingIn,
            (_, Stage::Download) => When::Receiving,
            (_, Stage::Query | Stage::GetRandom) => When::Asking,
        }
    }
}

/// What an error number calls for that the PBX gave at `place`, and what the vendor's table says about it; nothing where
/// that depends on the place. `None` for numbers that no document mentions.
fn entry(place: Place, errno: u32) -> Option<(Policy, &'static str)> {
    use Family::{Cdr, Login, Recording, Voicemail};
    use Policy::{Empty, LogIn, NewTicket, NotThere, Operator, PausePbx, Retry, Unconfirmed, WaitOutLockout};
    let Place { generation, family, stage } = place;
    let at_login = |at_login: Policy, later: Policy| if family == Login { at_login } else { later };
    let transient = at_login(PausePbx, Retry);
    // At login the same at each repetition. Later they stay transient with a cap, because one oddly named recording must
    // not pause a whole PBX.
    let operator = at_login(Operator, Retry);
    // The device, or this version of its API, wants requests to be made in another way; or it trips over this one. A
    // device that has no voicemail, or another one than we know, must not be paused for it.
    let unfit = if family == Voicemail { Retry } else { at_login(Operator, Unconfirmed) };
    let session = at_login(PausePbx, LogIn);
    Some(match errno {
        10002 => (unfit, "XML is not supported"),
        10003 => (unfit, "unsupported request"),
        10004 => (operator, "a required parameter is blank"),
        // The extension is gone, and its box with it.
        10006 if family == Voicemail && stage == Stage::Query => (Empty, "the extension does not exist"),
        10006 if family == Voicemail => (NotThere, "the extension does not exist"),
        10006 => (transient, "the extension does not exist"),
        10025 => (transient, "asked too often"),
        10032 => (operator, "wrong password"),
        20000 => (operator, "only JSON is supported"),
        20001 => (unfit, "only POST is supported"),
        20002 => (WaitOutLockout, "locked out"),
        20003 => (operator, "wrong user or password"),
        20004 => (session, "no such token"),
        20005 => (session, "the token is blank"),
        20006 => (session, "the token timed out"),
        20007 => (operator, "blank data"),
        20008 => (operator, "wrong port"),
        20009 => (operator, "blank request"),
        20010 => (transient, "its web server could not reach its API service"),
        // v1.0.x: "does not exist"; later: "random invalid", which makes no sense where none was sent.
        20012 if family == Recording && stage == Stage::Download => (NewTicket, ""),
        20012 if family == Recording && generation == Generation::V1_0 => (NotThere, ""),
        20013 => (operator, "wrong captcha"),
        20014 if family == Recording => (NotThere, ""),
        20015 => (at_login(PausePbx, Unconfirmed), "wrong allowedip"),
        20016 => (
            transient,
            "wrong voicemail status (a device that does not know it: set `voicemail_status = false`)",
        ),
        20017 if family == Voicemail => (NewTicket, ""),
        20018 if family == Voicemail => (NotThere, ""),
        20019 => (transient, "wrong time format"),
        20020 if family == Cdr => (NewTicket, ""),
        20021 => (if family == Cdr { Empty } else { transient }, "no CDR in this range"),
        20011 | 20012 | 20014 | 20017 | 20018 | 20020 => (transient, ""),
        30001 => (transient, "out of memory, or an API error"),
        // The one documented reply of a compatible device to a wrong password. Repeating it would lock us out.
        30003 if generation == Generation::Compatible => (operator, "its API service is not started"),
        30003 => (transient, "its API service is not started"),
        _ => return None,
    })
}

/// The failure of a request at `place` that the PBX answered with an error number.
pub(super) fn failure(place: Place, errno: u32) -> Failure {
    let entry = entry(place, errno);
    let (policy, meaning) = entry.unwrap_or_else(|| {
        (if place.family == Family::Login { Policy::PausePbx } else { Policy::Retry }, "")
    });
    let what = match (policy, meaning) {
        (Policy::NewTicket, _) => format!("the ticket was refused (errno {errno})"),
        (Policy::NotThere, _) => format!("the PBX says that it does not have it (errno {errno})"),
        (_, "") => format!("the PBX answered with the unknown errno {errno}"),
        (_, meaning) => format!("the PBX answered with errno {errno}: {meaning}"),
    };
    let reason = match (policy, errno) {
        (Policy::NewTicket, _) => Reason::Ticket,
        (Policy::NotThere, _) => Reason::Missing,
        (Policy::WaitOutLockout, _) => Reason::LockedOut,
        (Policy::Operator, 20003 | 10032 | 30003) => Reason::PasswordRefused,
        (_, 10003) => Reason::Unsupported,
        _ if entry.is_some() => Reason::Errno(errno),
        _ => Reason::UnknownErrno(errno),
    };
    let is_unwell = is_busy(errno) || errno == 30003;
    Failure { policy: Some(policy), is_unwell, ..Failure::new(reason, what) }
}

/// Whether an error number says only that the PBX is busy.
pub(super) fn is_busy(errno: u32) -> bool {
    matches!(errno, 10025 | 20010 | 30001)
}

/// The policy for a failure below the API: no error number, but a broken transfer or a wrong kind of reply.
pub(super) fn for_transport(place: Place, reason: Reason) -> Policy {
    match reason {
        // As the table has it: a device without voicemail must not be paused for it.
        Reason::Unsupported if place.family == Family::Voicemail => Policy::Retry,
        _ => Policy::of_transport(place.when(), reason),
    }
}

/// What the operator can do about a login that failed for this reason.
pub(super) fn login_remedy(config: &PbxConfig, reason: Reason) -> Option<&'static str> {
    match (reason, &config.push, config.login_port) {
        (Reason::Errno(20008), PushMode::Http(_) | PushMode::Tcp { .. }, _) => {
            Some("correct the port of [push] `listen`, or that of `push_url`")
        }
        (Reason::Errno(10004 | 20008), PushMode::Off, None) => {
            Some("this PBX wants a port at login: set `login_port` (it moves its event reports to that port)")
        }
        (Reason::Errno(20008), ..) => Some("correct `login_port`"),
        (Reason::Unsupported, ..) => Some("correct `api_version`"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Family::{Cdr, Device, Login, Recording, Voicemail};
    use Generation::{Compatible, V1_0, V1_1, V2};
    use Stage::{Download, GetRandom, Query};

    #[test]
    fn each_error_number_has_the_policy_of_its_place() {
        let table = [
            (V1_0, Recording, GetRandom, 20012, Policy::NotThere, "missing"),
            (V1_0, Recording, GetRandom, 20014, Policy::NotThere, "missing"),
            (V1_0, Recording, Download, 20012, Policy::NewTicket, "ticket"),
            (V1_0, Recording, Download, 20014, Policy::NotThere, "missing"),
            (V1_1, Recording, GetRandom, 20012, Policy::Retry, "errno_20012"),
            (V1_1, Recording, Download, 20012, Policy::NewTicket, "ticket"),
            (Compatible, Recording, Download, 20012, Policy::NewTicket, "ticket"),
            (V2, Recording, GetRandom, 20014, Policy::NotThere, "missing"),
            (V2, Recording, Download, 20014, Policy::NotThere, "missing"),
            (V1_1, Recording, GetRandom, 20006, Policy::LogIn, "errno_20006"),
            (V1_1, Recording, Download, 20004, Policy::LogIn, "errno_20004"),
            (V1_1, Recording, Download, 20010, Policy::Retry, "errno_20010"),
            (V1_1, Recording, GetRandom, 20015, Policy::Unconfirmed, "errno_20015"),
            (V1_1, Recording, GetRandom, 10003, Policy::Unconfirmed, "unsupported"),
            (V1_1, Recording, GetRandom, 10004, Policy::Retry, "errno_10004"),
            (V1_1, Recording, GetRandom, 99999, Policy::Retry, "errno_other"),
            (V1_1, Login, Query, 20003, Policy::Operator, "password_refused"),
            (V1_1, Login, Query, 20002, Policy::WaitOutLockout, "locked_out"),
            (V1_1, Login, Query, 20008, Policy::Operator, "errno_20008"),
            (V1_1, Login, Query, 30003, Policy::PausePbx, "errno_30003"),
            (Compatible, Login, Query, 30003, Policy::Operator, "password_refused"),
            (V1_1, Login, Query, 20010, Policy::PausePbx, "errno_20010"),
            (V1_1, Cdr, GetRandom, 20021, Policy::Empty, "errno_20021"),
            (V1_1, Cdr, Download, 20020, Policy::NewTicket, "ticket"),
            (V1_1, Cdr, GetRandom, 20019, Policy::Retry, "errno_20019"),
            (V1_1, Voicemail, Download, 20017, Policy::NewTicket, "ticket"),
            (V1_1, Voicemail, GetRandom, 20018, Policy::NotThere, "missing"),
            (V1_1, Voicemail, GetRandom, 20016, Policy::Retry, "errno_20016"),
            (V1_1, Voicemail, Query, 10006, Policy::Empty, "errno_10006"),
            (V1_1, Voicemail, GetRandom, 10006, Policy::NotThere, "missing"),
            (V1_1, Voicemail, Query, 10003, Policy::Retry, "unsupported"),
            (V1_1, Voicemail, Query, 20001, Policy::Retry, "errno_20001"),
            (V1_1, Voicemail, GetRandom, 20015, Policy::Unconfirmed, "errno_20015"),
            (V1_1, Voicemail, Query, 20006, Policy::LogIn, "errno_20006"),
            (V1_1, Device, Query, 10003, Policy::Unconfirmed, "unsupported"),
        ];
        for (generation, family, stage, errno, policy, reason) in table {
            let place = Place { generation, family, stage };
            let failure = failure(place, errno);
            assert_eq!(failure.policy, Some(policy), "{place:?} {errno}");
            assert_eq!(failure.reason.to_string(), reason, "{place:?} {errno}");
        }
    }

    #[test]
    fn a_broken_login_pauses_the_pbx_and_a_broken_download_is_retried() {
        let login = Place { generation: V1_1, family: Login, stage: Query };
        let download = Place { generation: V1_1, family: Recording, stage: Download };
        for reason in [Reason::Reset, Reason::Timeout, Reason::Http(504), Reason::HtmlBody] {
            assert_eq!(for_transport(login, reason), Policy::PausePbx);
            assert_eq!(for_transport(download, reason), Policy::Retry);
        }
        assert_eq!(for_transport(login, Reason::Http(404)), Policy::Operator);
        assert_eq!(for_transport(login, Reason::Redirect), Policy::Operator);
        assert_eq!(for_transport(download, Reason::Redirect), Policy::Unconfirmed);
        assert_eq!(for_transport(download, Reason::Refused), Policy::PausePbx);
        assert_eq!(for_transport(download, Reason::TlsPinMismatch), Policy::Operator);
    }
}
