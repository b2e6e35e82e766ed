//! A row of the PBX as it is kept for good: in its order, without loss, without secrets.
//!
//! A PIN code is a secret. A heading that only may be meant so, in any language of the devices' interfaces, is taken for
//! one: the column is lost, and nothing else is.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use encoding_rs::Encoding;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::digest::unhex;
use crate::base::recording::Text;

/// The cells of a row in the PBX's order, by heading. Cells that may hold a PIN code are always empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawRow(Vec<(String, Text)>);

impl RawRow {
    /// Keeps the cells as they are, except those that may hold a PIN code, a secret: they are blanked.
    pub fn new(cells: impl IntoIterator<Item = (String, Text)>) -> Self {
        let blank = |(heading, cell): (String, Text)| match is_secret(&heading) {
            true => (heading, Text::Utf8(String::new())),
            false => (heading, cell),
        };
        Self(cells.into_iter().map(blank).collect())
    }

    pub fn cells(&self) -> &[(String, Text)] {
        &self.0
    }

    /// The first cell under `heading`.
    pub fn cell(&self, heading: &str) -> Option<&Text> {
        self.0.iter().find(|(name, _)| name == heading).map(|(_, cell)| cell)
    }
}

/// Whether a cell under this heading may hold a PIN code. A heading that is not UTF-8 stands in hex.
///
/// The rows of a PBX have the same headings, so that each is looked at once in a thread.
fn is_secret(heading: &str) -> bool {
    JUDGED.with_borrow_mut(|judged| {
        if let Some(is_secret) = judged.get(heading) {
            return *is_secret;
        }
        let bytes = heading.strip_prefix("hex:").and_then(unhex);
        let is_secret = may_be_pin(bytes.as_deref().unwrap_or(heading.as_bytes()));
        if judged.len() < JUDGED_MAX && heading.len() <= JUDGED_BYTES_MAX {
            judged.insert(heading.to_owned(), is_secret);
        }
        is_secret
    })
}

thread_local! {
    static JUDGED: RefCell<HashMap<String, bool>> = RefCell::default();
}

const JUDGED_MAX: usize = 256;
const JUDGED_BYTES_MAX: usize = 64;

impl Serialize for RawRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(heading, cell)| (heading, cell)))
    }
}

impl<'de> Deserialize<'de> for RawRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = RawRow;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of cells")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawRow, A::Error> {
                let mut cells = Vec::new();
                while let Some(cell) = map.next_entry()? {
                    cells.push(cell);
                }
                Ok(RawRow::new(cells))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The encodings in which call lists are written, beside UTF-8: those of the devices' interface languages.
///
/// ASCII is the same in all of them, so that only headings and names in other scripts need any of this.
const ENCODINGS: &[&str] = &[
    "gb18030 big5 shift_jis euc-jp euc-kr windows-1250 windows-1251 windows-1252 windows-1253 windows-1254",
    "windows-1255 windows-1256 windows-1257 windows-1258 windows-874 koi8-u ibm866 macintosh iso-8859-2",
];

/// Everything that these bytes may say: one text if they are UTF-8, else one for each encoding in which they are text.
///
/// This is for comparing with a text that is known, never for keeping: identity and name of a call stay bytes.
pub fn readings(bytes: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    let utf8 = std::str::from_utf8(bytes).ok();
    let others = if utf8.is_some() { &[][..] } else { ENCODINGS };
    let encodings = others.iter().flat_map(|labels| labels.split(' '));
    let decode = |label: &str| {
        Encoding::for_label(label.as_bytes())?.decode_without_bom_handling_and_without_replacement(bytes)
    };
    utf8.map(Cow::Borrowed).into_iter().chain(encodings.filter_map(decode))
}

/// Words for a PIN code or a password, in letters alone and lowercase. A heading that holds one anywhere is meant.
const WORDS: &[&str] = &[
    // English
    "passcode password passwd securitycode accesscode authcode authorizationcode authorisationcode",
    "secretcode accountcode personalidentification",
    // German, Dutch
    "passwort kennwort geheimzahl geheimnummer zugangscode wachtwoord toegangscode",
    // French, Spanish, Portuguese, Italian
    "motdepasse codesecret codeconfidentiel contraseña contrasena códigosecreto codigosecreto clave senha",
    "palavrapasse codicesegreto parolachiave",
    // Polish, Czech, Turkish, Vietnamese, Greek
    "hasło haslo heslo şifre sifre parola mậtkhẩu matkhau mãpin κωδικ συνθηματικ",
    // Russian, Ukrainian
    "пин пін пароль кодавторизации коддоступа",
    // Chinese, Japanese, Korean
    "密码 密碼 口令 个人识别码 個人識別碼 暗証 パスワード ピン 비밀번호 핀 암호",
    // Arabic, Persian, Hebrew, Thai
    "كلمةالمرور رمز الرقمالسري پین گذرواژه",
    // More of them, in scripts that are written from right to left, and in Thai
    "رقمسري بين کلمهعبور סיסמ קודסודי קודאישי פין รหัส พิน סודי",
];

/// What stands before or after `pin` in one word.
const BESIDE_PIN: &str = "code codes kod kode kodu cod codigo codice number nummer num nr";

/// Whether a column with this heading may hold PIN codes, whatever its encoding is.
pub fn may_be_pin(heading: &[u8]) -> bool {
    readings(heading).any(|text| says_pin(&text))
}

