//! What kind of device is simulated, and what is in it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

use super::audio::WavFormat;
use super::push::PushOptions;
use super::retention::Retention;
use super::voicemail::VoicemailCap;

/// A generation of the API, or a device that resembles it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Firmware with API v1.0.x only: no CDR download, no voicemail, the old meanings of 20012 and 20014.
    V1_0,
    /// API v1.1.0 (also as `v1.10`), with v1.0.x beside it.
    #[default]
    V1_1,
    /// API v2.0.0, with the older ones beside it.
    V2,
    /// A compatible device: any request under v0.0.1 and v1.1.0, indented JSON, FreePBX-style names.
    Compatible,
}

/// The rules of one request, which depend on the version in its path as much as on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApiVersion {
    /// v1.0.x.
    V1_0,
    /// v1.1.0.
    V1_1,
    /// v2.0.0.
    V2,
    /// Any path of the compatible device.
    Compatible,
}

impl Profile {
    /// The rules for a path segment such as `v1.1.0`; `None` if the device does not know that version.
    pub(super) fn version(self, segment: &str) -> Option<ApiVersion> {
        let version = match segment {
            "v0.0.1" | "v1.1.0" if self == Self::Compatible => return Some(ApiVersion::Compatible),
            _ if self == Self::Compatible => return None,
            "v2.0.0" => ApiVersion::V2,
            // The vendor's English page misprints the path, and clients that copied it work.
            "v1.1.0" | "v1.10" => ApiVersion::V1_1,
            _ if segment.starts_with("v1.0.") => ApiVersion::V1_0,
            _ => return None,
        };
        let known = match self {
            Self::V1_0 => version == ApiVersion::V1_0,
            Self::V1_1 => version != ApiVersion::V2,
            Self::V2 | Self::Compatible => true,
        };
        known.then_some(version)
    }
}

impl ApiVersion {
    /// Whether CDR and voicemail can be asked for.
    pub(super) fn has_reports(self) -> bool {
        self != Self::V1_0
    }

    /// What an extension is called in requests and replies.
    pub(super) fn extension_key(self) -> &'static str {
        if self == Self::V2 { "number" } else { "extid" }
    }
}

