//! What a recording's file is called: readable, injective, and never a way out of its directory.
//!
//! The *plain* form is the PBX's name with every byte outside `[A-Za-z0-9._+=@()-]` written as `%XX`. A name for which
//! that will not do gets the *hash* form, `<stem>~<16 hex digits>.wav`: one that does not end in `.wav`, is longer
//! than 180 bytes when encoded, is reserved by some system, starts with a dot, or equals another but for case. `~`
//! stands in no plain form, so the forms never meet. `docs/archive-format.md` promises all this: do not change it.

use std::fmt;

use percent_encoding::{percent_decode_str, percent_encode_byte};
use sha2::{Digest as _, Sha256};

use crate::base::digest::Digest;
use crate::base::recording::RecordingName;

/// What every recording's file ends in.
const EXTENSION: &str = ".wav";

/// The longest name, in bytes, that stays plain; a hash form is no longer either.
const NAME_BYTES_MAX: usize = 180;

/// The longest encoded stem of a hash form: what `~`, 16 hex digits and `.wav` leave.
const STEM_BYTES_MAX: usize = NAME_BYTES_MAX - 1 - 16 - EXTENSION.len();

/// Names of devices on Windows and file servers that imitate it, with any extension.
const RESERVED: [&str; 4] = ["con", "prn", "aux", "nul"];

/// Those that have a digit after them.
const RESERVED_NUMBERED: [&str; 2] = ["com", "lpt"];

/// The name of a recording's file: one path component of `[A-Za-z0-9._+=@()%~-]`, at most 180 bytes, ending in `.wav`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SafeName(String);

impl SafeName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SafeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<std::path::Path> for SafeName {
    fn as_ref(&self) -> &std::path::Path {
        self.0.as_ref()
    }
}

/// Whether `name` is one visible path component of the characters that safe names may have, and `%` and `~`.
pub fn is_component(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+=@()%~-".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.len() <= 255 && name.bytes().all(is_allowed)
}

/// The file name of a recording: plain where that will do, else with the hash of the name.
pub fn safe_name(name: &RecordingName) -> SafeName {
    let plain: String = name.as_bytes().iter().map(|&byte| encoded(byte)).collect();
    let fits = plain.ends_with(EXTENSION) && plain.len() <= NAME_BYTES_MAX;
    if fits && !plain.starts_with('.') && !is_reserved(&plain) { SafeName(plain) } else { with_hash(name) }
}

/// The name that a file of the plain form tells; `None` of any other file, whose name only its sidecar has.
pub fn plain_name(file_name: &str) -> Option<RecordingName> {
    if file_name.contains('~') {
        return None;
    }
    let bytes: Vec<u8> = percent_decode_str(file_name).collect();
    RecordingName::new(bytes).filter(|name| safe_name(name).as_str() == file_name)
}

/// The hash form over the name, for one that equals another but for case.
pub fn with_hash(name: &RecordingName) -> SafeName {
    hash_form(name, Digest::of(name.as_bytes()))
}

/// The hash form over serial number, a zero byte and name, for two devices that use one name.
pub fn with_identity(name: &RecordingName, sn: &[u8]) -> SafeName {
    hash_form(name, identity_hash(name, sn))
}

/// The same hash after a `stem` that reads better than the name: for voicemail, whose names are made for lists.
pub fn with_stem(stem: &RecordingName, name: &RecordingName, sn: &[u8]) -> SafeName {
    hash_form(stem, identity_hash(name, sn))
}

fn identity_hash(name: &RecordingName, sn: &[u8]) -> Digest {
    Sha256::new().chain_update(sn).chain_update([0]).chain_update(name.as_bytes()).into()
}

/// Stem, `~`, the first 16 digits of `hash`. A stem that is too long is cut after the last whole byte that fits, so
/// never within a `%XX`.
fn hash_form(name: &RecordingName, hash: Digest) -> SafeName {
    let bytes = name.as_bytes();
    let stem = bytes.strip_suffix(EXTENSION.as_bytes()).filter(|stem| !stem.is_empty()).unwrap_or(bytes);
    let mut text = String::with_capacity(NAME_BYTES_MAX);
    for (at, &byte) in stem.iter().enumerate() {
        // A device's name is reserved whatever follows its first dot, and a file that starts with a dot is hidden:
        // there the hash alone does not help.
        let mend = at == 0 && (byte == b'.' || is_reserved(&String::from_utf8_lossy(bytes)));
        let next = if mend { percent_encode_byte(byte).to_owned() } else { encoded(byte) };
        if text.len() + next.len() > STEM_BYTES_MAX {
            break;
        }
        text.push_str(&next);
    }
    SafeName(format!("{text}~{}{EXTENSION}", hash.short()))
}

fn encoded(byte: u8) -> String {
    let plain = byte.is_ascii_alphanumeric() || b"._+=@()-".contains(&byte);
    if plain { char::from(byte).to_string() } else { percent_encode_byte(byte).to_owned() }
}

