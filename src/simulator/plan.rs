//! The calls of a generated world, computed from the seed when asked for: a million of them take no memory.

use std::ops::Range;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::audio::{SimAudio, WavFormat};
use super::call::SimCall;
use super::chance::mix;
use super::days::Days;
use super::profile::{Profile, SimulatorOptions};

/// Each generated recording owns this many call numbers, for the calls around it.
const SEQ_PER_RECORDING: u64 = 4;
/// The PIN that some callers dial: no other number looks like it.
pub(super) const PIN: &str = "9047117703";
/// The first call number.
const SEQ_FIRST: u64 = 100;

/// How the generated calls follow from the seed.
#[derive(Debug)]
pub(super) struct CallPlan {
    seed: u64,
    profile: Profile,
    zone: TimeZone,
    recordings: u64,
    size_bytes: (u64, u64),
    formats: Vec<WavFormat>,
    days: Days,
}

/// What happens to the call around one recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Inbound,
    Outbound,
    Internal,
    Queue,
    Menu,
}

impl CallPlan {
    /// Plans the calls of the days that end with `today`.
    pub(super) fn new(options: &SimulatorOptions, zone: &TimeZone, today: Date) -> Result<Self, jiff::Error> {
        Ok(Self {
            seed: options.seed,
            profile: options.profile,
            zone: zone.clone(),
            recordings: options.recordings,
            size_bytes: options.size_bytes,
            formats: options.formats.clone(),
            days: Days::new(options, zone, today)?,
        })
    }

    /// Notes how far the clock is ahead from a moment on that is later than all before it.
    pub(super) fn set_clock_error(&mut self, from: Timestamp, error: SignedDuration) {
        self.days.set_clock_error(from, error);
    }

    /// How many recordings are planned; their indexes are `0..recordings`.
    pub(super) fn recordings(&self) -> u64 {
        self.recordings
    }

