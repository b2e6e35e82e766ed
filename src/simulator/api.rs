//! The API: which request leads where, and what is refused before it is looked at.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::chance::Luck;
use super::device::Device;
use super::errno;
use super::faults::Faults;
use super::http::Request;
use super::json::{Members, Value};
use super::lock;
use super::profile::{ApiVersion, Profile};
use super::push::Registration;
use super::reply::Reply;

/// What the device does about a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// It replies.
    Reply(Box<Reply>),
    /// It says nothing, for so long or until the client leaves.
    Silence(Option<Duration>),
    /// It resets the connection.
    Reset,
}

/// One request under the rules of its version.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) device: &'a Device,
    pub(super) request: &'a Request,
    pub(super) from: IpAddr,
    pub(super) luck: Luck,
    pub(super) faults: Arc<Faults>,
    pub(super) version: ApiVersion,
    /// What timers run by.
    pub(super) now: Timestamp,
}

/// Members of a reply after its status, or an error number.
pub(super) type Said = Result<Vec<(&'static str, Value)>, u32>;

/// Answers a request of a client.
pub(super) fn answer(device: &Device, request: &Request, from: IpAddr, luck: Luck) -> Answer {
    device.count(|counters| counters.requests += 1);
    if lock(&device.sessions).is_refused(from) {
        device.count(|counters| counters.requests_after_refusal += 1);
    }
    let faults = device.faults();
    if device.strikes(luck, "hang", faults.hang) {
        return Answer::Silence(seconds(faults.stall_s));
    }
    let profile = device.options.profile;
    let Some(path) = request.path.strip_prefix("/api/") else {
        return reply(Reply::html(if request.method.is_empty() { 400 } else { 404 }));
    };
    if let Some(fault) = whole_request_fault(device, request, &faults, luck) {
        return reply(fault);
    }
    let (version, endpoint) = path.split_once('/').unwrap_or((path, ""));
    let now = device.timers();
    let said = match profile.version(version) {
        None => Err(errno::UNSUPPORTED),
        Some(version) => {
            let call = Call { device, request, from, luck, faults, version, now };
            if let Some(wrong) = call.poisoned(endpoint) {
                return wrong;
            }
            call.route(endpoint)
        }
    };
    reply(said.unwrap_or_else(|errno| refuse(device, errno)))
}

/// Replies.
pub(super) fn reply(reply: Reply) -> Answer {
    Answer::Reply(Box::new(reply))
}

/// A failure reply, counted.
pub(super) fn refuse(device: &Device, errno: u32) -> Reply {
    device.count(|counters| *counters.errnos.entry(errno).or_default() += 1);
    Reply::failure(errno, device.options.profile)
}

/// A duration of a fault; `None` for zero, which means without end.
pub(super) fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok().filter(|limit| !limit.is_zero())
}

/// Faults that strike whatever is asked.
fn whole_request_fault(device: &Device, request: &Request, faults: &Faults, luck: Luck) -> Option<Reply> {
    if device.strikes(luck, "gateway_timeout", faults.gateway_timeout) {
        return Some(Reply::html(504));
    }
    if device.strikes(luck, "busy", faults.busy) {
        return Some(Reply::busy(faults.busy_s));
    }
    if device.strikes(luck, "redirect", faults.redirect) {
        return Some(Reply::redirect(faults.redirect_status, &faults.redirect_to));
    }
    if device.strikes(luck, "endless_head", faults.endless_head) {
        return Some(Reply::endless_head());
    }
    if device.strikes(luck, "endless_json", faults.endless_json) {
        return Some(Reply::endless_json());
    }
    let errors = [
        ("errno_20010", faults.errno_20010, errno::NO_APISRV),
        ("errno_30001", faults.errno_30001, errno::JSON_MEMORY),
        ("errno_30003", faults.errno_30003, errno::APISRV_DOWN),
    ];
    let struck = errors.into_iter().find(|(name, probability, _)| device.strikes(luck, name, *probability));
    if let Some((_, _, errno)) = struck {
        return Some(refuse(device, errno));
    }
    let is_echoed = device.strikes(luck, "echo", faults.echo);
    is_echoed.then(|| Reply::echo(request, luck.draw("echo_as"), device.options.profile))
}

