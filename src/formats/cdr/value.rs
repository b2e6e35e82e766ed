//! What cells say: nothing, a duration, a number that a spreadsheet rounded.

use crate::formats::cdr::Reported;

/// What databases and people write where there is nothing, in lowercase.
const NOTHING: &str = r#"null \n none n/a n.a. #n/a nil nan undefined (null) <null> [null] (none) <none> - -- – — "" '' '''' empty"#;

/// The longest of these words has nine letters, of three bytes at most.
const NOTHING_BYTES_MAX: usize = 27;

/// Units of a duration, in lowercase, with their seconds; the longest that fits is meant.
const UNITS: [(&[&str], u64); 4] = [
    (&["d", "day", "days"], 86_400),
    (&["h", "hr", "hrs", "hour", "hours", "ч", "час", "小时", "小時", "時間", "std"], 3600),
    (&["m", "min", "mins", "minute", "minutes", "мин", "分", "分钟", "分鐘", "'"], 60),
    (&["s", "sec", "secs", "second", "seconds", "sek", "seg", "с", "сек", "秒", "\"", "''"], 1),
];

/// Whether a cell says that there is nothing. It is never asked of a recording's name, which may be any text.
pub(super) fn is_nothing(text: &str) -> bool {
    let text = bare(text);
    // None of the words begins with a digit or is so long: most cells need no look at them.
    if text.len() > NOTHING_BYTES_MAX || text.starts_with(|first: char| first.is_ascii_digit()) {
        return false;
    }
    let lowercase = text.to_lowercase();
    text.is_empty() || NOTHING.split(' ').any(|nothing| nothing == lowercase)
}

/// A text without what may surround it: blanks of any kind, NULs, an end mark.
fn bare(text: &str) -> &str {
    text.trim_matches(|at: char| at.is_whitespace() || matches!(at, '\0' | '\u{1a}' | '\u{feff}'))
}

/// Whether a spreadsheet wrote this number, and rounded it: `3.69E+11`. Serial numbers such as `369392E00001` are none.
pub(super) fn is_rounded(text: &str) -> bool {
    if !text.as_bytes().contains(&b'+') {
        return false;
    }
    let text = bare(text);
    let Some((mantissa, exponent)) = text.split_once(['E', 'e']) else { return false };
    let mut parts = mantissa.splitn(2, ['.', ',']);
    let whole = parts.next().unwrap_or_default();
    whole.len() == 1
        && is_number(whole)
        && parts.next().is_none_or(is_number)
        && exponent.strip_prefix('+').is_some_and(|digits| digits.len() <= 3 && is_number(digits))
}

/// Whether a spreadsheet wrote this, where a column was too narrow for its value.
pub(super) fn is_overflow(text: &str) -> bool {
    if !text.as_bytes().contains(&b'#') {
        return false;
    }
    let text = bare(text);
    text.len() >= 3 && text.bytes().all(|byte| byte == b'#')
}

/// What a duration tells, in seconds, in all forms in which there can be no doubt of it.
pub(super) fn seconds(value: &[u8]) -> Reported<u64> {
    let Ok(text) = std::str::from_utf8(value) else { return Reported::Unreadable };
    if is_nothing(text) {
        return Reported::Absent;
    }
    let text = bare(text);
    let known = whole(text).or_else(|| clock(text)).or_else(|| with_units(&text.to_lowercase()));
    known.map_or(Reported::Unreadable, Reported::Known)
}

/// A duration exactly as version 0.1 read it: whole seconds, or `H:MM:SS`.
///
/// The version of a call is a hash over this. It must never read more or less, or the history of every call is opened.
pub(super) fn seconds_as_hashed(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let parts: Option<Vec<u64>> = text.split(':').map(digits).collect();
    match *parts? {
        [seconds] => Some(seconds),
        [hours, minutes, seconds] if minutes < 60 && seconds < 60 => {
            hours.checked_mul(3600)?.checked_add(minutes * 60 + seconds)
        }
        _ => None,
    }
}

fn digits(text: &str) -> Option<u64> {
    if is_number(text) { text.parse().ok() } else { None }
}

/// Whether a text is digits and nothing else.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `58`, `58.0`, `58,25`: what follows the point is dropped. With three digits there it may be a thousand: unreadable.
fn whole(text: &str) -> Option<u64> {
    let Some((seconds, fraction)) = text.split_once(['.', ',']) else { return digits(text) };
    digits(fraction).filter(|_| fraction.len() != 3)?;
    digits(seconds)
}

/// `0:58`, `1:02:03`, and the times of day that a spreadsheet makes of durations, `12:00:58 AM`.
fn clock(text: &str) -> Option<u64> {
    let lowercase = text.to_ascii_lowercase();
    let (time, later) = half_of_day(&lowercase);
    let parts: Vec<&str> = time.split(':').collect();
    let below_60 = |part: &str| digits(part).filter(|number| part.len() == 2 && *number < 60);
    match (&*parts, later) {
        ([minutes, seconds], None) => {
            digits(minutes)?.checked_mul(60)?.checked_add(below_60(first(seconds)?)?)
        }
        ([hours, minutes, seconds], _) => {
            let hours = match (digits(hours)?, later) {
                (hours, None) => hours,
                (hours @ 1..=12, Some(later)) => hours % 12 + u64::from(later),
                _ => return None,
            };
            hours.checked_mul(3600)?.checked_add(below_60(minutes)? * 60 + below_60(first(seconds)?)?)
        }
        _ => None,
    }
}

