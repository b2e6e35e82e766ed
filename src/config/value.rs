//! Single values of the configuration file: what each kind may look like.

use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};

use toml::Spanned;
use toml::de::DeValue;

use super::section::{Wrong, wrong};

/// A text that is not empty and has no control characters.
pub(super) fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, Wrong> {
    let text = value.as_str().ok_or_else(|| wrong("must be text", "put it in double quotes"))?;
    if text.is_empty() {
        return Err(wrong("is empty", "give it a value"));
    }
    if text.contains(char::is_control) {
        return Err(wrong(
            "holds a control character",
            "remove it; a backslash is written twice in double quotes",
        ));
    }
    Ok(text)
}

/// The longest name of what becomes a folder or a part of file names.
const NAME_BYTES_MAX: usize = 32;

/// A short name that may become a part of paths.
pub(super) fn short_name<'a>(value: &'a DeValue<'_>, remedy: &str) -> Result<&'a str, Wrong> {
    let text = text(value)?;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let begins_well = text.bytes().next().is_some_and(is_plain);
    let goes_on_well = text.bytes().all(|byte| is_plain(byte) || matches!(byte, b'_' | b'-'));
    if begins_well && goes_on_well && text.len() <= NAME_BYTES_MAX {
        return Ok(text);
    }
    let message = format!("must be 1 to {NAME_BYTES_MAX} of a-z, 0-9, _ and -, the first a letter or digit");
    Err(wrong(message, remedy))
}

/// The number of a port.
pub(super) fn port(value: &DeValue<'_>) -> Result<u16, Wrong> {
    whole(value, &(1..=u16::MAX.into()))
}

/// One text, or a list of them, each with its place in the file.
pub(super) fn texts<'a>(
    value: &'a Spanned<DeValue<'a>>,
) -> Result<Vec<(&'a str, &'a Spanned<DeValue<'a>>)>, Wrong> {
    let Some(list) = value.get_ref().as_array() else {
        return Ok(vec![(text(value.get_ref())?, value)]);
    };
    if list.is_empty() {
        return Err(wrong("is an empty list", "remove the line if it should not matter"));
    }
    list.iter().map(|entry| Ok((text(entry.get_ref())?, entry))).collect()
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Wrong> {
    value.as_bool().ok_or_else(|| wrong("must be true or false", "write it without quotes"))
}

/// A whole number within `range`.
pub(super) fn whole<T: TryFrom<u64>>(value: &DeValue<'_>, range: &RangeInclusive<u64>) -> Result<T, Wrong> {
    let integer =
        integer(value).ok_or_else(|| wrong("must be a whole number", "write it without quotes or unit"))?;
    let number = u64::try_from(integer).ok().filter(|number| range.contains(number));
    number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
        wrong(format!("must be {} to {}", range.start(), range.end()), "write a number in that range")
    })
}

/// A number, with or without a fraction, within `range`.
pub(super) fn number(value: &DeValue<'_>, range: &RangeInclusive<f64>, unit: &str) -> Result<f64, Wrong> {
    let not_a_number = || wrong(format!("must be a number of {unit}"), "write it without quotes or unit");
    let number = match value {
        #[expect(clippy::cast_precision_loss, reason = "what is too large to be exact is out of range")]
        DeValue::Integer(_) => integer(value).ok_or_else(not_a_number)? as f64,
        DeValue::Float(float) => float.as_str().parse().map_err(|_| not_a_number())?,
        _ => return Err(not_a_number()),
    };
    // NaN is in no range.
    if range.contains(&number) {
        return Ok(number);
    }
    let message = format!("must be {} to {} {unit}", range.start(), range.end());
    Err(wrong(message, "write a number in that range"))
}

/// A number of bytes of at least `min`: an integer, or text such as `"2 GiB"`.
pub(super) fn size(value: &DeValue<'_>, min: u64) -> Result<u64, Wrong> {
    let bytes = match value {
        DeValue::Integer(_) => integer(value).and_then(|bytes| u64::try_from(bytes).ok()),
        DeValue::String(text) => size_in_words(text),
        _ => None,
    };
    let bytes = bytes.filter(|bytes| i64::try_from(*bytes).is_ok());
    let bytes =
        bytes.ok_or_else(|| wrong("must be a number of bytes", "write such as 2147483648 or \"2 GiB\""))?;
    if bytes < min {
        return Err(wrong(format!("must be at least {min} bytes"), "write a larger number"));
    }
    Ok(bytes)
}

fn size_in_words(text: &str) -> Option<u64> {
    let unit_at = text.find(|character: char| !character.is_ascii_digit())?;
    let shift = match text[unit_at..].trim() {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    text[..unit_at].parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The path of a folder, from the root.
pub(super) fn folder(value: &DeValue<'_>) -> Result<PathBuf, Wrong> {
    let text = text(value)?;
    if !text.starts_with('/') {
        return Err(wrong("is not a path from the root", "write the whole path, beginning with /"));
    }
    if Path::new(text).components().any(|component| component == Component::ParentDir) {
        return Err(wrong("holds `..`", "write the path that it leads to"));
    }
    Ok(PathBuf::from(text))
}

/// An integer of any size that matters; nothing for another type, or for a number beyond all reason.
fn integer(value: &DeValue<'_>) -> Option<i128> {
    let integer = value.as_integer()?;
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> DeValue<'_> {
        DeValue::parse(text).unwrap().into_inner()
    }

    #[test]
    fn sizes_are_bytes_or_words() {
        for (text, bytes) in [("1_024", 1024), ("\"2 GiB\"", 2 << 30), ("\"3MiB\"", 3 << 20), ("0x10", 16)] {
            assert_eq!(size(&value(text), 0).unwrap(), bytes, "{text}");
        }
        for text in ["-1", "1.5", "\"2 GB\"", "\"GiB\"", "\"99999999999 TiB\"", "\"-1 KiB\"", "true", "\"5\""]
        {
            assert!(size(&value(text), 0).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_may_have_fractions_but_must_be_in_range() {
        for (text, seconds) in [("2", 2.0), ("0.25", 0.25), ("1e1", 10.0)] {
            assert_eq!(number(&value(text), &(0.0..=10.0), "seconds").unwrap(), seconds, "{text}");
        }
        for text in
            ["nan", "inf", "-inf", "-1", "-0.001", "10.001", "\"2\"", "99999999999999999999999999", "1e400"]
        {
            assert!(number(&value(text), &(0.0..=10.0), "seconds").is_err(), "{text}");
        }
    }

    #[test]
    fn whole_numbers_have_no_fraction() {
        assert_eq!(whole::<u64>(&value("8"), &(1..=8)).unwrap(), 8);
        for text in ["0", "9", "-1", "2.0", "\"2\"", "99999999999999999999"] {
            assert!(whole::<u64>(&value(text), &(1..=8)).is_err(), "{text}");
        }
    }
}