impl Call<'_> {
    fn route(&self, endpoint: &str) -> Result<Reply, u32> {
        if is_known(endpoint) || is_get(endpoint) {
            self.device.count(|counters| *counters.endpoints.entry(endpoint.to_owned()).or_default() += 1);
        }
        let is_report = endpoint.starts_with("cdr/") || endpoint.starts_with("voicemail/");
        let lacks_voicemail = endpoint.starts_with("voicemail/") && !self.device.options.has_voicemail;
        if lacks_voicemail || is_report && !self.version.has_reports() {
            return Err(errno::UNSUPPORTED);
        }
        // Clients send heartbeats and downloads by either method, and real devices accept it.
        if !is_get(endpoint) && self.request.method != "POST" && is_known(endpoint) {
            return Err(errno::POST_ONLY);
        }
        if endpoint.starts_with("cdr/") && self.device.strikes(self.luck, "cdr_504", self.faults.cdr_504) {
            return Ok(Reply::html(504));
        }
        match endpoint {
            "recording/download" => self.download_recording(),
            "voicemail/download" => self.download_voicemail(),
            "cdr/download" => self.download_cdr(),
            _ => self.say(endpoint).map(|members| Reply::success(members, self.device.options.profile)),
        }
    }

    fn say(&self, endpoint: &str) -> Said {
        match endpoint {
            "login" => self.log_in(),
            "logout" => self.log_out(),
            "heartbeat" => self.heartbeat(),
            "deviceinfo/query" => self.device_info(),
            "recording/get_random" => self.issue_recording(),
            "voicemail/query" => self.list_voicemail(),
            "voicemail/get_random" => self.issue_voicemail(),
            "cdr/get_random" => self.issue_cdr(),
            _ => Err(errno::UNSUPPORTED),
        }
    }

    /// The members of the body.
    pub(super) fn members(&self) -> Result<Members, u32> {
        let body = self.request.body.trim_ascii();
        if body.is_empty() {
            return Err(errno::BLANK_REQUEST);
        }
        if body.starts_with(b"<") {
            return Err(errno::XML);
        }
        Members::parse(body, self.version == ApiVersion::Compatible).ok_or(errno::NOT_JSON)
    }

    /// The members of a body that may be absent.
    pub(super) fn optional_members(&self) -> Result<Members, u32> {
        match self.members() {
            Err(errno::BLANK_REQUEST) => Ok(Members::default()),
            read => read,
        }
    }

    /// Checks the token, which also extends its life; returns it.
    pub(super) fn check_token(&self) -> Result<String, u32> {
        let token = self.request.text("token");
        let checked = lock(&self.device.sessions).check(&token, self.now);
        if checked.is_err() {
            self.device.count(|counters| counters.tokens_refused += 1);
        }
        checked.map(|()| token)
    }

    fn log_in(&self) -> Said {
        let members = self.members()?;
        let user = members.text("username").ok_or(errno::BLANK_PARAMETER)?;
        let password = members.text("password").ok_or(errno::BLANK_PARAMETER)?;
        let (was_refused, login) = {
            let mut sessions = lock(&self.device.sessions);
            let was_refused = sessions.is_refused(self.from);
            if self.faults.locked_out {
                (was_refused, Err(errno::LOCKED))
            } else {
                (was_refused, sessions.login(&user, &password, self.from, self.now))
            }
        };
        let hour = self.device.clock.now().steady.strftime("%Y-%m-%dT%HZ").to_string();
        self.device.count(|counters| {
            *counters.logins_by_hour.entry(hour).or_default() += 1;
            counters.logins_after_refusal += u64::from(was_refused);
            match login {
                Ok(_) => counters.logins_ok += 1,
                Err(errno::LOCKED) => counters.logins_locked += 1,
                Err(_) => counters.logins_refused += 1,
            }
        });
        let token = login?;
        self.register_events("login", &members);
        Ok(vec![("token", Value::text(token))])
    }

    fn log_out(&self) -> Said {
        let token = self.check_token()?;
        lock(&self.device.sessions).forget(&token);
        Ok(vec![])
    }

    fn heartbeat(&self) -> Said {
        self.check_token()?;
        let members = self.optional_members()?;
        self.device.count(|counters| counters.heartbeats += 1);
        self.register_events("heartbeat", &members);
        Ok(vec![])
    }

    /// Notes where reports are to go, if `by` says so.
    fn register_events(&self, by: &'static str, members: &Members) {
        let Some(registration) = Registration::read(by, members, self.from) else { return };
        self.device.count(|counters| counters.event_destination = Some(registration.destination()));
        self.device.push.register(registration);
    }

    fn device_info(&self) -> Said {
        self.check_token()?;
        let offset = SignedDuration::from_secs(self.faults.clock_offset_s);
        let now = self.device.clock.now().shown;
        let shown = now.saturating_add(offset).unwrap_or(now);
        let zone = self.device.world().zone().clone();
        let firmware = match self.device.options.profile {
            Profile::V1_0 => "30.7.0.11",
            Profile::V1_1 | Profile::Compatible => "30.10.0.67",
            Profile::V2 => "30.13.0.30",
        };
        let info = vec![
            ("devicename", Value::text("S100")),
            ("sn", Value::text(self.device.serial_number(&self.faults))),
            ("hardwarever", Value::text("V1.30 0000-0000")),
            ("firmwarever", Value::text(firmware)),
            ("systemtime", Value::text(system_time(shown, &zone))),
            ("uptime", Value::text("12 days 03:04")),
        ];
        Ok(vec![("deviceinfo", Value::Object(info))])
    }
}