    /// The dates that have calls, and the indexes of their recordings.
    pub(super) fn days(&self) -> impl Iterator<Item = (Date, Range<u64>)> + '_ {
        self.days.dates()
    }

    /// The index whose recording is called `name`: read from the call number in it, then checked.
    pub(super) fn find(&self, name: &[u8]) -> Option<u64> {
        let text = std::str::from_utf8(name).ok()?;
        let (_, rest) = text.split_once('.')?;
        let digits = rest.split(|character: char| !character.is_ascii_digit()).next()?;
        let index = digits.parse::<u64>().ok()?.checked_sub(SEQ_FIRST)? / SEQ_PER_RECORDING;
        // A transfer's recording bears the call number of the recording before it.
        let near = [index, index + 1];
        near.into_iter().find(|index| *index < self.recordings && self.recorded(*index).recording == name)
    }

    /// The row that names recording `index`, with its audio.
    pub(super) fn recorded(&self, index: u64) -> SimCall {
        if self.is_transfer(index) {
            return self.transferred(index);
        }
        self.plain(index)
    }

    /// All rows around recording `index`, the recorded one first.
    pub(super) fn rows(&self, index: u64) -> Vec<SimCall> {
        let call = self.recorded(index);
        let end = add_s(call.start, u64::from(call.call_duration_s));
        let mut rows = vec![];
        match self.draw(index, 20) % 100 {
            0..18 => rows.push(self.unanswered(index)),
            18..22 => {
                let start = add_s(call.start, 2);
                let callid = format!("{}.{}", start.as_second(), seq(index, 2));
                rows.push(SimCall { callid, start, recording: vec![], audio: None, ..call.clone() });
            }
            22..28 => rows.push(SimCall {
                start: end,
                callto: self.extension(index, 21),
                call_type: "Transfer".to_owned(),
                recording: vec![],
                audio: None,
                ..call.clone()
            }),
            // Both legs of an attended transfer name the one file.
            28..30 => rows.push(SimCall {
                start: end,
                callto: self.extension(index, 22),
                call_type: "Transfer".to_owned(),
                audio: None,
                ..call.clone()
            }),
            _ => {}
        }
        rows.insert(0, call);
        rows
    }

    fn draw(&self, index: u64, what: u64) -> u64 {
        mix(self.seed, what, index)
    }

    /// When the call around recording `index` starts by the device's clock, unless it is a transfer.
    fn start(&self, index: u64) -> Timestamp {
        self.days.start(index, self.draw(index, 1))
    }

    /// Whether recording `index` is of a leg that the call before it was transferred to.
    fn is_transfer(&self, index: u64) -> bool {
        index % 2 == 1 && self.draw(index, 2) % 100 < 8 && self.days.are_together(index, index - 1)
    }

    fn transferred(&self, index: u64) -> SimCall {
        let first = self.plain(index - 1);
        let audio = self.audio(index);
        let start = add_s(first.start, u64::from(first.call_duration_s));
        let callto = self.extension(index, 3);
        let recording = self.name(start, &first.callid, &first.callfrom, &callto, &first.call_type);
        let talk_duration_s = audio.seconds();
        SimCall {
            start,
            callto,
            call_duration_s: talk_duration_s + 3,
            talk_duration_s,
            call_type: "Transfer".to_owned(),
            pincode: String::new(),
            recording,
            audio: Some(audio),
            ..first
        }
    }

    fn plain(&self, index: u64) -> SimCall {
        let start = self.start(index);
        let shape = match self.draw(index, 4) % 100 {
            0..45 => Shape::Inbound,
            45..70 => Shape::Outbound,
            70..85 => Shape::Internal,
            85..95 => Shape::Queue,
            _ => Shape::Menu,
        };
        let extension = self.extension(index, 5);
        let outside = format!("0{:010}", self.draw(index, 6) % 10_000_000_000);
        let (callfrom, callto, named_to, call_type) = match shape {
            Shape::Inbound => (outside, extension.clone(), extension, "Inbound"),
            Shape::Outbound => (extension, outside.clone(), format!("9{outside}"), "Outbound"),
            Shape::Internal => (self.extension(index, 7), extension.clone(), extension, "Internal"),
            Shape::Queue => (outside, format!("6200({extension})"), extension, "Inbound"),
            Shape::Menu => (outside, format!("6501({extension})"), extension, "Inbound"),
        };
        let callid = format!("{}.{}", start.as_second(), seq(index, 0));
        let audio = self.audio(index);
        let ring_s = u32::try_from(2 + self.draw(index, 8) % 22).expect("less than 24");
        let trunk = if self.draw(index, 9).is_multiple_of(4) { "Büro-Süd 中继" } else { "siptrunk1" };
        let only = |wanted: bool, text: &str| if wanted { text.to_owned() } else { String::new() };
        let recording = self.name(start, &callid, &callfrom, &named_to, call_type);
        SimCall {
            talk_written: None,
            callid,
            start,
            call_duration_s: audio.seconds() + ring_s,
            talk_duration_s: audio.seconds(),
            source_trunk: only(call_type == "Inbound", trunk),
            destination_trunk: only(shape == Shape::Outbound, trunk),
            status: "ANSWERED".to_owned(),
            call_type: call_type.to_owned(),
            pincode: only(shape == Shape::Outbound && self.draw(index, 10).is_multiple_of(10), PIN),
            did: only(call_type == "Inbound", "5550100"),
            callfrom,
            callto,
            recording,
            audio: Some(audio),
        }
    }

    fn unanswered(&self, index: u64) -> SimCall {
        let no_answer = if self.profile == Profile::V2 { "NO ANSWERED" } else { "NO ANSWER" };
        let status =
            [no_answer, no_answer, "BUSY", "FAILED", "VOICEMAIL"][(self.draw(index, 11) % 5) as usize];
        let start = add_s(self.start(index), 1);
        SimCall {
            callid: format!("{}.{}", start.as_second(), seq(index, 1)),
            start,
            callfrom: format!("0{:010}", self.draw(index, 12) % 10_000_000_000),
            callto: self.extension(index, 13),
            call_duration_s: u32::try_from(self.draw(index, 14) % 40).expect("less than 40"),
            source_trunk: "siptrunk1".to_owned(),
            status: status.to_owned(),
            call_type: "Inbound".to_owned(),
            did: "5550100".to_owned(),
            ..SimCall::default()
        }
    }

    fn extension(&self, index: u64, what: u64) -> String {
        (1000 + self.draw(index, what) % 20).to_string()
    }

    fn audio(&self, index: u64) -> SimAudio {
        let (low, high) = self.size_bytes;
        let formats: &[WavFormat] = if self.formats.is_empty() { &[WavFormat::Pcm16] } else { &self.formats };
        SimAudio::Generated {
            format: formats[(self.draw(index, 15) % formats.len() as u64) as usize],
            size_bytes: low + self.draw(index, 16) % (high.saturating_sub(low) + 1),
            key: self.draw(index, 17),
        }
    }

    /// The recording's name; its stamp is a few seconds later than the call (`docs/pbx-api.md` §8).
    fn name(&self, start: Timestamp, callid: &str, from: &str, to: &str, call_type: &str) -> Vec<u8> {
        if self.profile == Profile::Compatible {
            let stamp = start.to_zoned(self.zone.clone()).strftime("%Y%m%d-%H%M%S");
            return format!("exten-{to}-{from}-{stamp}-{callid}.wav").into_bytes();
        }
        let late_s = 2 + mix(self.seed, 18, start.as_second().unsigned_abs()) % 22;
        let stamp = add_s(start, late_s).to_zoned(self.zone.clone()).strftime("%Y%m%d%H%M%S").to_string();
        format!("{stamp}-{callid}-{from}-{to}-{call_type}.wav").into_bytes()
    }
}

fn seq(index: u64, at: u64) -> u64 {
    SEQ_FIRST + index * SEQ_PER_RECORDING + at
}

/// A moment some seconds later.
pub(super) fn add_s(time: Timestamp, seconds: u64) -> Timestamp {
    let seconds = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    time.saturating_add(seconds).unwrap_or(Timestamp::MAX)
}
