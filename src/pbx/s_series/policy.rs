//! What each failure of a PBX calls for: one table, one policy each.
//!
//! Error numbers mean different things at different places: the table is asked with the API generation, the family
//! of calls and the stage within it. Source of the numbers: `docs/pbx-api.md` §4.

use crate::config::{Generation, PbxConfig, PushMode};
use crate::pbx::error::{Failure, Policy, Reason, When};

/// A group of calls with one meaning per error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `login`.
    Login,
    /// `deviceinfo`.
    Device,
    /// `recording`.
    Recording,
    /// `cdr`.
    Cdr,
    /// `voicemail`.
    Voicemail,
}

/// The step within a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// A call that answers with JSON and gives no ticket: `login`, `query`.
    Query,
    /// `get_random`: asking for a ticket.
    GetRandom,
    /// `download`: spending it.
    Download,
}

/// Where in the API something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Whose rules apply.
    pub generation: Generation,
    /// The group of calls.
    pub family: Family,
    /// The step within it.
    pub stage: Stage,
}

impl Place {
    pub(super) fn when(self) -> When {
        match (self.family, self.stage) {
            (Family::Login, _) => When::LoggingIn,
            (_, Stage::Download) => When::Receiving,
            (_, Stage::Query | Stage::GetRandom) => When::Asking,
        }
    }
}

/// The policy for an error number that the PBX gave at `place`. Unknown numbers are transient.
pub fn for_errno(place: Place, errno: u32) -> Policy {
    match place.family {
        Family::Login => for_login(place.generation, errno),
        Family::Recording => for_recording(place, errno),
        Family::Cdr => for_cdr(errno),
        Family::Voicemail => for_voicemail(place.stage, errno),
        Family::Device => for_any(errno),
    }
}

/// The policy for a failure below the API: no error number, but a broken transfer or a wrong kind of reply.
pub fn for_transport(place: Place, reason: Reason) -> Policy {
    match reason {
        // As `for_voicemail` has it: a device without voicemail must not be paused for it.
        Reason::Unsupported if place.family == Family::Voicemail => Policy::Retry,
        _ => Policy::of_transport(place.when(), reason),
    }
}

/// The failure of a request at `place` that the PBX answered with an error number.
pub(super) fn failure(place: Place, errno: u32) -> Failure {
    let policy = for_errno(place, errno);
    let what = match (policy, meaning(errno)) {
        (Policy::NewTicket, _) => format!("the ticket was refused (errno {errno})"),
        (Policy::NotThere, _) => format!("the PBX says that it does not have it (errno {errno})"),
        (_, Some(meaning)) => format!("the PBX answered with errno {errno}: {meaning}"),
        (_, None) => format!("the PBX answered with the unknown errno {errno}"),
    };
    let is_unwell = is_busy(errno) || errno == 30003;
    let failure = Failure::new(reason_of_errno(place, errno), what);
    Failure { policy: Some(policy), number: Some(errno), is_unwell, ..failure }
}

/// Whether an error number says only that the PBX is busy.
pub(super) fn is_busy(errno: u32) -> bool {
    matches!(errno, 10025 | 20010 | 30001)
}

/// What the operator can do about a login that was answered with this error number.
pub(super) fn login_remedy(config: &PbxConfig, errno: u32) -> Option<&'static str> {
    match (errno, &config.push, config.login_port) {
        (20008, PushMode::Http(_) | PushMode::Tcp { .. }, _) => {
            Some("correct the port of [push] `listen`, or that of `push_url`")
        }
        (10004 | 20008, PushMode::Off, None) => {
            Some("this PBX wants a port at login: set `login_port` (it moves its event reports to that port)")
        }
        (20008, ..) => Some("correct `login_port`"),
        _ => None,
    }
}

/// The word for an error number that has one of its own; the others are `errno_<n>`.
pub fn reason_of_errno(place: Place, errno: u32) -> Reason {
    match (for_errno(place, errno), errno) {
        (Policy::NewTicket, _) => Reason::Ticket,
        (Policy::NotThere, _) => Reason::Missing,
        (Policy::WaitOutLockout, _) => Reason::LockedOut,
        (Policy::Operator, 20003 | 10032 | 30003) => Reason::PasswordRefused,
        (_, 10003) => Reason::Unsupported,
        _ if is_known(errno) => Reason::Errno(errno),
        _ => Reason::UnknownErrno(errno),
    }
}

