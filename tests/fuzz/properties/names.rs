//! Names: a file for any name, one file for each name, never a way out of its folder; and names that tell things.

use callvault::archive::{Destination, Folder};
use callvault::base::digest::Digest;
use callvault::base::message::Message;
use callvault::base::recording::RecordingName;
use callvault::base::safe_name::{SafeName, plain_name, safe_name, with_hash, with_identity, with_stem};
use jiff::civil::date;

use super::assert_printable;

/// The longest name of a file.
const NAME_BYTES_MAX: usize = 180;

pub(crate) fn hold(input: &[u8]) {
    if let Some(name) = RecordingName::new(input) {
        check_name(&name);
        check_neighbours(&name);
        check_message_name(&name);
    }
    let text = String::from_utf8_lossy(input);
    check_messages(&text);
    check_paths(&text);
}

fn check_name(name: &RecordingName) {
    assert_printable(&name.to_string());
    let safe = safe_name(name);
    for file in [&safe, &with_hash(name), &with_identity(name, b"369"), &with_stem(name, name, b"369")] {
        check_file(file);
    }
    assert_eq!(safe, safe_name(name), "the same name, the same file");
    match safe.as_str().contains('~') {
        true => {
            let mark = format!("~{}.wav", Digest::of(name.as_bytes()).short());
            assert!(safe.as_str().ends_with(&mark), "{safe}");
            assert_eq!(plain_name(safe.as_str()), None);
        }
        false => {
            assert_eq!(plain_name(safe.as_str()).as_ref(), Some(name), "{safe}");
            assert_eq!(decoded(safe.as_str()), name.as_bytes(), "{safe}");
        }
    }
}

/// The bytes of a plain form, by the words of `docs/archive-format.md`.
fn decoded(plain: &str) -> Vec<u8> {
    let mut bytes = plain.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next(), bytes.next()].map(|digit| digit.expect("two digits follow"));
                let digits = std::str::from_utf8(&digits).expect("digits are text");
                assert!(!digits.bytes().any(|digit| digit.is_ascii_lowercase()), "{plain}");
                u8::from_str_radix(digits, 16).expect("hex follows")
            }
            byte => byte,
        });
    }
    decoded
}

/// One visible component of a path that every system takes, however its name came about.
fn check_file(file: &SafeName) {
    let text = file.as_str();
    assert!(text.len() <= NAME_BYTES_MAX && text.ends_with(".wav") && !text.starts_with('.'), "{text}");
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+=@()%~-".contains(&byte);
    assert!(text.bytes().all(is_allowed), "{text}");
    let base = text.split('.').next().unwrap_or_default().to_ascii_lowercase();
    assert!(!["con", "prn", "aux", "nul"].contains(&&*base), "{text}");
    let device = base.strip_suffix(|last: char| last.is_ascii_digit()).unwrap_or_default();
    assert!(!["com", "lpt"].contains(&device), "{text}");
    let place = Destination::call("hq", date(2026, 1, 9), text).expect("a safe name has a place");
    assert_eq!(place.path(), format!("hq/2026/01/09/{text}"));
    assert_eq!(Destination::parse(&place.path()).expect("it is read again"), place);
}

/// Names that are almost the same are other files; where case does not matter too, by their hash.
fn check_neighbours(name: &RecordingName) {
    let bytes = name.as_bytes();
    let other_case = bytes.iter().map(|byte| if byte.is_ascii_alphabetic() { byte ^ 0x20 } else { *byte });
    let as_file = safe_name(name).as_str().as_bytes().to_vec();
    let others = [
        other_case.collect(),
        [bytes, b".wav"].concat(),
        [bytes, b" "].concat(),
        bytes[..bytes.len() - 1].to_vec(),
        bytes[1..].to_vec(),
        as_file,
    ];
    for other in others.into_iter().filter_map(RecordingName::new).filter(|other| other != name) {
        assert_ne!(safe_name(name), safe_name(&other), "{other:?}");
        assert_ne!(folded(&with_hash(name)), folded(&with_hash(&other)), "{other:?}");
        assert_ne!(folded(&with_identity(name, b"1")), folded(&with_identity(&other, b"1")), "{other:?}");
    }
}

/// The name as a file system that ignores case sees it: two files may not have one and the same.
fn folded(name: &SafeName) -> String {
    name.as_str().to_ascii_lowercase()
}

/// A name that tells a message is the one that this message has.
fn check_message_name(name: &RecordingName) {
    if let Some((message, ordinal)) = Message::from_name(name) {
        assert_eq!(message.name(ordinal), *name, "{message:?} {ordinal}");
    }
}

/// Any message is known again by its name.
fn check_messages(text: &str) {
    let mut parts = text.split('\n').map(str::to_owned);
    let mut part = || parts.next().unwrap_or_default();
    let message = Message { extension: part(), date: part(), caller: part(), length: part() };
    for ordinal in [1, 2, u32::MAX] {
        let name = message.name(ordinal);
        assert_eq!(Message::from_name(&name), Some((message.clone(), ordinal)), "{name}");
        check_file(&with_stem(&message.stem("121140"), &name, b"369"));
    }
}

/// A path that is taken leads nowhere else, and a day that it tells is the one whose folder it is.
fn check_paths(text: &str) {
    if let Ok(place) = Destination::parse(text) {
        assert_eq!(place.path(), text);
    }
    if let Ok(folder) = Folder::parse(text) {
        assert_eq!(folder.as_str(), text);
        let is_plain =
            |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0']);
        assert!(text.split('/').all(is_plain), "{text}");
        if let Some(day) = folder.date() {
            assert!(text.ends_with(&day.strftime("/%Y/%m/%d").to_string()), "{text}");
        }
    }
}