/// The time without `am` or `pm`, and how many hours later that makes it.
pub(super) fn half_of_day(lowercase: &str) -> (&str, Option<u8>) {
    match (lowercase.strip_suffix("am"), lowercase.strip_suffix("pm")) {
        (Some(time), _) => (time.trim_end(), Some(0)),
        (_, Some(time)) => (time.trim_end(), Some(12)),
        _ => (lowercase, None),
    }
}

/// Seconds without their fraction, if what follows is one.
fn first(seconds: &str) -> Option<&str> {
    match seconds.split_once(['.', ',']) {
        Some((seconds, fraction)) => digits(fraction).map(|_| seconds),
        None => Some(seconds),
    }
}

/// `58s`, `58 sec`, `1m 2s`, `2 min`, `1h02m03s`: each unit once, the largest first.
fn with_units(text: &str) -> Option<u64> {
    let (mut rest, mut sum, mut below) = (text, 0u64, u64::MAX);
    while !rest.is_empty() {
        let end =
            rest.find(|character: char| !character.is_ascii_digit() && !matches!(character, '.' | ','))?;
        let number = whole(&rest[..end])?;
        rest = rest[end..].trim_start();
        let end = rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len());
        let name = rest[..end].trim().trim_end_matches(['.', ',']).trim_end();
        let (_, unit) = UNITS.iter().find(|(names, _)| names.contains(&name))?;
        if *unit >= below {
            return None;
        }
        below = *unit;
        sum = sum.checked_add(number.checked_mul(*unit)?)?;
        rest = &rest[end..];
    }
    (below != u64::MAX).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_in_every_form_that_leaves_no_doubt() {
        for (text, wanted) in [
            ("58", 58),
            ("0", 0),
            (" 58 ", 58),
            ("58.0", 58),
            ("58,0", 58),
            ("58.25", 58),
            ("0:58", 58),
            ("00:58", 58),
            ("00:00:58", 58),
            ("1:02:03", 3723),
            ("61:05", 3665),
            ("0:58.5", 58),
            ("58s", 58),
            ("58 s", 58),
            ("58 sec", 58),
            ("58 Sek.", 58),
            ("58秒", 58),
            ("58 сек", 58),
            ("1m", 60),
            ("1m2s", 62),
            ("1 min 2 sec", 62),
            ("1h2m3s", 3723),
            ("1分2秒", 62),
            ("12:00:58 AM", 58),
            ("1:02:03 PM", 13 * 3600 + 123),
            ("58\0", 58),
            ("\u{a0}58", 58),
            ("1d", 86_400),
        ] {
            assert_eq!(seconds(text.as_bytes()), Reported::Known(wanted), "{text:?}");
        }
        for text in ["", " ", "NULL", "null", r"\N", "None", "N/A", "-", "nil", "\"\"", "--", "#N/A"] {
            assert_eq!(seconds(text.as_bytes()), Reported::Absent, "{text:?}");
        }
        for text in [
            "-1",
            "+5",
            "1:2",
            "1:60",
            "0:99:00",
            "1,375",
            "1.375",
            "99999999999999999999",
            "siptrunk1",
            "Inbound",
            "58x",
            "s",
            "5s5m",
            "5 5",
            "2.5E+02",
            "2024-03-01 12:00:00",
            "#####",
            "0x3a",
            "五十八",
            "99999999999999999999h",
            "13:00:00 PM",
            "1:2:3:4",
        ] {
            assert_eq!(seconds(text.as_bytes()), Reported::Unreadable, "{text:?}");
        }
        assert_eq!(seconds(b"5\xff"), Reported::Unreadable);
    }

    #[test]
    fn what_is_hashed_is_read_as_version_0_1_read_it() {
        for (text, wanted) in [
            ("58", Some(58)),
            ("0:01:11", Some(71)),
            ("99:59:59", Some(359_999)),
            ("-1", None),
            ("+5", None),
            ("5.5", None),
            ("", None),
            ("0:58", None),
            ("58s", None),
            (" 58", None),
            ("1:2:3", Some(3723)),
            ("99999999999999999999", None),
        ] {
            assert_eq!(seconds_as_hashed(text.as_bytes()), wanted, "{text:?}");
        }
    }

    #[test]
    fn only_a_spreadsheet_writes_a_number_with_a_sign_in_its_exponent() {
        for text in ["3.69E+11", "3,69E+11", "1.80E+09", "4E+11", "3.69393e+11", " 3.69E+11 "] {
            assert!(is_rounded(text), "{text}");
        }
        for text in [
            "369392E00001",
            "369392500001",
            "3E11",
            "36.9E+11",
            "E+11",
            "3.E+11",
            "3.69E+",
            "3.69E+1234",
            "ABE+12",
            "",
        ] {
            assert!(!is_rounded(text), "{text}");
        }
        assert!(is_overflow("########") && !is_overflow("##") && !is_overflow("#1003"));
    }
}
