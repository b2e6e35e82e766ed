//! Forty voicemail boxes in use while they are archived: messages are left, marked and deleted, places change hands.

use std::collections::BTreeSet;
use std::time::Duration;

use callvault::base::counts::Counts;
use callvault::simulator::{Faults, SimAudio, SimVoicemail, Simulator, SimulatorOptions};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::support::station::voicemail::{Alike, alike, message_counts};
use crate::support::station::{NONE, Station, noon, small};

const BOXES: u64 = 40;
const MESSAGES: u64 = 1000;
/// So many requests lie between two changes.
const REQUESTS_PER_CHANGE: u64 = 8;

/// Reproducible numbers (`SplitMix64`, <https://prng.di.unimi.it/splitmix64.c>).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }
}

/// The `number`-th message. Every twelfth one has a twin that differs in its audio only.
fn message(station: &Station, number: u64) -> SimVoicemail {
    let like = number - u64::from(number % 12 == 1);
    let audio = SimAudio::pcm(1000, number);
    SimVoicemail {
        extension: (1000 + like / 12 % BOXES).to_string(),
        from: format!("55501{:02}", like % 7),
        date: noon(station.days.1) + SignedDuration::from_secs(i64::try_from(like).unwrap()),
        length_s: audio.seconds(),
        read: number.is_multiple_of(4),
        audio,
    }
}

/// What people did to the boxes.
#[derive(Default)]
struct Done {
    deleted: Vec<SimVoicemail>,
    left: Vec<SimVoicemail>,
    marked: usize,
}

/// Does something to a box after every few requests, until it is broken off.
async fn use_boxes(pbx: &Simulator, arrivals: Vec<SimVoicemail>, done: &mut Done) {
    let mut chance = Chance(7);
    let mut arrivals = arrivals.into_iter();
    loop {
        let seen = pbx.counters().requests;
        while pbx.counters().requests < seen + REQUESTS_PER_CHANGE {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        pbx.world(|world| {
            let at = chance.below(world.voicemails().len());
            match chance.below(5) {
                0 | 1 => done.deleted.push(world.voicemails().remove(at)),
                2 | 3 => {
                    world.voicemails()[at].read ^= true;
                    done.marked += 1;
                }
                _ => {
                    if let Some(message) = arrivals.next() {
                        world.leave_message(message.clone());
                        done.left.push(message);
                    }
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_messages_are_archived_while_their_boxes_are_in_use() {
    let mut station = Station::with_voicemail(SimulatorOptions { seed: 3, ..small(0) }).await;
    station.section().concurrency = 8;
    let messages: Vec<_> = (0..MESSAGES).map(|number| message(&station, number)).collect();
    station.pbx.world(|world| messages.iter().cloned().for_each(|message| world.leave_message(message)));
    let arrivals: Vec<_> = (MESSAGES..MESSAGES + 200).map(|number| message(&station, number)).collect();
    arrivals.iter().for_each(|message| station.note_message(message));

    let mut done = Done::default();
    let request = station.voicemail_request();
    let meanwhile = async |pbx: &Simulator| use_boxes(pbx, arrivals, &mut done).await;
    let first = station.run_while(request, CancellationToken::new(), meanwhile).await.unwrap();
    assert!(
        done.deleted.len() > 50 && done.marked > 50 && done.left.len() > 20,
        "the boxes were hardly used"
    );
    station.check().await;

    // At rest: what came after the poll is found now, and what is missing is asked for once more.
    let last = station.backfill_voicemail().await;
    station.check().await;
    let Counts { archived, already_archived: before, missing, excluded, pending, stuck, .. } =
        message_counts(&last);
    assert_eq!((excluded, pending, stuck), (0, 0, 0), "{last:?}");
    assert_eq!(before, message_counts(&first).archived);
    let still_there = station.pbx.world(|world| world.voicemails().len());
    let deleted = done.deleted.len();
    println!(
        "{archived}+{before} archived, {missing} missing; {still_there} still there, {deleted} deleted, {} marked, \
         {} left; {} downloads",
        done.marked,
        done.left.len(),
        station.pbx.counters().downloads_ok
    );
    // Whatever is still there is archived; of the others, those that were deleted too early are missing.
    let every = usize::try_from(archived + before + missing).unwrap();
    assert!(every <= still_there + deleted);
    assert!(usize::try_from(missing).unwrap() <= deleted);
    let archived = station.archived_messages().await;
    for message in station.pbx.world(|world| world.voicemails().clone()) {
        assert!(archived.contains(&(alike(&message), message.audio.sha256())), "{message:?} is not archived");
    }
    let wrong = "select count(*) from recordings where state = 'missing' and reason <> 'deleted'";
    assert_eq!(station.value::<i64>(wrong).await, 0);
    let gone: BTreeSet<Alike> = done.deleted.iter().map(alike).collect();
    for lost in station.missing_messages().await {
        assert!(gone.contains(&lost), "{lost:?} is missing and was never deleted");
    }
    assert_eq!(station.findings("conflict").await, []);
    assert_eq!(station.findings("store_offline").await, []);
}

/// A device may not say who it is when it is asked first; its messages are those of the device that it then turns out to be.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_were_archived_before_the_serial_number_was_known_are_still_the_same() {
    let mut station = Station::with_messages(2).await;
    station.set_faults(Faults { serial_number: Some(String::new()), ..Faults::default() });
    assert_eq!(message_counts(&station.backfill_voicemail().await), Counts { archived: 2, ..NONE });
    assert_eq!(station.value::<i64>("select count(*) from pbx where sn is not null").await, 0);
    station.check().await;

    station.set_faults(Faults::default());
    station.leave("1003", 7);
    // One alike in all but its audio.
    let audio = SimAudio::pcm(2007, 7000);
    station.pbx.world(|world| {
        let twin = world.voicemails()[0].clone();
        world.leave_message(SimVoicemail { length_s: audio.seconds(), audio, ..twin });
    });
    assert_eq!(
        message_counts(&station.backfill_voicemail().await),
        Counts { archived: 2, already_archived: 2, ..NONE }
    );
    assert_eq!(station.value::<i64>("select count(*) from pbx where sn = '369392500001'").await, 1);
    station.check().await;
}
