//! Which headings may be those of PIN codes, in the languages of the devices' interfaces.
//!
//! A PIN code is a secret. A heading that only may be meant so is taken for one: the column is lost, and nothing else is.

use super::decode::readings;

/// Words for a PIN code or a password, in letters alone and lowercase. A heading that holds one anywhere is meant.
const WORDS: [&str; 62] = [
    // English
    "passcode",
    "password",
    "passwd",
    "securitycode",
    "accesscode",
    "authcode",
    "authorizationcode",
    "authorisationcode",
    "secretcode",
    "accountcode",
    "personalidentification",
    // German, Dutch
    "passwort",
    "kennwort",
    "geheimzahl",
    "geheimnummer",
    "zugangscode",
    "wachtwoord",
    "toegangscode",
    // French, Spanish, Portuguese, Italian
    "motdepasse",
    "codesecret",
    "codeconfidentiel",
    "contraseña",
    "contrasena",
    "códigosecreto",
    "codigosecreto",
    "clave",
    "senha",
    "palavrapasse",
    "codicesegreto",
    "parolachiave",
    // Polish, Czech, Turkish, Vietnamese, Greek
    "hasło",
    "haslo",
    "heslo",
    "şifre",
    "sifre",
    "parola",
    "mậtkhẩu",
    "matkhau",
    "mãpin",
    "κωδικ",
    "συνθηματικ",
    // Russian, Ukrainian
    "пин",
    "пін",
    "пароль",
    "кодавторизации",
    "коддоступа",
    // Chinese, Japanese, Korean
    "密码",
    "密碼",
    "口令",
    "个人识别码",
    "個人識別碼",
    "暗証",
    "パスワード",
    "ピン",
    "비밀번호",
    "핀",
    "암호",
    // Arabic, Persian, Hebrew, Thai
    "كلمةالمرور",
    "رمز",
    "الرقمالسري",
    "پین",
    "گذرواژه",
];

/// More of them, in scripts that are written from right to left, and in Thai.
const MORE_WORDS: [&str; 10] =
    ["رقمسري", "بين", "کلمهعبور", "סיסמ", "קודסודי", "קודאישי", "פין", "รหัส", "พิน", "סודי"];

/// What stands before or after `pin` in one word.
const BESIDE_PIN: [&str; 12] =
    ["code", "codes", "kod", "kode", "kodu", "cod", "codigo", "codice", "number", "nummer", "num", "nr"];

/// Whether a column with this heading may hold PIN codes, whatever its encoding is.
pub fn may_be_pin(heading: &[u8]) -> bool {
    readings(heading).any(|text| says_pin(&text))
}

fn says_pin(heading: &str) -> bool {
    let letters: String = narrow(heading).filter(|character| character.is_alphanumeric()).collect();
    WORDS.iter().chain(&MORE_WORDS).any(|word| letters.contains(word))
        || words(heading).iter().any(|word| is_pin(word))
}

/// Its characters in lowercase, those of full width as usual ones, and no marks that only show how to read it.
fn narrow(text: &str) -> impl Iterator<Item = char> + '_ {
    let narrow = |character: char| match character {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(character) - 0xfee0).unwrap_or(character),
        _ => character,
    };
    text.chars().map(narrow).flat_map(char::to_lowercase)
}

/// The words of Latin letters: `PIN码` and `PIN-Code` hold `pin`, `UserPin` holds `userpin`, `Shipping` does not.
fn words(heading: &str) -> Vec<String> {
    let text: String = narrow(heading).collect();
    text.split(|character: char| !character.is_ascii_lowercase()).map(str::to_owned).collect()
}

fn is_pin(word: &str) -> bool {
    let beside = |rest: &str| rest.is_empty() || BESIDE_PIN.contains(&rest);
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
