//! What the device has seen: the far side's account, by which a client is judged.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

/// A snapshot of the counters. Requests to `/simulator/…` are not in them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections open now.
    pub connections_now: u64,
    /// The most connections that were open at one time.
    pub connections_peak: u64,
    /// All connections.
    pub connections: u64,
    /// TLS connections whose client accepted the certificate, by that certificate's number.
    pub certificates_accepted: BTreeMap<u32, u64>,
    /// All requests that could be read.
    pub requests: u64,
    /// Logins that gave a token.
    pub logins_ok: u64,
    /// Logins with a wrong user or password.
    pub logins_refused: u64,
    /// Logins answered 20002.
    pub logins_locked: u64,
    /// Logins tried from an address whose last one was refused.
    pub logins_after_refusal: u64,
    /// Requests from an address whose last login was refused, logins too.
    pub requests_after_refusal: u64,
    /// Logins of any outcome by hour, such as `2024-03-15T12Z`, of the time that passed: setting the clock changes none.
    pub logins_by_hour: BTreeMap<String, u64>,
    /// Requests by endpoint, such as `cdr/get_random`.
    pub endpoints: BTreeMap<String, u64>,
    /// Heartbeats.
    pub heartbeats: u64,
    /// Requests refused because of their token.
    pub tokens_refused: u64,
    /// Tickets handed out.
    pub tickets_issued: u64,
    /// Tickets that were accepted by a download.
    pub tickets_used: u64,
    /// Tickets that were never issued, or not for this file, session or address.
    pub tickets_refused: u64,
    /// Tickets that came too late.
    pub tickets_expired: u64,
    /// Tickets that came a second time.
    pub tickets_reused: u64,
    /// Recordings and messages sent whole and without a fault.
    pub downloads_ok: u64,
    /// When the last of them was sent, in time that passed since the start: setting the clock changes none.
    pub last_download: Option<Timestamp>,
    /// Recordings and messages whose sending began, faulty ones too.
    pub downloads_started: u64,
    /// CDR files sent.
    pub cdr_downloads: u64,
    /// Questions answered "does not exist".
    pub absences_told: u64,
    /// Bytes of bodies of recordings and messages.
    pub bytes_served: u64,
    /// Requests on the port that redirects.
    pub redirected: u64,
    /// Live tokens that were revoked by a fault or a test.
    pub revocations: u64,
    /// Where events were asked to be sent, from a login or a heartbeat with `port` or `url`.
    pub event_destination: Option<String>,
    /// How often each fault happened.
    pub faults: BTreeMap<String, u64>,
    /// How often each error number was answered.
    pub errnos: BTreeMap<u32, u64>,
}
