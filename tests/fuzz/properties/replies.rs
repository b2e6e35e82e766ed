//! Replies of the PBX in JSON: what is a success, what breaks off, and what voicemail lists and device infos say.

use callvault::base::message::Message;
use callvault::pbx::{DeviceInfo, JsonError, Refusal, VoicemailList, parse_reply};

use super::pieces;

pub(crate) fn hold(input: &[u8]) {
    let Ok(members) = parse_reply(input) else {
        return;
    };
    let again = serde_json::to_vec(&members).expect("parsed JSON can be written");
    assert_eq!(parse_reply(&again).map(|members| members.len()), Ok(members.len()), "written and read again");
    refuse_what_breaks_off(&again);
    let sn = members.get("sn").filter(|_| !members.contains_key("deviceinfo")).cloned();
    check_list(&VoicemailList::of_reply(&members), input.len());
    if let Some(info) = DeviceInfo::of_reply(members) {
        if sn.is_some_and(|sn| sn.is_number()) {
            check_number(&info.sn, input);
        }
        let told = [Some(&info.sn), info.firmware.as_ref(), info.name.as_ref(), info.system_time.as_ref()];
        told.into_iter()
            .flatten()
            .for_each(|text| assert!(!text.is_empty() && text.trim() == text, "{text:?}"));
    }
}

/// A number is told as the PBX wrote it; a fraction may be written otherwise, if it is small.
fn check_number(told: &str, input: &[u8]) {
    let is_told = input.windows(told.len()).any(|window| window == told.as_bytes());
    let is_small = told.parse::<f64>().is_ok_and(|number| number.abs() < 9e15);
    assert!(is_told || is_small, "{told}");
}

/// A reply that is cut off anywhere is no success, and is told to be cut off.
fn refuse_what_breaks_off(reply: &[u8]) {
    let mut end = 0;
    for piece in pieces(reply) {
        if end > 0 {
            assert_eq!(
                parse_reply(&reply[..end]).err(),
                Some(Refusal::Json(JsonError::Cut)),
                "{end} bytes of it"
            );
        }
        end += piece.len();
    }
}

/// Whatever a list shows can be asked for, and is known again by its name.
fn check_list(list: &VoicemailList, bytes: usize) {
    assert!(list.messages.len() + list.unreadable.len() <= bytes);
    for place in &list.messages {
        let Message { extension, .. } = &place.message;
        for text in [&place.file, extension] {
            assert!(!text.is_empty() && text.trim() == text, "{place:?}");
        }
        let name = place.message.name(1);
        assert_eq!(Message::from_name(&name), Some((place.message.clone(), 1)), "{name}");
    }
}
