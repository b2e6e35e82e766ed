//! The five PBXs of an installation: each of another kind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use callvault::base::digest::Digest;
use callvault::config::pin_line;
use callvault::pbx::Certificate;
use callvault::simulator::{
    Faults, Profile, PushOptions, Retention, SimVoicemail, SimulatorOptions, VoicemailCap,
};

use crate::support::program::{Folder, Pbx};

/// How many there are.
pub(crate) const DEVICES: usize = 5;
/// How often each kind of fault happens.
const FAULT: f64 = 0.01;
/// Recordings that are there at the start, beside those that are made.
const RECORDINGS: u64 = 20;
/// What the one keeps that overwrites: some minutes of calls.
const KEEPS: Retention =
    Retention { cdr_rows: Some(400), cdr_days: None, recording_days: None, recording_bytes: Some(4_000_000) };

/// A PBX on which calls are made.
pub(crate) struct Device {
    pub(crate) id: &'static str,
    pub(crate) pbx: Pbx,
    /// Whether it flips bits in what it sends, which nobody can see who has no other copy.
    pub(crate) flips_bits: bool,
    /// Every message that was ever left: what it sounds like.
    pub(crate) messages: Mutex<BTreeMap<String, BTreeSet<Digest>>>,
}

impl Device {
    /// Starts the one of this number in an installation, with its faults at work.
    pub(crate) fn start(number: usize, seed: u64) -> Self {
        let id = ["hq", "tls", "stream", "compatible", "small"][number];
        let push = PushOptions { stream_port: (id == "stream").then_some(0), ..PushOptions::default() };
        let options = SimulatorOptions {
            seed,
            serial_number: format!("36922340{seed:04}"),
            tls: id == "tls",
            profile: match id {
                "stream" => Profile::V2,
                "compatible" => Profile::Compatible,
                _ => Profile::V1_1,
            },
            live: true,
            ready_after: Duration::from_secs(1),
            round_the_clock: true,
            days: 2,
            retention: if id == "small" { KEEPS } else { Retention::default() },
            voicemails: 4,
            voicemail_cap: (id == "small").then_some(VoicemailCap { messages: 12, length_s: 6000 }),
            size_bytes: (2_000, 30_000),
            push,
            ..Pbx::options(RECORDINGS)
        };
        let pbx = Pbx::start(options);
        let device = Self { id, pbx, flips_bits: id == "compatible", messages: Mutex::default() };
        for message in device.pbx.world(|world| world.voicemails().clone()) {
            device.note(&message);
        }
        device.pbx.set_faults(device.faults());
        device
    }

    /// Each kind of fault that happens by chance.
    fn faults(&self) -> Faults {
        Faults {
            refuse: FAULT,
            hang: FAULT,
            errno_20010: FAULT,
            errno_30001: FAULT,
            errno_30003: FAULT,
            gateway_timeout: FAULT,
            redirect: FAULT,
            cdr_504: FAULT,
            ticket_expired: FAULT,
            token_revoked: FAULT,
            reset: FAULT,
            truncate: FAULT,
            truncate_wav_header: FAULT,
            truncate_head: FAULT,
            stall: FAULT,
            stall_s: 2.0,
            drip: FAULT,
            json_body: FAULT,
            html_200: FAULT,
            html_503: FAULT,
            html_504: FAULT,
            empty_body: FAULT,
            wrong_length: FAULT,
            endless: FAULT,
            bit_flip: if self.flips_bits { FAULT } else { 0.0 },
            cdr_duplicate: FAULT,
            cdr_missing: FAULT,
            cdr_broken: FAULT,
            cdr_reordered: FAULT,
            ..Faults::default()
        }
    }

    /// Adds its section to the configuration.
    pub(crate) fn configure(&self, folder: &Folder) {
        let certificate = self.pbx.certificate().unwrap();
        let pin = certificate.map(|der| pin_line(Certificate::read(&der).unwrap().key_sha256));
        let kind = match self.id {
            "hq" => "push = \"http\"".to_owned(),
            "stream" => format!(
                "api_version = \"v2.0.0\"\npush = \"tcp\"\npush_tcp_port = {}",
                self.pbx.stream_port().unwrap()
            ),
            "compatible" => "api_version = \"v0.0.1\"\ndownload_api_version = \"v1.1.0\"".to_owned(),
            "small" => "cdr_rows = 400\nvoicemail_per_extension = 12".to_owned(),
            _ => String::new(),
        };
        let keys = format!(
            "{kind}\n{}\ntimezone = \"Europe/Berlin\"\nreply_timeout_s = 3\ncdr_timeout_s = 5\nidle_timeout_s = 1\n\
             throughput_bytes_s_min = 100\noutage_patience_s = 2\noutage_retry_s_max = 4\nlockout_wait_s = 1\n\
             recording_days = 3\n",
            pin.unwrap_or_default()
        );
        folder.add_pbx(self.id, &self.pbx.url(), &keys);
    }

    /// Remembers what a message sounds like.
    pub(crate) fn note(&self, message: &SimVoicemail) {
        let sounds = message.audio.sha256();
        self.messages.lock().unwrap().entry(name_of(message)).or_default().insert(sounds);
    }
}

/// What a message is called in the archive, if it is the only one of its extension, date, caller and length.
pub(crate) fn name_of(message: &SimVoicemail) -> String {
    let date = message.date.in_tz("Europe/Berlin").unwrap().strftime("%Y-%m-%d %H:%M:%S");
    format!("{}/{date}/{}/{}", message.extension, message.from, message.length_s)
}
