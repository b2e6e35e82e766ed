//! What a world holds besides the planned calls: odd names, voicemail, what the documents name.

use jiff::{Timestamp, ToSpan as _};

use super::audio::SimAudio;
use super::call::SimCall;
use super::chance::mix;
use super::names::odd_names;
use super::plan::add_s;
use super::profile::{Profile, SimulatorOptions};
use super::voicemail::SimVoicemail;
use super::world::World;

impl World {
    /// Adds all that the options ask for.
    pub(super) fn populate(&mut self, options: &SimulatorOptions) {
        self.add_odd_names(options);
        self.add_voicemails(options);
        if options.profile == Profile::Compatible {
            self.add_documented();
        }
    }

    /// Noon of the last day, from which given calls are counted.
    fn noon(&self) -> Timestamp {
        let noon = self.zone().to_ambiguous_zoned(self.today().at(12, 0, 0, 0)).compatible();
        noon.map_or(Timestamp::UNIX_EPOCH, |noon| noon.timestamp())
    }

    fn add_odd_names(&mut self, options: &SimulatorOptions) {
        for (at, name) in (0_u64..).zip(odd_names().into_iter().take(options.odd_names)) {
            let start = add_s(self.noon(), at * 60);
            let audio = SimAudio::pcm(options.size_bytes.0, mix(options.seed, 30, at));
            self.add_call(SimCall::recorded(start, at, name, audio));
        }
    }

    fn add_voicemails(&mut self, options: &SimulatorOptions) {
        for at in 0..options.voicemails as u64 {
            let draw = |what| mix(options.seed, what, at);
            let audio = SimAudio::pcm(options.size_bytes.0, draw(40));
            let date = add_s(self.noon(), at * 61);
            self.voicemails().push(SimVoicemail {
                extension: (1000 + draw(41) % 10).to_string(),
                from: format!("0{:010}", draw(42) % 10_000_000_000),
                date,
                length_s: audio.seconds(),
                read: draw(43).is_multiple_of(3),
                audio,
            });
        }
    }

    /// What the compatible device's documents name: one recording, and messages of 1004 and 102.
    fn add_documented(&mut self) {
        let start = Timestamp::from_second(1_588_641_695).expect("a moment in 2020");
        self.add_call(SimCall {
            callfrom: "106".to_owned(),
            callto: "101".to_owned(),
            call_type: "Internal".to_owned(),
            source_trunk: String::new(),
            did: String::new(),
            ..SimCall::recorded(
                start,
                1772,
                *b"exten-101-106-20200505-042135-1588641695.1772.wav",
                SimAudio::pcm(64_044, 1772),
            )
        });
        for (extension, key) in [("1004", 1), ("102", 2), ("102", 3)] {
            let audio = SimAudio::pcm(48_044, key);
            self.voicemails().push(SimVoicemail {
                extension: extension.to_owned(),
                from: "101".to_owned(),
                date: start.checked_add(i64::try_from(key).unwrap_or(0).minutes()).unwrap_or(start),
                length_s: audio.seconds(),
                read: false,
                audio,
            });
        }
    }
}
