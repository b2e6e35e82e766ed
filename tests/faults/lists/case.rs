//! Cases: the calls that a PBX has, and what is wrong with it.

use std::time::Duration;

use callvault::simulator::{
    About, Faults, ListFault, Poison, PoisonedStage, SimAudio, SimCall, SimulatorOptions, Wrong,
};
use jiff::civil::{Date, date};
use jiff::{Timestamp, ToSpan as _};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};

use crate::support::station::{Station, small};

/// How many days there are, the last one included.
const DAYS: u32 = 3;
/// Last days: an ordinary one, and the ends of months, of a year, and of summer time.
const LAST_DAYS: [Date; 5] =
    [date(2024, 3, 14), date(2024, 3, 1), date(2025, 1, 1), date(2024, 3, 31), date(2024, 10, 27)];
/// From so many days and new recordings on, a list of whatever length is looked at twice (`docs/proof.md`).
const WORTH_A_LOOK: usize = 20;

/// One case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// The last day, of [`LAST_DAYS`].
    pub(crate) last_day: usize,
    /// What the PBX has.
    pub(crate) calls: Vec<Call>,
    /// What is wrong.
    pub(crate) trouble: Trouble,
}

/// A call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// So many days before the last one.
    pub(crate) days_ago: u32,
    /// When, in seconds since midnight.
    pub(crate) second: u32,
    /// Whether it was recorded.
    pub(crate) recorded: bool,
}

/// What is wrong with the PBX.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// Nothing: it must be complete.
    Nothing,
    /// Some lists end within their last row.
    Cut(f64),
    /// Some rows are cut in the middle.
    Broken(f64),
    /// Some rows come twice, and all in another order: nothing is wrong by that.
    Shuffled,
    /// Lists hold so many rows at most.
    Capped(u64),
    /// Lists are not what they should be.
    Lists(Vec<ListFault>),
    /// Its clock is off by so many hours.
    Clock(i64),
    /// A day cannot be told: so many days before the last one.
    Day(u32, Wrong),
    /// The recording of a call cannot be had.
    Recording(usize, Wrong, PoisonedStage),
}

/// Cases by chance.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let few = (0..LAST_DAYS.len(), prop::collection::vec(call(), 0..12), trouble());
    // Many calls for few audio files: what a limit needs to be seen.
    let many =
        (0..LAST_DAYS.len(), prop::collection::vec(call(), 12..45), (8..40_u64).prop_map(Trouble::Capped));
    prop_oneof![9 => few, 1 => many]
        .prop_map(|(last_day, calls, trouble)| Case { last_day, calls, trouble })
        .prop_filter("no such limit can be seen", Case::is_fair)
}

fn call() -> impl Strategy<Value = Call> {
    let second = prop_oneof![
        2 => 0..3_u32,
        2 => 86_397..86_400_u32,
        1 => 3_598..3_602_u32,
        1 => 82_798..82_802_u32,
        1 => 7_200..10_800_u32,
        4 => 0..86_400_u32,
    ];
    (0..DAYS, second, prop::bool::weighted(0.6)).prop_map(|(days_ago, second, recorded)| Call {
        days_ago,
        second,
        recorded,
    })
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let wrong = || prop::sample::select(Wrong::ALL.to_vec());
    let stage = prop::sample::select(vec![PoisonedStage::Every, PoisonedStage::Download]);
    prop_oneof![
        2 => Just(Trouble::Nothing),
        1 => Just(Trouble::Shuffled),
        2 => (0.2..=1.0).prop_map(Trouble::Cut),
        2 => (0.1..=1.0).prop_map(Trouble::Broken),
        2 => (8..40_u64).prop_map(Trouble::Capped),
        12 => prop::collection::vec(list_fault(), 1..3).prop_map(Trouble::Lists),
        2 => prop::sample::select(vec![-80_000, -300, -30, -3, 3, 30, 300, 80_000]).prop_map(Trouble::Clock),
        2 => (0..DAYS, wrong()).prop_map(|(days_ago, how)| Trouble::Day(days_ago, how)),
        2 => (any::<usize>(), wrong(), stage).prop_map(|(at, how, stage)| Trouble::Recording(at, how, stage)),
    ]
}

