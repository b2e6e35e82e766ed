//! What the PBX's clock on the wall says, and which instant that was: pure, the time of day is never read here.
//!
//! The PBX writes local times without a zone (`docs/pbx-api.md` §6.3). `OffsetResolver` finds their distance to UTC
//! in the call rows themselves.

mod offset;
#[cfg(test)]
mod tests;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

pub use offset::{EARLY_S_MAX, OFFSET_S_MAX, OffsetResolver, OffsetSource, Resolved};

/// The zone that a PBX stands in: as configured, else as its CDR showed last, and UTC while nobody knows.
pub fn zone_of(configured: Option<&TimeZone>, learnt_offset_s: Option<i32>) -> TimeZone {
    let learnt = || Some(TimeZone::fixed(Offset::from_seconds(learnt_offset_s?).ok()?));
    configured.cloned().or_else(learnt).unwrap_or(TimeZone::UTC)
}

/// Reads a local time, `YYYY-MM-DD HH:MM:SS`, as a CDR has it; `None` if it is none, such as on 30 February.
///
/// Tolerated: `/` in the date, `T` or several spaces between, one digit for month, day or hour, a fraction (dropped).
pub fn parse_local(text: &str) -> Option<DateTime> {
    let (date, time) = text.trim().split_once([' ', 'T', 't'])?;
    let separator = if date.contains('/') { '/' } else { '-' };
    let [year, month, day] = numbers(date, separator, [4..=4, 1..=2, 1..=2])?;
    let (time, fraction) = time.trim_start().split_once('.').unwrap_or((time.trim_start(), "0"));
    let [hour, minute, second] = numbers(time, ':', [1..=2, 2..=2, 2..=2])?;
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let date = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let [hour, minute, second] = [hour, minute, second].map(|number| i8::try_from(number).unwrap_or(-1));
    Some(date.to_datetime(Time::new(hour, minute, second, 0).ok()?))
}

/// Reads the `systemtime` of the device's information, such as `2024-03-01 12:00:00 UTC+1` (`docs/pbx-api.md` §6.3).
///
/// With it comes the device's distance to UTC in seconds, if that is named and plausible.
pub fn parse_systemtime(text: &str) -> Option<(DateTime, Option<i32>)> {
    let text = text.trim();
    let zone_at =
        text.find(|character: char| character.is_ascii_alphabetic() && character != 'T' && character != 't');
    let (local, zone) = text.split_at(zone_at.unwrap_or(text.len()));
    Some((parse_local(local)?, parse_zone(zone)))
}

/// `UTC`, `UTC+1`, `UTC+05:30`, `GMT-0330` in seconds.
fn parse_zone(zone: &str) -> Option<i32> {
    let distance = zone.strip_prefix("UTC").or_else(|| zone.strip_prefix("GMT"))?.trim();
    let (sign, digits) = match distance.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, distance.strip_prefix('+').unwrap_or(distance)),
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() == 4 && digits.is_ascii() => digits.split_at(2),
        None => (digits, "0"),
    };
    if digits.is_empty() {
        return distance.is_empty().then_some(0);
    }
    let hours = number(hours, &(1..=2))?;
    let minutes = number(minutes, &(1..=2)).filter(|minutes| *minutes < 60)?;
    let offset_s = sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60);
    (offset_s.abs() <= OFFSET_S_MAX).then_some(offset_s)
}

/// Three numbers with a separator between, each with as many digits as it may have.
fn numbers(text: &str, separator: char, digits: [std::ops::RangeInclusive<usize>; 3]) -> Option<[i16; 3]> {
    let mut parts = text.split(separator);
    let [first, second, third] = digits;
    let found =
        [number(parts.next()?, &first)?, number(parts.next()?, &second)?, number(parts.next()?, &third)?];
    parts.next().is_none().then_some(found)
}

fn number(text: &str, digits: &std::ops::RangeInclusive<usize>) -> Option<i16> {
    let is_number = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}