/// Everything that is fixed when a simulator starts. Two simulators with equal options hold equal worlds.
#[derive(Debug, Clone)]
pub struct SimulatorOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// HTTPS with a self-signed certificate instead of plain HTTP.
    pub tls: bool,
    /// The kind of device.
    pub profile: Profile,
    /// What every draw depends on.
    pub seed: u64,
    /// The API user.
    pub username: String,
    /// The API user's password, in plain; clients send its MD5. It guards nothing and is no secret.
    pub password: String,
    /// The device's serial number, in `deviceinfo` and in each CDR row.
    pub serial_number: String,
    /// The zone of the device's clock, an IANA name.
    pub timezone: String,
    /// What the device's clock shows at the start; `None` is this machine's time.
    pub now: Option<Timestamp>,
    /// The last day with calls; `None` is the day before the device's date, whose calls have all ended, or the
    /// device's date if the device lives.
    pub today: Option<Date>,
    /// Whether the device lives: a planned row appears when its call ends, filed under its start. Otherwise all rows
    /// are there from the start.
    pub live: bool,
    /// On a device that lives, how long after its call a recording is still being written out;
    /// [`Faults::growing_as`](super::Faults::growing_as) is what it looks like until then.
    pub ready_after: Duration,
    /// Whether calls are spread over the whole day instead of business hours and a few at night.
    pub round_the_clock: bool,
    /// What the device keeps. A limit, as life does, takes the calls out of the plan and into memory.
    pub retention: Retention,
    /// How many days with calls there are, the last one included.
    pub days: u32,
    /// How many recordings are generated; odd names and the compatible device's own one come on top.
    pub recordings: u64,
    /// The smallest and largest size of a generated file.
    pub size_bytes: (u64, u64),
    /// The codings of generated files, drawn evenly; one may be listed more than once.
    pub formats: Vec<WavFormat>,
    /// How many recordings with odd names there are on the last day: `../`, control characters, 300 bytes.
    pub odd_names: usize,
    /// How many voicemail messages are generated.
    pub voicemails: usize,
    /// What a voicemail box holds at most; `None` for any number of messages.
    pub voicemail_cap: Option<VoicemailCap>,
    /// Whether there is a voicemail API, in versions that know one; else it is answered 10003.
    pub has_voicemail: bool,
    /// Whether replies carry a Content-Length.
    pub content_length: bool,
    /// Whether it knows headers only in the case in which people write them: `Content-Length`, not `content-length`.
    pub knows_title_case_only: bool,
    /// How long each request takes at least.
    pub latency: Duration,
    /// How long a ticket is valid.
    pub ticket_ttl: Duration,
    /// Whether a transfer that outlasts its ticket is cut off.
    pub ticket_covers_transfer: bool,
    /// Whether a download that the client aborts has spent its ticket.
    pub abort_consumes_ticket: bool,
    /// Whether "does not exist" (20014, 20018, 20021) is told by the download instead of `get_random`.
    pub absence_told_at_download: bool,
    /// How long a token lives after its last use.
    pub token_ttl: Duration,
    /// Whether tokens, tickets and lock-outs age by what the clock shows, so that setting it ends or prolongs them.
    pub timers_follow_clock: bool,
    /// Where else plain HTTP is listened for, to redirect whatever comes to the device's address, as port 80 does.
    pub redirect_from: Option<SocketAddr>,
    /// Whether a login ends the sessions before it.
    pub one_token_only: bool,
    /// What an expired token is answered with: 20006 or 20004.
    pub expired_token_errno: u32,
    /// What a wrong password is answered with: 20003, or 30003 as one compatible device's sample shows.
    pub bad_login_errno: u32,
    /// Wrong passwords in a row after which an address is locked out.
    pub lockout_after: u32,
    /// How long a lock-out lasts.
    pub lockout: Duration,
    /// Whether the CDR starts with a byte order mark.
    pub cdr_bom: bool,
    /// Whether the CDR's last line is left without an end.
    pub cdr_unended: bool,
    /// Whether CDR lines end in CR LF.
    pub cdr_crlf: bool,
    /// Whether each CDR field is quoted.
    pub cdr_quotes: bool,
    /// How it reports its events.
    pub push: PushOptions,
    /// Tokens that are valid from the start.
    pub preset_tokens: Vec<String>,
    /// The first tickets that are issued, in order.
    pub preset_randoms: Vec<String>,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: false,
            profile: Profile::default(),
            seed: 1,
            username: "api".to_owned(),
            password: "Simulated1".to_owned(),
            serial_number: "369392500001".to_owned(),
            timezone: "Europe/Berlin".to_owned(),
            now: None,
            today: None,
            live: false,
            ready_after: Duration::from_secs(5),
            round_the_clock: false,
            retention: Retention::default(),
            days: 3,
            recordings: 200,
            size_bytes: (16_000, 160_000),
            formats: vec![
                WavFormat::Pcm16,
                WavFormat::Pcm16,
                WavFormat::ALaw,
                WavFormat::MuLaw,
                WavFormat::Gsm,
            ],
            odd_names: 0,
            voicemails: 6,
            voicemail_cap: None,
            has_voicemail: true,
            content_length: false,
            knows_title_case_only: false,
            latency: Duration::ZERO,
            ticket_ttl: Duration::from_secs(30),
            ticket_covers_transfer: false,
            abort_consumes_ticket: true,
            absence_told_at_download: false,
            token_ttl: Duration::from_secs(1800),
            timers_follow_clock: false,
            redirect_from: None,
            one_token_only: false,
            expired_token_errno: super::errno::TOKEN_EXPIRED,
            bad_login_errno: super::errno::BAD_PASSWORD,
            lockout_after: 5,
            lockout: Duration::from_secs(600),
            cdr_bom: false,
            cdr_unended: false,
            cdr_crlf: false,
            cdr_quotes: false,
            push: PushOptions::default(),
            preset_tokens: Vec::new(),
            preset_randoms: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_answers_its_own_version_and_the_older_ones() {
        assert_eq!(Profile::V1_0.version("v1.0.1"), Some(ApiVersion::V1_0));
        assert_eq!(Profile::V1_0.version("v1.1.0"), None);
        assert_eq!(Profile::V1_1.version("v1.10"), Some(ApiVersion::V1_1));
        assert_eq!(Profile::V1_1.version("v2.0.0"), None);
        assert_eq!(Profile::V2.version("v1.1.0"), Some(ApiVersion::V1_1));
        assert_eq!(Profile::Compatible.version("v0.0.1"), Some(ApiVersion::Compatible));
        assert_eq!(Profile::Compatible.version("v2.0.0"), None);
        assert_eq!(Profile::V2.version("v0.0.1"), None);
    }
}
