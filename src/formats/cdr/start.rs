//! When a call was: by its start, by its id and by the name of its recording.

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};

use crate::base::times::{EARLY_S_MAX, OFFSET_S_MAX, parse_local};
use crate::formats::cdr::value::{half_of_day, is_number, is_rounded};

/// Calls before 2000 and after 2100 are no calls: such a number in a call's id is not the time.
const EPOCHS: std::ops::Range<i64> = 946_684_800..4_102_444_800;

/// No part of a call begins so many seconds after the call.
const CALL_S_MAX: i64 = 24 * 3600;

/// The time in a call's id, `<epoch>.<seq>`, in seconds since 1970 UTC (`docs/pbx-api.md` §6.3); `None` if it does not
/// begin with a plausible one.
pub(super) fn epoch_in(callid: &str) -> Option<i64> {
    let end = callid.find(['.', '_']).unwrap_or(callid.len());
    let digits = callid[..end].bytes().all(|byte| byte.is_ascii_digit()).then_some(&callid[..end])?;
    digits.parse().ok().filter(|epoch| EPOCHS.contains(epoch))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// When it began, by the PBX's clock on the wall.
    pub(super) local: DateTime,
    pub(super) epoch: Option<i64>,
}

/// Reads the time in a recording's name, `YYYYMMDDHHMMSS-<epoch>.<seq>-…`, or of other devices
/// `…-YYYYMMDD-HHMMSS-<epoch>.<seq>.wav` (`docs/pbx-api.md` §8, §12).
pub(super) fn stamp_in(name: &[u8]) -> Option<Stamp> {
    let name = std::str::from_utf8(name).ok()?;
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let parts: Vec<&str> = name.split('-').collect();
    if let Some(local) = parts.first().and_then(|part| stamp(part)) {
        return Some(Stamp { local, epoch: parts.get(1).and_then(|id| epoch_in(id)) });
    }
    let (at, local) = parts.windows(2).enumerate().find_map(|(at, pair)| {
        let is_stamp = pair[0].len() == 8 && pair[1].len() == 6;
        Some((at, stamp(&is_stamp.then(|| pair.concat())?)?))
    })?;
    Some(Stamp { local, epoch: parts.get(at + 2).and_then(|id| epoch_in(id)) })
}

/// Fourteen digits that are a time.
fn stamp(digits: &str) -> Option<DateTime> {
    if digits.len() != 14 || !is_number(digits) {
        return None;
    }
    let [year, month, day, hour, minute, second] =
        [0..4, 4..6, 6..8, 8..10, 10..12, 12..14].map(|part| digits[part].parse::<i16>().unwrap_or(-1));
    let small = |number: i16| i8::try_from(number).ok();
    let date = Date::new(year, small(month)?, small(day)?).ok().filter(|_| (2000..2100).contains(&year))?;
    // A leap second is the end of its minute.
    Some(date.to_datetime(
        Time::new(small(hour)?, small(minute)?, small(if second == 60 { 59 } else { second })?, 0).ok()?,
    ))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    /// The start by the PBX's clock, as well as it is known.
    pub(super) local: Option<DateTime>,
    /// Whether that is what the PBX wrote, to the second.
    pub(super) is_exact: bool,
}

/// The start of a call as the PBX wrote it; `None` if it is not in the PBX's own form.
pub(super) fn exact_start(timestart: &str) -> Option<Start> {
    parse_local(timestart).map(|local| Start { local: Some(local), is_exact: true })
}

/// The start of a call: as the PBX wrote it, else out of what a spreadsheet made of it, else out of the recording's name.
pub(super) fn start(timestart: &str, epoch: Option<i64>, stamp: Option<Stamp>) -> Start {
    if let Some(start) = exact_start(timestart) {
        return start;
    }
    let fits = |local: &DateTime| match (stamp, epoch) {
        (Some(stamp), _) => is_start_of(*local, stamp.local),
        (None, Some(epoch)) => !contradicts(*local, epoch),
        (None, None) => false,
    };
    let meanings = rewritten(timestart);
    let local = match &meanings[..] {
        [only] => Some(*only),
        more => more.iter().copied().find(fits),
    };
    Start { local: local.or(stamp.map(|stamp| stamp.local)), is_exact: false }
}