fn says_pin(heading: &str) -> bool {
    let text: String = narrow(heading).collect();
    let letters: String = text.chars().filter(|character| character.is_alphanumeric()).collect();
    // The words of Latin letters: `PIN码` and `PIN-Code` hold `pin`, `UserPin` holds `userpin`, `Shipping` does not.
    let mut latin_words = text.split(|character: char| !character.is_ascii_lowercase());
    WORDS.iter().flat_map(|words| words.split(' ')).any(|word| letters.contains(word))
        || latin_words.any(is_pin)
}

/// Its characters in lowercase, those of full width as usual ones, and no marks that only show how to read it.
fn narrow(text: &str) -> impl Iterator<Item = char> + '_ {
    let narrow = |character: char| match character {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(character) - 0xfee0).unwrap_or(character),
        _ => character,
    };
    text.chars().map(narrow).flat_map(char::to_lowercase)
}

fn is_pin(word: &str) -> bool {
    let beside = |rest: &str| rest.is_empty() || BESIDE_PIN.split(' ').any(|word| word == rest);
    let whose = ["user", "call", "caller", "my", "dial", "outbound", "route"];
    let plural = word.strip_suffix('s').filter(|word| word.ends_with("pin")).unwrap_or(word);
    plural.strip_prefix("pin").is_some_and(beside)
        || plural.strip_suffix("pin").is_some_and(|rest| beside(rest) || whose.contains(&rest))
        || whose.iter().any(|owner| {
            plural.strip_prefix(owner).and_then(|rest| rest.strip_prefix("pin")).is_some_and(beside)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pincode_is_never_kept_whoever_writes_it() {
        let row = RawRow::new([(" PinCode ".to_owned(), Text::Utf8("4711".to_owned()))]);
        assert!(row.cells()[0].1.is_empty());
        let planted: RawRow = serde_json::from_str(r#"{"pincode": "4711"}"#).unwrap();
        assert_eq!(planted.cell("pincode"), Some(&Text::Utf8(String::new())));
        // What version 0.1 kept under a heading that it did not know goes no further.
        let old: RawRow =
            serde_json::from_str(r#"{"Code PIN": "4711", "hex:50494ec2eb": "4711", "Note": "x"}"#).unwrap();
        assert_eq!(serde_json::to_string(&old).unwrap(), r#"{"Code PIN":"","hex:50494ec2eb":"","Note":"x"}"#);
    }

    #[test]
    fn cells_stay_in_their_order() {
        let json = r#"{"z":"1","a":{"hex":"ff"},"m":""}"#;
        let row: RawRow = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&row).unwrap(), json);
    }
}

#[cfg(test)]
mod decode_tests {
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

#[cfg(test)]
mod pin_tests {
    use super::*;

    /// Headings of PIN codes, in the languages of the devices' interfaces.
    const PINS: &[&str] = &[
        "pincode",
        "PIN Code",
        "PIN",
        "pin_code",
        "PinNumber",
        "PIN Codes",
        "PIN Code (masked)",
        "Code PIN",
        "Código PIN",
        "Codice PIN",
        "PIN-Code",
        "Kod PIN",
        "PIN kodu",
        "PIN kód",
        "ПИН-код",
        "Пин код",
        "ПІН-код",
        "PIN码",
        "PIN 碼",
        "ＰＩＮ码",
        "暗証番号",
        "PINコード",
        "ピンコード",
        "PIN 코드",
        "핀 코드",
        "رمز PIN",
        "الرقم السري",
        "رمز عبور",
        "کد پین",
        "קוד PIN",
        "קוד סודי",
        "Mã PIN",
        "รหัส PIN",
        "รหัสพิน",
        "Pincode",
        "Κωδικός PIN",
        "PIN-код",
        "密码",
        "密碼",
        "Password",
        "Mot de passe",
        "Contraseña",
        "Passwort",
        "userPin",
        "Parola",
        "Şifre",
    ];

    /// Headings that are none.
    const OTHERS: &[&str] = &[
        "callid",
        "timestart",
        "callfrom",
        "callto",
        "callduraction",
        "talkduraction",
        "srctrunkname",
        "dsttrunkname",
        "status",
        "type",
        "recording",
        "didnumber",
        "sn",
        "Comment",
        "Shipping",
        "Opinion",
        "Spinning",
        "Recording File",
        "录音文件",
        "通話時間",
        "Запись",
        "Dauer",
        "Durée",
        "Kommentar",
        "agentringtime",
        "surveyresult",
        "callto2",
        "Time",
    ];

    #[test]
    fn a_pin_code_is_known_in_every_language_of_the_devices() {
        for heading in PINS {
            assert!(may_be_pin(heading.as_bytes()), "{heading}");
        }
        for heading in OTHERS {
            assert!(!may_be_pin(heading.as_bytes()), "{heading}");
        }
    }

    #[test]
    fn a_pin_code_is_known_in_other_encodings() {
        for (heading, encoding) in [
            ("PIN码", encoding_rs::GB18030),
            ("密码", encoding_rs::GB18030),
            ("密碼", encoding_rs::BIG5),
            ("暗証番号", encoding_rs::SHIFT_JIS),
            ("비밀번호", encoding_rs::EUC_KR),
            ("ПИН-код", encoding_rs::WINDOWS_1251),
            ("Пароль", encoding_rs::KOI8_U),
            ("Código PIN", encoding_rs::WINDOWS_1252),
            ("Şifre", encoding_rs::WINDOWS_1254),
            ("סיסמה", encoding_rs::WINDOWS_1255),
        ] {
            let (bytes, _, lost) = encoding.encode(heading);
            assert!(!lost && may_be_pin(&bytes), "{heading}");
        }
    }
}
