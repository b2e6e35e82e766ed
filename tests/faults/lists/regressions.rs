//! Cases that failed once.

use callvault::simulator::{ListFault, Wrong};

use super::case::{Call, Case, Trouble};
use super::judge::play;
use crate::support::campaign::runtime;

fn call(days_ago: u32, second: u32, recorded: bool) -> Call {
    Call { days_ago, second, recorded }
}

#[test]
fn nothing_is_wrong() {
    let calls = vec![call(0, 0, true), call(1, 86_399, true), call(2, 3600, false)];
    play(&runtime(), &Case { last_day: 0, calls, trouble: Trouble::Nothing });
}

#[test]
fn a_day_cannot_be_told() {
    play(&runtime(), &Case { last_day: 0, calls: Vec::new(), trouble: Trouble::Day(0, Wrong::Redirect) });
}

#[test]
fn all_rows_are_shifted() {
    let trouble = Trouble::Lists(vec![ListFault::Shifted { field: 0, of: 1 }]);
    play(&runtime(), &Case { last_day: 0, calls: vec![call(0, 0, false)], trouble });
}

#[test]
fn errors_stand_in_the_place_of_rows() {
    let trouble = Trouble::Lists(vec![ListFault::Garbled { line: "Error: no memory".into(), of: 1 }]);
    play(&runtime(), &Case { last_day: 0, calls: vec![call(0, 1, true)], trouble });
}

#[test]
fn lists_end_within_their_last_row() {
    let calls = vec![call(0, 3598, true), call(0, 86_397, false), call(1, 0, true)];
    play(&runtime(), &Case { last_day: 0, calls, trouble: Trouble::Cut(0.85) });
}

#[test]
fn rows_hold_nothing() {
    let trouble = Trouble::Lists(vec![ListFault::Garbled { line: ",,,,,,,,,,,,,".into(), of: 1 }]);
    play(&runtime(), &Case { last_day: 0, calls: vec![call(0, 1, true)], trouble });
}

#[test]
fn rows_tell_a_start_of_a_lost_clock_under_headings_that_are_not_theirs() {
    let header = "callid,timestart,callfrom,callto,callduration,talkduration,srctrunkname,dsttrunkname,status,type,recording,pincode,didnumber,sn";
    for header in [header, "callid,timestart,recording"] {
        let lists = vec![ListFault::Misdated { of: 1 }, ListFault::Header(header.into())];
        let calls = vec![call(2, 3600, true), call(0, 0, true)];
        play(&runtime(), &Case { last_day: 0, calls, trouble: Trouble::Lists(lists) });
    }
}

#[test]
fn rows_tell_a_start_of_a_lost_clock() {
    let trouble = || Trouble::Lists(vec![ListFault::Misdated { of: 1 }]);
    play(&runtime(), &Case { last_day: 0, calls: vec![call(0, 0, true)], trouble: trouble() });
    play(
        &runtime(),
        &Case { last_day: 0, calls: vec![call(0, 50_000, true), call(1, 50_000, false)], trouble: trouble() },
    );
}

/// What a line says that has a field too many is not lost, and it is in doubt until it is whole.
#[test]
fn rows_hold_a_quote_within_a_field_and_a_field_too_many() {
    let line = "{callid},2024-03-14 10:53:20,1003,\"Anna\" Meier,6,1,,,ANSWERED,Inbound,,{recording},555,369392500001,more";
    let trouble = || Trouble::Lists(vec![ListFault::Garbled { line: line.into(), of: 1 }]);
    for calls in [vec![call(0, 3599, true)], vec![call(0, 0, false), call(0, 10_009, false)]] {
        play(&runtime(), &Case { last_day: 1, calls, trouble: trouble() });
    }
}

/// Nothing tells its day but the list in which it stands.
#[test]
fn rows_that_lack_a_field_tell_no_time_that_can_be_believed() {
    let shifted = |field| ListFault::Shifted { field, of: 1 };
    let calls = vec![call(2, 2, true)];
    play(&runtime(), &Case { last_day: 3, calls, trouble: Trouble::Lists(vec![shifted(1)]) });
    let calls = vec![call(0, 0, false), call(1, 3598, true)];
    let lists = vec![shifted(0), ListFault::Misdated { of: 1 }];
    play(&runtime(), &Case { last_day: 0, calls, trouble: Trouble::Lists(lists) });
}

#[test]
fn the_day_before_is_not_read_and_what_is_at_the_edge_of_a_list_is_left_out() {
    let lists = vec![ListFault::Edges { first_s: 1, last_s: 0 }, ListFault::Header(String::new())];
    let calls = vec![call(0, 0, true)];
    play(&runtime(), &Case { last_day: 0, calls, trouble: Trouble::Lists(lists) });
}