/// Whether a call that started at `local` can have the recording that began at `stamp`.
pub(super) fn is_start_of(local: DateTime, stamp: DateTime) -> bool {
    (-CALL_S_MAX..=CALL_S_MAX).contains(&local.duration_until(stamp).as_secs())
}

/// Whether a start by the PBX's clock and the time in its call's id are further apart than a zone and a call allow.
pub(super) fn contradicts(local: DateTime, epoch: i64) -> bool {
    let distance_s =
        SignedDuration::as_secs(&DateTime::constant(1970, 1, 1, 0, 0, 0, 0).duration_until(local)) - epoch;
    let offset_s = i64::from(OFFSET_S_MAX);
    !(-offset_s - EARLY_S_MAX..=offset_s + CALL_S_MAX).contains(&distance_s)
}

/// Whether only a spreadsheet writes a time so: without seconds, with AM and PM, or as a number of days.
pub(super) fn is_rewritten(timestart: &str) -> bool {
    parse_local(timestart).is_none()
        && (is_rounded(timestart) || days(timestart).is_some() || {
            let text = timestart.trim();
            let is_halved = text.ends_with(['M', 'm']);
            !rewritten(text).is_empty() && (is_halved || text.matches(':').count() == 1)
        })
}

/// The times that a rewritten start can mean: day and month may stand in either order.
fn rewritten(text: &str) -> Vec<DateTime> {
    if let Some(time) = days(text) {
        return vec![time];
    }
    let Some((date, time)) = text.trim().split_once([' ', 'T']) else { return Vec::new() };
    let Some(time) = time_of_day(time.trim()) else { return Vec::new() };
    let parts: Vec<&str> = date.trim_end_matches(',').split(['/', '-', '.']).collect();
    let [first, second_part, third] = parts[..] else { return Vec::new() };
    let number = |part: &str| part.parse::<i16>().ok().filter(|_| part.len() <= 4 && is_number(part));
    let (Some(a), Some(b), Some(c)) = (number(first), number(second_part), number(third)) else {
        return Vec::new();
    };
    let year = |part: &str, number: i16| if part.len() == 2 { 2000 + number } else { number };
    let orders = match (first.len(), third.len()) {
        (4, _) => vec![(a, b, c)],
        (_, 2 | 4) => vec![(year(third, c), a, b), (year(third, c), b, a)],
        _ => Vec::new(),
    };
    let mut times: Vec<DateTime> = Vec::new();
    for (year, month, day) in orders {
        let date = i8::try_from(month).ok().zip(i8::try_from(day).ok());
        let date = date.and_then(|(month, day)| Date::new(year, month, day).ok());
        let time = date.map(|date| date.to_datetime(time));
        times.extend(time.filter(|time| !times.contains(time)));
    }
    times
}

