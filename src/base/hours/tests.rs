//! Hours through weeks, and through changes of the clock.

use super::*;

impl Hours {
    fn is_always_open(&self) -> bool {
        self.open.is_empty() || self.open.iter().map(|range| range.end - range.start).sum::<u16>() == WEEK_MIN
    }

    /// When the hours close next; `None` if they are closed, or never do.
    fn next_closing(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if self.is_open(zone.to_datetime(now)) { self.next_change(now, zone) } else { None }
    }
}

fn hours(entries: &[&str]) -> Hours {
    let openings: Vec<Opening> = entries.iter().map(|entry| entry.parse().unwrap()).collect();
    Hours::new(&openings).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn hours_are_open_from_their_begin_and_closed_from_their_end() {
    // 2024-03-04 is a Monday.
    let table: [(&[&str], &str, bool); 17] = [
        (&[], "2024-03-04T12:00", true),
        (&["18:00-07:30"], "2024-03-04T17:59:59", false),
        (&["18:00-07:30"], "2024-03-04T18:00", true),
        (&["18:00-07:30"], "2024-03-04T00:00", true),
        (&["18:00-07:30"], "2024-03-04T07:29:59", true),
        (&["18:00-07:30"], "2024-03-04T07:30", false),
        (&["18:00-07:30", "12:00-13:00"], "2024-03-04T12:30", true),
        (&["18:00-00:00"], "2024-03-04T23:59", true),
        (&["18:00-00:00"], "2024-03-04T00:00", false),
        (&["Mon-Fri 19:00-06:00"], "2024-03-04T05:00", false),
        (&["Mon-Fri 19:00-06:00"], "2024-03-09T05:00", true),
        (&["Mon-Fri 19:00-06:00"], "2024-03-09T19:00", false),
        (&["Sun 19:00-06:00"], "2024-03-04T05:59", true),
        (&["Sat-Sun"], "2024-03-10T23:59", true),
        (&["Sat-Sun"], "2024-03-04T00:00", false),
        (&["sat-mon 00:00-24:00"], "2024-03-04T12:00", true),
        (&["Wed"], "2024-03-06T00:00", true),
    ];
    for (entries, local, open) in table {
        assert_eq!(hours(entries).is_open(local.parse().unwrap()), open, "{entries:?} at {local}");
    }
}

#[test]
fn what_names_no_hours_is_refused() {
    use NotAnOpening::{Empty, Unreadable};
    let table = [
        ("", Unreadable),
        ("18-19", Unreadable),
        ("18:00", Unreadable),
        ("24:00-25:00", Unreadable),
        ("18:60-19:00", Unreadable),
        ("18:0-19:00", Unreadable),
        ("+8:00-19:00", Unreadable),
        ("Mo 18:00-19:00", Unreadable),
        ("Mon-Fri-Sat", Unreadable),
        ("Mon 18:00-19:00 20:00-21:00", Unreadable),
        ("18:00-18:00", Empty),
        ("00:00-00:00", Empty),
    ];
    for (text, why) in table {
        assert_eq!(text.parse::<Opening>(), Err(why), "{text}");
    }
}

#[test]
fn entries_that_overlap_are_named() {
    let table = [
        (&["18:00-07:30", "07:00-08:00"][..], Some("Mon 07:00 to Mon 07:30")),
        (&["Mon-Fri 19:00-06:00", "Sat-Sun"], Some("Sat 00:00 to Sat 06:00")),
        (&["Sun 20:00-02:00", "Mon 01:00-03:00"], Some("Mon 01:00 to Mon 02:00")),
        (&["12:00-13:00", "12:00-13:00"], Some("Mon 12:00 to Mon 13:00")),
        (&["Mon-Thu 19:00-06:00", "Fri 19:00-24:00", "Sat-Sun"], None),
        (&["18:00-24:00", "00:00-07:30"], None),
    ];
    for (entries, expected) in table {
        let openings: Vec<Opening> = entries.iter().map(|entry| entry.parse().unwrap()).collect();
        let overlap = Hours::new(&openings).err().map(|overlap| overlap.to_string());
        let expected = expected.map(|when| format!("overlaps another entry on {when}"));
        assert_eq!(overlap, expected, "{entries:?}");
    }
}

#[test]
fn the_next_change_is_found_across_days_weeks_and_changes_of_the_clock() {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    // (entries, now, the next opening, the next closing)
    type Row = (&'static [&'static str], &'static str, Option<&'static str>, Option<&'static str>);
    let table: [Row; 9] = [
        (&["18:00-07:30"], "2024-03-04T10:00:00Z", Some("2024-03-04T17:00:00Z"), None),
        (&["18:00-07:30"], "2024-03-04T20:00:00Z", None, Some("2024-03-05T06:30:00Z")),
        (&["Sat-Sun"], "2024-03-04T10:00:00Z", Some("2024-03-08T23:00:00Z"), None),
        (&["Sun 22:00-24:00", "Mon 00:00-02:00"], "2024-03-10T21:30:00Z", None, Some("2024-03-11T01:00:00Z")),
        // On 2024-03-31 the clock leaps from 02:00 to 03:00: what was to open at 02:30 opens at once.
        (&["02:30-04:00"], "2024-03-31T00:30:00Z", Some("2024-03-31T01:00:00Z"), None),
        // What lies within the leap opens a week later.
        (&["Sun 02:10-02:20"], "2024-03-31T00:30:00Z", Some("2024-04-07T00:10:00Z"), None),
        // On 2024-10-27 it goes back from 03:00 to 02:00, and 02:00 to 03:00 comes twice.
        (&["02:00-02:30"], "2024-10-27T00:10:00Z", None, Some("2024-10-27T00:30:00Z")),
        (&["02:00-02:30"], "2024-10-27T00:40:00Z", Some("2024-10-27T01:00:00Z"), None),
        (&["Mon-Sun"], "2024-03-04T10:00:00Z", None, None),
    ];
    for (entries, now, opening, closing) in table {
        let hours = hours(entries);
        assert_eq!(hours.next_opening(at(now), &berlin), opening.map(at), "{entries:?} from {now}");
        assert_eq!(hours.next_closing(at(now), &berlin), closing.map(at), "{entries:?} from {now}");
    }
    assert!(hours(&[]).is_always_open() && hours(&["Mon-Sun"]).is_always_open());
    assert!(!hours(&["Mon-Sat"]).is_always_open());
}
