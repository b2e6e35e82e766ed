//! What happens on the PBXs while the service follows them: calls, messages, people who hear and delete them.

use std::sync::Arc;
use std::time::Duration;

use callvault::simulator::{SimAudio, SimCall, SimVoicemail};
use jiff::SignedDuration;

use super::device::Device;
use super::stop::Stop;
use crate::support::chance::Chance;

/// Lets things happen until told to stop.
pub(crate) fn live(devices: &[Arc<Device>], every: Duration, seed: u64, stop: &Stop) {
    let mut chance = Chance(seed);
    let mut number = 0;
    while !stop.comes_within(chance.around(every)) {
        number += 1;
        let device = &devices[chance.below(devices.len() as u64) as usize];
        match chance.below(100) {
            0..75 => end_call(device, number, &mut chance),
            75..87 => leave_message(device, number, &mut chance),
            87..94 => mark_read(device, &mut chance),
            94..99 => delete(device, &mut chance),
            _ => device.pbx.reboot(),
        }
    }
}

fn audio(number: u64, chance: &mut Chance) -> SimAudio {
    SimAudio::pcm(1_000 + chance.below(24_000), number)
}

/// A call ends now; one in five was dialled with a PIN.
fn end_call(device: &Device, number: u64, chance: &mut Chance) {
    let audio = audio(number, chance);
    let lasts = SignedDuration::from_secs(i64::from(audio.seconds() + 5));
    let start = device.pbx.clock() - lasts;
    let stamp = start.in_tz("Europe/Berlin").unwrap().strftime("%Y%m%d%H%M%S").to_string();
    let seq = 5_000_000 + number;
    let name = format!("{stamp}-{}.{seq}-5550142-1003-Inbound.wav", start.as_second());
    let mut call = SimCall::recorded(start, seq, name, audio);
    if chance.below(5) == 0 {
        call.pincode = format!("90{:08}", chance.below(100_000_000));
    }
    device.pbx.end_call(call);
}

fn leave_message(device: &Device, number: u64, chance: &mut Chance) {
    let audio = audio(number, chance);
    let message = SimVoicemail {
        extension: (1001 + chance.below(4)).to_string(),
        // Another caller each time: no two messages are alike.
        from: format!("0555{number:07}"),
        date: device.pbx.clock(),
        length_s: audio.seconds(),
        read: false,
        audio,
    };
    device.note(&message);
    device.pbx.world(|world| world.leave_message(message));
}

fn mark_read(device: &Device, chance: &mut Chance) {
    device.pbx.world(|world| {
        let unread: Vec<&mut SimVoicemail> =
            world.voicemails().iter_mut().filter(|message| !message.read).collect();
        let count = unread.len() as u64;
        if let Some(message) = unread.into_iter().nth(chance.below(count.max(1)) as usize) {
            message.read = true;
        }
    });
}

fn delete(device: &Device, chance: &mut Chance) {
    device.pbx.world(|world| {
        let messages = world.voicemails();
        if !messages.is_empty() {
            let at = chance.below(messages.len() as u64) as usize;
            messages.remove(at);
        }
    });
}