/// `9:01`, `09:01:00`, `9:01 PM`.
fn time_of_day(text: &str) -> Option<Time> {
    let lowercase = text.to_ascii_lowercase();
    let (time, later) = half_of_day(&lowercase);
    let parts: Option<Vec<i8>> = time.split(':').map(|part| part.parse().ok()).collect();
    let (hour, minute, second) = match *parts? {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    let hour = match later {
        Some(later) if (1..=12).contains(&hour) => hour % 12 + i8::try_from(later).ok()?,
        Some(_) => return None,
        None => hour,
    };
    Time::new(hour, minute, second, 0).ok()
}

/// A spreadsheet's number of days since the end of 1899, such as `46346.3757`.
fn days(text: &str) -> Option<DateTime> {
    let (whole, fraction) = text.trim().split_once(['.', ','])?;
    if whole.len() != 5 || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let days: i64 = whole.parse().ok().filter(|days| (36_526..73_050).contains(days))?;
    let share: f64 = format!("0.{fraction}").parse().ok()?;
    let first = DateTime::constant(1899, 12, 30, 0, 0, 0, 0);
    let seconds =
        SignedDuration::from_hours(24 * days) + SignedDuration::from_secs_f64((share * 86_400.0).round());
    first.checked_add(seconds).ok()
}

#[cfg(test)]
mod tests {
    use jiff::civil::datetime;

    use super::*;

    #[test]
    fn a_recordings_name_tells_its_time_in_each_form_of_the_devices() {
        let local = datetime(2024, 3, 1, 12, 5, 15, 0);
        let epoch = Some(1_709_287_502);
        for (name, wanted) in [
            ("20240301120515-1709287502.118-5550142-1003-Inbound.wav", Some(Stamp { local, epoch })),
            ("20240301120515-1709287502_118-5550142-1003-Inbound.wav", Some(Stamp { local, epoch })),
            ("/mnt/autorecords/20240301120515-1709287502.118-a-b-Inbound.wav", Some(Stamp { local, epoch })),
            ("exten-1003-5550142-20240301-120515-1709287502.118.wav", Some(Stamp { local, epoch })),
            ("20240301120515-Inbound-trunk-a-b.wav", Some(Stamp { local, epoch: None })),
            ("20241301120515-1709287502.118-x.wav", None),
            ("a.wav", None),
            ("", None),
        ] {
            assert_eq!(stamp_in(name.as_bytes()), wanted, "{name}");
        }
    }

    #[test]
    fn fourteen_digits_are_a_time_only_if_there_is_such_a_time() {
        let leap = stamp_in(b"20240301120560-1709287502.118-a.wav").map(|stamp| stamp.local);
        assert_eq!(leap, Some(datetime(2024, 3, 1, 12, 5, 59, 0)), "a leap second ends its minute");
        for name in ["20240230120515", "20240301240515", "20240301126015", "20240301120561", "19990301120515"]
        {
            assert_eq!(stamp_in(format!("{name}-a.wav").as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn a_start_that_a_spreadsheet_rewrote_is_found_by_what_stands_beside_it() {
        let stamp = Some(Stamp { local: datetime(2026, 2, 11, 9, 1, 15, 0), epoch: None });
        let nine = |month, day| Some(datetime(2026, month, day, 9, 1, 0, 0));
        for (text, stamp, wanted) in [
            ("2/11/2026 9:01", stamp, nine(2, 11)),
            ("11/2/2026 9:01", stamp, nine(2, 11)),
            ("11.02.2026 09:01", stamp, nine(2, 11)),
            ("11/25/2026 9:01", None, nine(11, 25)),
            ("11/25/26 9:01 AM", None, nine(11, 25)),
            ("2026/11/25 9:01", None, nine(11, 25)),
            ("2/11/2026 9:01", None, None),
            ("########", stamp, stamp.map(|stamp| stamp.local)),
            ("46351.3756944444", None, nine(11, 25)),
            ("nonsense", None, None),
        ] {
            assert_eq!(start(text, None, stamp), Start { local: wanted, is_exact: false }, "{text}");
        }
        let exact = start("2026-02-11 09:01:00", None, stamp);
        assert_eq!(exact, Start { local: nine(2, 11), is_exact: true });
        for text in ["11/20/2026 9:01", "2026/11/20 9:01", "11/20/2026 9:01:00 AM", "46346.3757", "1.80E+09"]
        {
            assert!(is_rewritten(text), "{text}");
        }
        for text in
            ["2026-11-20 09:01:00", "20/11/2026 09:01:00", "20.11.2026 09:01:00", "", "1403", "x 9:01"]
        {
            assert!(!is_rewritten(text), "{text}");
        }
    }

    #[test]
    fn a_start_contradicts_an_id_only_beyond_any_zone_and_any_call() {
        let epoch = 1_709_287_502;
        let at = |text: &str| parse_local(text).unwrap();
        for text in
            ["2024-03-01 10:05:02", "2024-03-01 18:05:02", "2024-02-29 20:05:02", "2024-03-02 12:00:00"]
        {
            assert!(!contradicts(at(text), epoch), "{text}");
        }
        for text in
            ["1970-01-01 00:00:00", "2024-02-29 12:00:00", "2024-03-04 00:00:00", "2567-03-01 12:05:02"]
        {
            assert!(contradicts(at(text), epoch), "{text}");
        }
    }
}
