//! The JSON around every reply of the API (`docs/pbx-api.md` §4).

use serde_json::{Map, Number, Value};

use crate::pbx::json::{self, JsonError, UnreadableEntry};

/// Why a reply is not a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The PBX gave an error number.
    Errno(u32),
    /// JSON of another shape.
    Foreign,
    /// JSON that breaks off.
    Cut,
    /// JSON that is broken at this byte, so that it is not certain what it says.
    Damaged(usize),
    /// JSON with more in it than any reply has.
    TooLarge,
    /// No JSON.
    NotJson,
}

impl From<JsonError> for Refusal {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::NotJson => Self::NotJson,
            JsonError::Cut => Self::Cut,
            JsonError::Damaged(at_byte) => Self::Damaged(at_byte),
            JsonError::TooLarge => Self::TooLarge,
        }
    }
}

/// The members of a successful reply, read leniently (see `pbx::json`).
///
/// The content type is ignored, for devices send JSON as text. Bytes that are not UTF-8 (an echoed name) are
/// replaced, for nothing that we use holds any. Anything but the status `Success` is a failure.
///
/// # Errors
/// Why it is none.
pub fn parse(bytes: &[u8]) -> Result<Map<String, Value>, Refusal> {
    members(json::decode(bytes)?)
}

/// The same of a reply with lists in it. An entry that cannot be read is `null`, and told.
pub(super) fn parse_list(bytes: &[u8]) -> Result<(Map<String, Value>, Vec<UnreadableEntry>), Refusal> {
    let decoded = json::decode_list(bytes)?;
    Ok((members(decoded.value)?, decoded.unreadable))
}

fn members(reply: Value) -> Result<Map<String, Value>, Refusal> {
    match reply {
        Value::Object(members) if is_success(&members) => Ok(members),
        Value::Object(members) => Err(errno(&members).map_or(Refusal::Foreign, Refusal::Errno)),
        _ => Err(Refusal::Foreign),
    }
}

/// Beyond this, numbers are not kept digit by digit: 2^53.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A member as text: devices print numbers with and without quotes. A number with more digits than can be kept would
/// become another one, such as somebody else's serial number: it counts as absent.
pub(super) fn text(members: &Map<String, Value>, name: &str) -> Option<String> {
    match members.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => is_exact(number).then(|| number.to_string()),
        _ => None,
    }
}

fn is_exact(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|number| number.abs() < EXACT_MAX)
}

fn is_success(members: &Map<String, Value>) -> bool {
    text(members, "status").is_some_and(|status| status.trim().eq_ignore_ascii_case("success"))
}

/// Only digits: whatever else a device puts there does not reach an error text or the database.
fn errno(members: &Map<String, Value>) -> Option<u32> {
    let text = text(members, "errno")?;
    // A device that has no whole numbers prints one of them so.
    let digits = text.trim();
    digits.strip_suffix(".0").unwrap_or(digits).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_told_digit_by_digit_or_not_at_all() {
        for (number, told) in [
            ("369392500001", Some("369392500001")),
            ("18446744073709551615", Some("18446744073709551615")),
            ("18446744073709551616", None),
            ("3632939995000092500002", None),
            ("-17", Some("-17")),
            ("17.5", Some("17.5")),
            ("1e300", None),
        ] {
            let reply = format!(r#"{{"status":"Success","sn":{number}}}"#);
            assert_eq!(text(&parse(reply.as_bytes()).unwrap(), "sn").as_deref(), told, "{number}");
        }
    }

    #[test]
    fn anything_but_success_is_a_refusal() {
        let table: [(&[u8], Result<(), Refusal>); 11] = [
            (br#"{"status":"Success"}"#, Ok(())),
            (b"\xef\xbb\xbf {\"status\":\"Success\",\"recording\":\"\xd6\xd0\"}\r\n", Ok(())),
            (br#"{"status":"Failed","errno":"20003"}"#, Err(Refusal::Errno(20003))),
            (br#"{"status":"Failure","errno":20003}"#, Err(Refusal::Errno(20003))),
            (br#"{"errno":" 20010 "}"#, Err(Refusal::Errno(20010))),
            (br#"{"status":"Failed","errno":"x; drop"}"#, Err(Refusal::Foreign)),
            (br#"{"status":"Failed"}"#, Err(Refusal::Foreign)),
            (b"[1]", Err(Refusal::Foreign)),
            (br#"{"status":"Suc"#, Err(Refusal::Cut)),
            (b"<html>", Err(Refusal::NotJson)),
            (b"", Err(Refusal::NotJson)),
        ];
        for (bytes, expected) in table {
            assert_eq!(parse(bytes).map(drop), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