fn list_fault() -> impl Strategy<Value = ListFault> {
    let of = || 1..5_u64;
    let text = |texts: &[&str]| {
        prop::sample::select(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    };
    prop_oneof![
        text(&HEADERS).prop_map(ListFault::Header),
        text(&TITLES).prop_map(ListFault::Title),
        (0..14_usize, of()).prop_map(|(field, of)| ListFault::Shifted { field, of }),
        (text(&GARBAGE), of()).prop_map(|(line, of)| ListFault::Garbled { line, of }),
        of().prop_map(|of| ListFault::Misdated { of }),
        text(&ENCODINGS).prop_map(ListFault::Encoded),
        (0..3000_u32, 0..3000_u32).prop_map(|(first_s, last_s)| ListFault::Edges { first_s, last_s }),
    ]
}

/// Headers in the place of the right one: no column of recordings, one under a name that is not certain, two of them, one
/// in another place, others' headings, none at all.
const HEADERS: [&str; 9] = [
    "",
    "callid,timestart,callfrom,callto,callduraction,talkduraction,srctrunkname,dsttrunkname,status,type,pincode,recordfile,didnumber,sn",
    "callid,timestart,callfrom,callto,callduraction,talkduraction,srctrunkname,dsttrunkname,status,type,pincode,recording,recording,sn",
    "callid,timestart,callfrom,callto,callduraction,talkduraction,srctrunkname,dsttrunkname,status,type,recording,pincode,didnumber,sn",
    "callid,timestart,callfrom,callto,callduraction,talkduraction,srctrunkname,dsttrunkname,status,type,pincode,recording,didnumber",
    "timestart,callid,callfrom,callto,callduraction,talkduraction,srctrunkname,dsttrunkname,status,type,pincode,recording,didnumber,sn",
    "通话ID,时间,主叫,被叫,通话时长,通话时间,源中继,目的中继,状态,类型,PIN码,录音,DID号码,序列号",
    "id;time;from;to;duration;talk;trunk;trunk;status;type;pin;file;did;sn",
    "callid,timestart,recording",
];

/// Lines before the header.
const TITLES: [&str; 4] = ["sep=,", "Call report", "Exported at 2024-03-14 12:00:00,admin,,", "#"];

/// Lines in the place of rows.
const GARBAGE: [&str; 7] = [
    "Error: no memory",
    "\"{callid},2024-03-14 10:53:20,1003,",
    ",,,,,,,,,,,,,",
    "{callid},2024-03-14 10:53:20",
    "\u{0}\u{0}\u{0}\u{0}",
    "{callid},2024-03-14 10:53:20,1003,\"Anna\" Meier,6,1,,,ANSWERED,Inbound,,{recording},555,369392500001,more",
    "<html><body>busy</body></html>",
];

/// Encodings that call lists come in.
const ENCODINGS: [&str; 7] =
    ["utf-16le", "utf-16be", "gbk", "windows-1251", "windows-1252", "shift_jis", "big5"];

impl Case {
    /// A limit can be seen where a look at it is worth its while; beneath that nobody knows of it.
    fn is_fair(&self) -> bool {
        !matches!(self.trouble, Trouble::Capped(_))
            || DAYS as usize + self.calls.iter().filter(|call| call.recorded).count() >= 2 * WORTH_A_LOOK
    }

    /// Its station, not yet in trouble.
    pub(crate) async fn station(&self) -> Station {
        let today = Some(LAST_DAYS[self.last_day]);
        let folder = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
        let mut station =
            Station::in_folder(SimulatorOptions { today, days: DAYS, ..small(0) }, folder).await;
        let limits = &mut station.section().limits;
        limits.outage_patience = Duration::ZERO;
        (limits.reply_timeout, limits.cdr_timeout) = (Duration::from_secs(1), Duration::from_millis(300));
        for (number, call) in (0..).zip(&self.calls) {
            let call = call.of(&station, number);
            station.pbx.world(|world| world.add_call(call));
        }
        station
    }

    /// What the PBX does wrong.
    pub(crate) fn faults(&self, station: &Station) -> Faults {
        let right = Faults::default();
        let poison = |about, how, at| vec![Poison { about, how, at }];
        match &self.trouble {
            Trouble::Nothing => right,
            Trouble::Cut(cdr_cut) => Faults { cdr_cut: *cdr_cut, ..right },
            Trouble::Broken(cdr_broken) => Faults { cdr_broken: *cdr_broken, ..right },
            Trouble::Shuffled => Faults { cdr_duplicate: 0.3, cdr_reordered: 1.0, ..right },
            Trouble::Capped(cdr_row_cap) => Faults { cdr_row_cap: *cdr_row_cap, ..right },
            Trouble::Lists(lists) => Faults { lists: lists.clone(), ..right },
            Trouble::Clock(hours) => Faults { clock_offset_s: hours * 3600, ..right },
            Trouble::Day(days_ago, how) => {
                let day = station.days.1 - i64::from(*days_ago).days();
                Faults { poison: poison(About::Day(day), *how, PoisonedStage::Every), ..right }
            }
            Trouble::Recording(at, how, stage) => match self.calls.get(at % self.calls.len().max(1)) {
                Some(_) => {
                    let name = name(at % self.calls.len());
                    Faults { poison: poison(About::Recording(name), *how, *stage), ..right }
                }
                None => right,
            },
        }
    }

    /// Whether all is as it should be, so that it must be complete.
    pub(crate) fn is_clean(&self) -> bool {
        matches!(self.trouble, Trouble::Nothing | Trouble::Shuffled)
    }
}

fn name(number: usize) -> String {
    format!("call-{number}.wav")
}

impl Call {
    fn of(&self, station: &Station, number: usize) -> SimCall {
        let day = station.days.1 - i64::from(self.days_ago).days();
        let start = day.at(0, 0, 0, 0) + i64::from(self.second).seconds();
        let start: Timestamp = start.in_tz("Europe/Berlin").unwrap().timestamp();
        let seq = 7000 + number as u64;
        let call = SimCall::recorded(start, seq, name(number), SimAudio::pcm(400, seq));
        match self.recorded {
            true => call,
            false => SimCall { recording: Vec::new(), audio: None, ..call },
        }
    }
}