fn is_get(endpoint: &str) -> bool {
    matches!(endpoint, "heartbeat" | "recording/download" | "voicemail/download" | "cdr/download")
}

fn is_known(endpoint: &str) -> bool {
    let (noun, verb) = endpoint.split_once('/').unwrap_or((endpoint, ""));
    match noun {
        "login" | "logout" => verb.is_empty(),
        "deviceinfo" => verb == "query",
        "recording" | "cdr" => verb == "get_random",
        "voicemail" => verb == "get_random" || verb == "query",
        _ => false,
    }
}

/// `2024-03-01 12:00:00 UTC+1`; minutes of the offset only where there are some.
fn system_time(now: Timestamp, zone: &jiff::tz::TimeZone) -> String {
    let local = now.to_zoned(zone.clone());
    let offset_s = local.offset().seconds();
    let sign = if offset_s < 0 { '-' } else { '+' };
    let (hours, minutes) = (offset_s.abs() / 3600, offset_s.abs() % 3600 / 60);
    let minutes = if minutes == 0 { String::new() } else { format!(":{minutes:02}") };
    format!("{} UTC{sign}{hours}{minutes}", local.strftime("%Y-%m-%d %H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn the_system_time_names_its_offset() {
        let now = Timestamp::from_second(1_709_290_800).unwrap();
        let show = |zone| system_time(now, &TimeZone::get(zone).unwrap());
        assert_eq!(show("Europe/Berlin"), "2024-03-01 12:00:00 UTC+1");
        assert_eq!(show("Asia/Kolkata"), "2024-03-01 16:30:00 UTC+5:30");
        assert_eq!(show("America/Los_Angeles"), "2024-03-01 03:00:00 UTC-8");
        assert_eq!(show("UTC"), "2024-03-01 11:00:00 UTC+0");
    }
}
