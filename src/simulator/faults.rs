//! The ways in which the device can be told to misbehave. All compose; all are off by default.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::chance::number_of;
use super::growing::Growing;
use super::list_fault::ListFault;
use super::poison::Poison;

/// Each number is a probability from 0 to 1 per request, drawn from the seed and the request's number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The connection is reset before any reply.
    pub refuse: f64,
    /// A request is read and never answered (for `stall_s`, then closed).
    pub hang: f64,
    /// A request is answered 20010: no `apisrv`.
    pub errno_20010: f64,
    /// A request is answered 30001: out of memory.
    pub errno_30001: f64,
    /// A request is answered 30003: `apisrv` not started.
    pub errno_30003: f64,
    /// A request is answered by an HTML page with status 504.
    pub gateway_timeout: f64,
    /// A request is answered by a redirect to `redirect_to`.
    pub redirect: f64,
    /// The status of a redirect.
    pub redirect_status: u16,
    /// Where a redirect leads.
    pub redirect_to: String,
    /// A request is answered by a head whose lines never end.
    pub endless_head: f64,
    /// A request is answered by JSON that never ends.
    pub endless_json: f64,
    /// A reply's head comes byte by byte, `slow_head_ms` apart.
    pub slow_head: f64,
    /// How far apart the bytes of a slow head come, in milliseconds.
    pub slow_head_ms: u64,
    /// A reply's body comes in chunks; one without end in chunks of which none is the last.
    pub chunked: f64,
    /// JSON is printed as firmware prints it: a comma too many or too few, a NUL or a comment behind it.
    pub misprinted_json: f64,
    /// A reply has 120 headers more than it needs.
    pub many_headers: f64,
    /// JSON and CDR come in gzip, though nobody asked for that.
    pub gzip: f64,
    /// A request is answered by status 503, with `Retry-After: busy_s`.
    pub busy: f64,
    /// How long the PBX is busy, as it says, in seconds.
    pub busy_s: u32,
    /// A request for CDR is answered by an HTML page with status 504.
    pub cdr_504: f64,
    /// A request is answered by itself: as a page, in a redirect, as an error number, as JSON that breaks off.
    pub echo: f64,

    /// A download is refused as if its ticket had expired.
    pub ticket_expired: f64,
    /// A token is revoked just after it got a ticket.
    pub token_revoked: f64,

    /// A download is reset in the middle of the body.
    pub reset: f64,
    /// A download is reset right after the last byte of its body.
    pub reset_after: f64,
    /// A download ends cleanly in the middle of the body.
    pub truncate: f64,
    /// A download ends cleanly within the WAV header.
    pub truncate_wav_header: f64,
    /// A download ends cleanly within the HTTP head.
    pub truncate_head: f64,
    /// A download stops in the middle of the body for `stall_s`, then goes on.
    pub stall: f64,
    /// How long a stall lasts, in seconds; 0 is until the client closes.
    pub stall_s: f64,
    /// A download is sent slowly, at `drip_bytes_per_s`.
    pub drip: f64,
    /// The rate of a drip.
    pub drip_bytes_per_s: u32,
    /// A download is answered by a JSON error (30001) as if it were audio.
    pub json_body: f64,
    /// A download is answered by an HTML page with status 200.
    pub html_200: f64,
    /// A download is answered by an HTML page with status 503.
    pub html_503: f64,
    /// A download is answered by an HTML page with status 504.
    pub html_504: f64,
    /// A download's body is empty.
    pub empty_body: f64,
    /// A download declares a Content-Length that is not its length.
    pub wrong_length: f64,
    /// A download goes on after the file's end until the client closes.
    pub endless: f64,
    /// One bit of a download is flipped.
    pub bit_flip: f64,

    /// The first so many downloads of each name find the file still growing.
    pub growing_asks: u32,
    /// What a growing file looks like, also one of a call that has only just ended.
    pub growing_as: Growing,
    /// The first so many times that a name is asked for, it does not exist.
    pub missing_asks: u32,
    /// The storage is offline: no recording exists.
    pub store_offline: bool,
    /// These recordings do not exist.
    pub deleted: Vec<String>,

    /// A CDR row is listed twice.
    pub cdr_duplicate: f64,
    /// A CDR row is left out.
    pub cdr_missing: f64,
    /// A CDR row is broken: cut in the middle.
    pub cdr_broken: f64,
    /// A CDR row tells another callee, other durations or another start than it has.
    pub cdr_altered: f64,
    /// A CDR's rows come in a shuffled order.
    pub cdr_reordered: f64,
    /// A CDR ends within its last row, as if the connection had been lost there: nothing else tells of it.
    pub cdr_cut: f64,
    /// A CDR goes on after its last row: all of them come again and again until the client closes.
    pub cdr_endless: f64,
    /// A box of voicemail lists an entry besides that names no file.
    pub voicemail_odd: f64,
    /// A CDR ends after so many rows; 0 is no cap.
    pub cdr_row_cap: u64,
    /// What call lists are, all alike, instead of what they should be.
    pub lists: Vec<ListFault>,

    /// How far the clock in `deviceinfo` is off, in seconds.
    pub clock_offset_s: i64,
    /// Another serial number than the device had, as after a swap.
    pub serial_number: Option<String>,
    /// Every login is answered 20002.
    pub locked_out: bool,
    /// Another password than the device had.
    pub password: Option<String>,
    /// How long each reply waits, in milliseconds.
    pub reply_delay_ms: u64,
    /// The most bytes per second of each reply; 0 is no limit.
    pub reply_bytes_per_s: u32,
    /// Single things of which it cannot speak.
    pub poison: Vec<Poison>,
    /// Which self-signed certificate is shown; another number is another key.
    pub certificate: u32,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            refuse: 0.0,
            hang: 0.0,
            errno_20010: 0.0,
            errno_30001: 0.0,
            errno_30003: 0.0,
            gateway_timeout: 0.0,
            redirect: 0.0,
            redirect_status: 302,
            redirect_to: "/login.html".to_owned(),
            endless_head: 0.0,
            endless_json: 0.0,
            slow_head: 0.0,
            slow_head_ms: 20,
            chunked: 0.0,
            misprinted_json: 0.0,
            many_headers: 0.0,
            gzip: 0.0,
            busy: 0.0,
            busy_s: 1,
            cdr_504: 0.0,
            echo: 0.0,
            ticket_expired: 0.0,
            token_revoked: 0.0,
            reset: 0.0,
            reset_after: 0.0,
            truncate: 0.0,
            truncate_wav_header: 0.0,
            truncate_head: 0.0,
            stall: 0.0,
            stall_s: 0.0,
            drip: 0.0,
            drip_bytes_per_s: 4096,
            json_body: 0.0,
            html_200: 0.0,
            html_503: 0.0,
            html_504: 0.0,
            empty_body: 0.0,
            wrong_length: 0.0,
            endless: 0.0,
            bit_flip: 0.0,
            growing_asks: 0,
            growing_as: Growing::Header,
            missing_asks: 0,
            store_offline: false,
            deleted: Vec::new(),
            cdr_duplicate: 0.0,
            cdr_missing: 0.0,
            cdr_broken: 0.0,
            cdr_altered: 0.0,
            cdr_reordered: 0.0,
            cdr_cut: 0.0,
            cdr_endless: 0.0,
            voicemail_odd: 0.0,
            cdr_row_cap: 0,
            lists: Vec::new(),
            clock_offset_s: 0,
            serial_number: None,
            locked_out: false,
            password: None,
            reply_delay_ms: 0,
            reply_bytes_per_s: 0,
            poison: Vec::new(),
            certificate: 0,
        }
    }
}

/// How often each name was asked for: faults that pass need to know.
#[derive(Debug, Default)]
pub(super) struct Asks(HashMap<(&'static str, u64), u32>);

impl Asks {
    /// Counts an ask of `name`; whether it is among the first `most`.
    pub(super) fn is_early(&mut self, what: &'static str, name: &[u8], most: u32) -> bool {
        if most == 0 {
            return false;
        }
        let asks = self.0.entry((what, number_of(name))).or_default();
        *asks = asks.saturating_add(1);
        *asks <= most
    }

    /// Starts to count anew.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
