//! What a PBX does wrong for a while: faults of every kind at once, and changes behind our back.

use callvault::simulator::{Faults, Growing, SimAudio, Simulator};
use jiff::ToSpan as _;

use crate::support::chance::Chance;

/// How long a stall of the PBX lasts. Shorter than our patience or longer, as it comes.
const STALLS_S: [f64; 3] = [0.05, 0.5, 0.0];

/// Faults of every kind, each absent or at a rate of its own, drawn anew for each storm.
pub(crate) fn faults(chance: &mut Chance, elsewhere: &str) -> Faults {
    let mut faults = Faults { redirect_to: elsewhere.to_owned(), ..Faults::default() };
    let mut rate = |most: u64| match chance.below(2) {
        0 => 0.0,
        _ => chance.below(most) as f64 / 1_000.0,
    };
    for request in [
        &mut faults.refuse,
        &mut faults.hang,
        &mut faults.errno_20010,
        &mut faults.errno_30001,
        &mut faults.errno_30003,
        &mut faults.gateway_timeout,
        &mut faults.redirect,
        &mut faults.endless_head,
        &mut faults.endless_json,
        &mut faults.echo,
        &mut faults.token_revoked,
    ] {
        *request = rate(40);
    }
    for manner in [&mut faults.slow_head, &mut faults.chunked, &mut faults.stall, &mut faults.drip] {
        *manner = rate(100);
    }
    for download in [
        &mut faults.ticket_expired,
        &mut faults.reset,
        &mut faults.truncate,
        &mut faults.truncate_wav_header,
        &mut faults.truncate_head,
        &mut faults.json_body,
        &mut faults.html_200,
        &mut faults.html_503,
        &mut faults.html_504,
        &mut faults.empty_body,
        &mut faults.wrong_length,
        &mut faults.endless,
    ] {
        *download = rate(120);
    }
    for list in [
        &mut faults.cdr_504,
        &mut faults.cdr_duplicate,
        &mut faults.cdr_missing,
        &mut faults.cdr_broken,
        &mut faults.cdr_altered,
        &mut faults.cdr_reordered,
        &mut faults.cdr_cut,
        &mut faults.cdr_endless,
        &mut faults.voicemail_odd,
    ] {
        *list = rate(200);
    }
    draw_manners(chance, &mut faults);
    faults
}

/// What is not a rate.
fn draw_manners(chance: &mut Chance, faults: &mut Faults) {
    faults.stall_s = STALLS_S[chance.below(3) as usize];
    faults.slow_head_ms = chance.below(4);
    faults.drip_bytes_per_s = 20_000 + chance.below(200_000) as u32;
    faults.redirect_status = [301, 302, 303, 307, 308][chance.below(5) as usize];
    faults.growing_asks = chance.below(3) as u32;
    faults.growing_as =
        [Growing::Header, Growing::Nothing, Growing::Half, Growing::HalfUnsized, Growing::Absent]
            [chance.below(5) as usize];
    faults.missing_asks = chance.below(3) as u32;
    faults.store_offline = chance.below(12) == 0;
    faults.cdr_row_cap = if chance.below(8) == 0 { 1 + chance.below(8) } else { 0 };
    faults.clock_offset_s = match chance.below(4) {
        0 => chance.below(200_000) as i64 - 100_000,
        _ => 0,
    };
    faults.reply_delay_ms = chance.below(6);
    if chance.below(10) == 0 {
        faults.serial_number = Some(format!("3693925000{:02}", 10 + chance.below(3)));
    }
    if chance.below(12) == 0 {
        faults.password = Some("Changed-Meanwhile-7".to_owned());
    }
    faults.locked_out = chance.below(14) == 0;
}

/// Changes what the PBX has: calls are made, and rows and recordings change, vanish or come back.
pub(crate) fn change_world(chance: &mut Chance, pbx: &Simulator, names: &[Vec<u8>], number: u64) {
    for step in 0..chance.below(5) {
        let name = &names[chance.below(names.len() as u64) as usize];
        let audio = SimAudio::pcm(1_000 + chance.below(4_000), number * 100 + step);
        let kind = chance.below(6);
        pbx.world(|world| match kind {
            0 => {
                let Some(mut call) = world.all_rows().into_iter().next() else { return };
                let new = format!("new-{number}-{step}.wav");
                call.start += i64::from(step as u32 + 1).minutes();
                call.callid = format!("{}.{number}{step}", call.start.as_second());
                call.recording = new.into_bytes();
                call.audio = Some(audio);
                world.add_call(call);
            }
            1 => world.replace_audio(name, audio),
            2 => world.delete_audio(name),
            3 => world.restore_audio(name),
            4 => world.remove_rows(name),
            _ => world.rewrite(name, |call| {
                call.call_duration_s += 1;
                true
            }),
        });
    }
}