/// Whether some system takes the name for a device: what stands before the first dot decides.
fn is_reserved(name: &str) -> bool {
    let base = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let numbered = base.strip_suffix(|last: char| last.is_ascii_digit());
    RESERVED.contains(&&*base) || numbered.is_some_and(|device| RESERVED_NUMBERED.contains(&device))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::base::digest::unhex;

    impl SafeName {
        /// The name as a file system that ignores case sees it: two files may not have one and the same.
        fn folded(&self) -> String {
            self.0.to_ascii_lowercase()
        }
    }

    fn name(bytes: impl Into<Vec<u8>>) -> RecordingName {
        RecordingName::new(bytes).unwrap()
    }

    /// The bytes of a plain form.
    fn decode(safe: &str) -> Vec<u8> {
        let mut parts = safe.split('%');
        let mut bytes = parts.next().unwrap().as_bytes().to_vec();
        for part in parts {
            bytes.extend(unhex(&part[..2]).unwrap());
            bytes.extend(part[2..].bytes());
        }
        bytes
    }

    fn check(safe: &SafeName) {
        let text = safe.as_str();
        assert!(
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+=@()-%~".contains(&byte)),
            "{text}"
        );
        assert!(text.ends_with(".wav") && !text.starts_with('.') && text.len() <= 180, "{text}");
        assert!(!is_reserved(text), "{text}");
        let escapes = text.split('%').skip(1);
        assert!(escapes.clone().all(|rest| rest.len() >= 2 && unhex(&rest[..2]).is_some()), "{text}");
    }

    #[test]
    fn names_of_real_devices_stay_as_they_are() {
        for text in [
            "20240301120515-1709287502.118-5550142-1003-Inbound.wav",
            "exten-101-106-20200505-042135-1588641695.1772.wav",
            "20240301-Inbound-trunk-620(301)-+49@x=1.wav",
            "CONCERT.wav",
            "com10.wav",
        ] {
            assert_eq!(safe_name(&name(text)).as_str(), text);
        }
    }

    #[test]
    fn every_other_name_has_the_form_that_the_archive_promises() {
        let hashed = |stem: &str, text: &str| format!("{stem}~{}.wav", Digest::of(text).short());
        for (text, wanted) in [
            ("../../etc/passwd.wav", hashed("%2E.%2F..%2Fetc%2Fpasswd", "../../etc/passwd.wav")),
            ("a/../b.wav", "a%2F..%2Fb.wav".to_owned()),
            ("a b%20*#.wav", "a%20b%2520%2A%23.wav".to_owned()),
            ("\0\n~.wav", "%00%0A%7E.wav".to_owned()),
            ("录音.wav", "%E5%BD%95%E9%9F%B3.wav".to_owned()),
            ("a.WAV", hashed("a.WAV", "a.WAV")),
            ("a", hashed("a", "a")),
            ("a.wav ", hashed("a.wav%20", "a.wav ")),
            (".wav", hashed("%2Ewav", ".wav")),
            (".", hashed("%2E", ".")),
            ("..", hashed("%2E.", "..")),
            (".hidden.wav", hashed("%2Ehidden", ".hidden.wav")),
            ("CON", hashed("%43ON", "CON")),
            ("nul.wav", hashed("%6Eul", "nul.wav")),
            ("Com1.tar.wav", hashed("%43om1.tar", "Com1.tar.wav")),
        ] {
            let safe = safe_name(&name(text));
            assert_eq!(safe.as_str(), wanted, "{text:?}");
            check(&safe);
        }
    }

    #[test]
    fn a_long_name_is_cut_before_the_escape_that_does_not_fit() {
        let fits = format!("{}.wav", "a".repeat(176));
        assert_eq!(safe_name(&name(&*fits)).as_str(), fits);
        for length in 150..200 {
            let safe = safe_name(&name(format!("{}{}.wav", "a".repeat(length), "é".repeat(60))));
            assert!((178..=180).contains(&safe.as_str().len()), "{safe}");
            check(&safe);
        }
    }

    #[test]
    fn devices_and_cases_have_forms_of_their_own() {
        let plain = safe_name(&name("a.wav"));
        assert_ne!(with_identity(&name("a.wav"), b"1"), with_identity(&name("a.wav"), b"2"));
        assert_eq!(
            with_identity(&name("a.wav"), b"1").as_str(),
            format!("a~{}.wav", Digest::of(b"1\0a.wav").short())
        );
        assert_ne!(with_hash(&name("a.wav")).folded(), with_hash(&name("A.wav")).folded());
        assert_eq!(plain.folded(), safe_name(&name("A.wav")).folded());
    }

    #[test]
    fn a_stem_has_the_hash_of_the_name_that_it_stands_for() {
        let stem = name("121140-1003-5550142-17");
        let message = name("1003/2024-03-01 12:11:40/5550142/17");
        let safe = with_stem(&stem, &message, b"369392500001");
        assert_eq!(safe.as_str(), "121140-1003-5550142-17~578341fc41e747ae.wav");
        assert!(with_stem(&name("a/../b ".repeat(60)), &message, b"").as_str().starts_with("a%2F..%2Fb%20"));
        check(&with_stem(&name("a/../b ".repeat(60)), &message, b""));
    }

    proptest! {
        #[test]
        fn any_name_gives_a_safe_one_and_a_plain_one_can_be_read_back(bytes in prop::collection::vec(any::<u8>(), 1..300), wav: bool) {
            let name = name([bytes, if wav { b".wav".to_vec() } else { Vec::new() }].concat());
            let safe = safe_name(&name);
            check(&safe);
            check(&with_hash(&name));
            check(&with_identity(&name, b"369392500001"));
            if !safe.as_str().contains('~') {
                prop_assert_eq!(decode(safe.as_str()), name.as_bytes());
            }
        }

        #[test]
        fn different_names_never_share_a_file(names in prop::collection::hash_set("[aA.~%é/]{1,4}(\\.wav|\\.WAV|)|(con|NUL)(\\.wav)?|[ab]{200}", 2..60)) {
            let mut files = HashMap::new();
            let mut folded = HashMap::new();
            for text in names {
                let name = name(&*text);
                prop_assert_eq!(files.insert(safe_name(&name), text.clone()), None);
                prop_assert_eq!(folded.insert(with_hash(&name).folded(), text), None);
            }
        }
    }
}