/// What the vendor's table says about an error number; `None` where it says nothing.
pub fn meaning(errno: u32) -> Option<&'static str> {
    Some(match errno {
        10002 => "XML is not supported",
        10003 => "unsupported request",
        10004 => "a required parameter is blank",
        10006 => "the extension does not exist",
        10025 => "asked too often",
        10032 => "wrong password",
        20000 => "only JSON is supported",
        20001 => "only POST is supported",
        20002 => "locked out",
        20003 => "wrong user or password",
        20004 => "no such token",
        20005 => "the token is blank",
        20006 => "the token timed out",
        20007 => "blank data",
        20008 => "wrong port",
        20009 => "blank request",
        20010 => "its web server could not reach its API service",
        20013 => "wrong captcha",
        20015 => "wrong allowedip",
        20016 => "wrong voicemail status (a device that does not know it: set `voicemail_status = false`)",
        20019 => "wrong time format",
        20021 => "no CDR in this range",
        30001 => "out of memory, or an API error",
        30003 => "its API service is not started",
        _ => return None,
    })
}

/// Whether a document tells of an error number, by whatever version of the API.
fn is_known(errno: u32) -> bool {
    meaning(errno).is_some() || matches!(errno, 20011 | 20012 | 20014 | 20017 | 20018 | 20020)
}

fn for_login(generation: Generation, errno: u32) -> Policy {
    match errno {
        20003 | 10032 => Policy::Operator,
        // The one documented reply of a compatible device to a wrong password. Repeating it would lock us out.
        30003 if generation == Generation::Compatible => Policy::Operator,
        // Missing or wrong `port`, and requests that this device never accepts: the same at each repetition.
        10002 | 10003 | 10004 | 20000 | 20001 | 20007 | 20008 | 20009 | 20013 => Policy::Operator,
        20002 => Policy::WaitOutLockout,
        _ => Policy::PausePbx,
    }
}

fn for_recording(place: Place, errno: u32) -> Policy {
    let get_random = place.stage != Stage::Download;
    match errno {
        // v1.0.x: "does not exist"; later: "random invalid", which makes no sense where none was sent.
        20012 if get_random && place.generation == Generation::V1_0 => Policy::NotThere,
        20012 if get_random => Policy::Retry,
        20012 => Policy::NewTicket,
        20014 => Policy::NotThere,
        _ => for_any(errno),
    }
}

fn for_cdr(errno: u32) -> Policy {
    match errno {
        20020 => Policy::NewTicket,
        20021 => Policy::Empty,
        _ => for_any(errno),
    }
}

/// A device that has no voicemail, or another one than we know, must not be paused for it: its calls are archived all the
/// same.
fn for_voicemail(stage: Stage, errno: u32) -> Policy {
    match errno {
        20017 => Policy::NewTicket,
        20018 => Policy::NotThere,
        // The extension is gone, and its box with it.
        10006 if stage == Stage::Query => Policy::Empty,
        10006 => Policy::NotThere,
        10002 | 10003 | 20001 => Policy::Retry,
        _ => for_any(errno),
    }
}

/// What holds in every family once logged in. Blank-parameter and format errors stay transient with a cap, because
/// one oddly named recording must not pause a whole PBX.
fn for_any(errno: u32) -> Policy {
    match errno {
        20004..=20006 => Policy::LogIn,
        20002 => Policy::WaitOutLockout,
        // The device, or this version of its API, wants requests to be made in another way; or it trips over this one.
        10002 | 10003 | 20001 | 20015 => Policy::Unconfirmed,
        _ => Policy::Retry,
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
            assert_eq!(for_errno(place, errno), policy, "{place:?} {errno}");
            assert_eq!(reason_of_errno(place, errno).to_string(), reason, "{place:?} {errno}");
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
