//! Text whose encoding nobody told: what it may say, under each encoding that devices and programs write.

use std::borrow::Cow;

use encoding_rs::Encoding;

/// The encodings in which call lists are written, beside UTF-8: those of the devices' interface languages.
///
/// ASCII is the same in all of them, so that only headings and names in other scripts need any of this.
const ENCODINGS: [&Encoding; 19] = [
    encoding_rs::GB18030,
    encoding_rs::BIG5,
    encoding_rs::SHIFT_JIS,
    encoding_rs::EUC_JP,
    encoding_rs::EUC_KR,
    encoding_rs::WINDOWS_1250,
    encoding_rs::WINDOWS_1251,
    encoding_rs::WINDOWS_1252,
    encoding_rs::WINDOWS_1253,
    encoding_rs::WINDOWS_1254,
    encoding_rs::WINDOWS_1255,
    encoding_rs::WINDOWS_1256,
    encoding_rs::WINDOWS_1257,
    encoding_rs::WINDOWS_1258,
    encoding_rs::WINDOWS_874,
    encoding_rs::KOI8_U,
    encoding_rs::IBM866,
    encoding_rs::MACINTOSH,
    encoding_rs::ISO_8859_2,
];

/// Everything that these bytes may say: one text if they are UTF-8, else one for each encoding in which they are text.
///
/// This is for comparing with a text that is known, never for keeping: identity and name of a call stay bytes.
pub fn readings(bytes: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    let utf8 = std::str::from_utf8(bytes).ok();
    let others = if utf8.is_some() { &[][..] } else { &ENCODINGS[..] };
    let decode =
        |encoding: &&'static Encoding| encoding.decode_without_bom_handling_and_without_replacement(bytes);
    utf8.map(Cow::Borrowed).into_iter().chain(others.iter().filter_map(decode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_may_say_what_each_encoding_makes_of_them() {
        for (bytes, text) in [
            (&b"\xc2\xbc\xd2\xf4\xce\xc4\xbc\xfe"[..], "录音文件"),
            (b"\xc7\xe0\xef\xe8\xf1\xfc", "Запись"),
            (b"\x98^\x89\xb9", "録音"),
            (b"Gr\xfc\xdfe", "Grüße"),
        ] {
            assert!(readings(bytes).any(|reading| reading == text), "{text}");
        }
        assert_eq!(readings("Grüße".as_bytes()).collect::<Vec<_>>(), ["Grüße"]);
    }
}
