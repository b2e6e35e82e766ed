//! What the PBX listed of a day against what became of it.

use callvault::base::counts::Counts;
use callvault::config::ExclusionRule;
use callvault::proof::reconcile::{self, DayAccount};
use callvault::simulator::{Faults, SimAudio};
use callvault::store::db::Db;
use callvault::store::findings::FindingKind;
use callvault::store::queue::DayRange;
use jiff::ToSpan as _;
use jiff::civil::Date;

use crate::support::station::{NONE, PBX, Station, TODAY, noon, without_bytes};

/// The account of a day, read as the command reads it.
pub(super) async fn account(station: &Station, day: Date) -> DayAccount {
    let db = station.database().await;
    reconcile::account(&mut db.acquire().await.unwrap(), PBX, day, 100).await.unwrap()
}

/// How many the PBX listed, and what became of them.
pub(super) fn counts(account: &DayAccount) -> (i64, Counts) {
    (account.listed, without_bytes(account.counts))
}

/// Changes the database behind the program's back.
pub(super) async fn tamper(station: &Station, statement: &'static str) {
    let db = Db::open(&station.config.state.path).await.unwrap();
    db.write(async move |tx| {
        sqlx::query(statement).execute(tx).await?;
        Ok(())
    })
    .await
    .unwrap();
}

/// One recording in each state on the last day, and calls without one.
pub(super) async fn one_of_each() -> Station {
    let mut station = Station::new(0).await;
    station.config.exclude = vec![ExclusionRule {
        name: "agents".into(),
        extension: vec!["1009".into()],
        ..ExclusionRule::default()
    }];
    station.config.queue.attempts_max = 1;
    station.add_call("stuck.wav", 0);
    station.set_faults(Faults { html_200: 1.0, ..Faults::default() });
    station.backfill().await;
    station.set_faults(Faults::default());
    for (minute, name) in (1..).zip(["archived.wav", "missing.wav", "pending.wav"]) {
        station.add_call(name, minute);
    }
    let mut excluded = station.call("excluded.wav", 10);
    excluded.callfrom = "1009".into();
    let mut unrecorded = station.call("", 11);
    (unrecorded.recording, unrecorded.audio) = (Vec::new(), None);
    let mut unanswered = unrecorded.clone();
    (unanswered.callid, unanswered.status, unanswered.talk_duration_s) =
        ("1710417000.99".into(), "NO ANSWER".into(), 0);
    station.pbx.world(|world| {
        world.add_call(excluded);
        world.add_call(unrecorded);
        world.add_call(unanswered);
        world.delete_audio(b"missing.wav");
        // A header without audio yet, for a call with talk time: not ready.
        world.replace_audio(b"pending.wav", SimAudio::empty_wav());
    });
    station
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_each_recording_adds_up_to_what_was_listed() {
    let mut station = one_of_each().await;
    station.backfill().await;
    let account = self::account(&station, TODAY).await;
    assert_eq!(
        counts(&account),
        (5, Counts { archived: 1, missing: 1, excluded: 1, pending: 1, stuck: 1, ..NONE }),
        "{account:?}"
    );
    assert!(account.sums && !account.complete);
    assert_eq!((account.calls.rows, account.calls.answered, account.unrecorded.count), (7, 6, 1));
    let unarchived: Vec<_> = account
        .unarchived
        .items
        .iter()
        .map(|one| (one.path.rsplit('/').next().unwrap(), one.state.as_str()))
        .collect();
    assert_eq!(
        unarchived,
        [
            ("stuck.wav", "stuck"),
            ("missing.wav", "missing"),
            ("pending.wav", "pending"),
            ("excluded.wav", "excluded")
        ]
    );
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_counts_on_the_day_that_named_it_first_however_many_rows_name_it() {
    let mut station = Station::new(0).await;
    let mut first = station.call("shared.wav", 0);
    first.start -= 48.hours();
    let mut transferred = first.clone();
    (transferred.start, transferred.callto, transferred.call_type) =
        (first.start + 9.seconds(), "1007".into(), "Transfer".into());
    transferred.audio = None;
    let mut later = first.clone();
    (later.start, later.callid, later.audio) = (noon(TODAY), "1710417000.7".into(), None);
    station.pbx.world(|world| [first, transferred, later].map(|call| world.add_call(call)));
    station.backfill().await;
    let (early, late) =
        (account(&station, jiff::civil::date(2024, 3, 12)).await, account(&station, TODAY).await);
    assert_eq!(
        (counts(&early), early.calls.rows, early.calls.counted_elsewhere),
        ((1, Counts { archived: 1, ..NONE }), 2, 0)
    );
    assert_eq!((counts(&late), late.calls.rows, late.calls.counted_elsewhere), ((0, NONE), 1, 1));
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contradictions_are_named_and_the_numbers_do_not_add_up() {
    let mut station = Station::new(0).await;
    for minute in 0..4 {
        station.add_call(&format!("{minute}.wav"), minute);
    }
    station.backfill().await;
    tamper(
        &station,
        "update recordings set state = 'pending', due_at_ms = 1 where name = cast('0.wav' as blob)",
    )
    .await;
    tamper(
        &station,
        "insert into recordings (pbx, kind, sn, name, day, started_at_ms, path, salt, state)
         select 'hq', 'call', '', cast('x.wav' as blob), '2024-03-14', 0, 'hq/2024/03/14/x.wav', zeroblob(32), 'archived'",
    )
    .await;
    tamper(
        &station,
        "update calls set recording_id = (select max(id) from recordings) where recording_id = 2",
    )
    .await;
    tamper(&station, "update calls set recording_id = null where recording_id = 3").await;
    let account = self::account(&station, TODAY).await;
    assert_eq!(counts(&account), (4, Counts { archived: 1, ..NONE }));
    assert!(!account.sums && !account.complete);
    let kinds: Vec<&str> =
        account.differences.items.iter().map(|difference| difference.kind.as_str()).collect();
    assert_eq!(kinds, ["archived_without_file", "file_without_archived", "unqueued"]);
    // Two whose rows lead elsewhere now are in the archive, and no row names them.
    assert_eq!(account.unnamed.count, 2, "{account:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_pbx_forgets_are_kept_and_told() {
    let mut station = Station::new(0).await;
    station.add_call("kept.wav", 0);
    station.add_call("forgotten.wav", 1);
    station.backfill().await;
    station.pbx.world(|world| world.remove_rows(b"forgotten.wav"));
    station.backfill().await;
    let forgotten = account(&station, TODAY).await;
    assert_eq!((counts(&forgotten), forgotten.calls.vanished), ((2, Counts { archived: 2, ..NONE }), 1));
    assert_eq!(forgotten.vanished.items[0].path, "hq/2024/03/14/forgotten.wav");
    assert_eq!(forgotten.findings.by.keys().collect::<Vec<_>>(), [&FindingKind::CdrShrank]);
    assert!(forgotten.complete, "it is archived all the same");
    station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_next_reading_shows_to_be_mended_is_told_no_more() {
    let mut station = Station::new(12).await;
    station.set_faults(Faults { cdr_broken: 1.0, ..Faults::default() });
    station.cdr_is_whole = false;
    station.backfill().await;
    let mut doubtful = 0;
    for day in reconcile_days(&station).await {
        doubtful += u32::from(account(&station, day).await.is_doubtful());
    }
    assert!(doubtful > 0, "{:?}", station.findings("bad_row").await);
    station.set_faults(Faults { cdr_missing: 0.5, ..Faults::default() });
    station.backfill().await;
    station.set_faults(Faults::default());
    station.cdr_is_whole = true;
    station.backfill().await;
    for day in reconcile_days(&station).await {
        let account = self::account(&station, day).await;
        assert!(account.complete && account.findings.by.is_empty(), "{account:?}");
    }
    station.check().await;
}

async fn reconcile_days(station: &Station) -> Vec<Date> {
    let db = station.database().await;
    reconcile::known_days(&mut db.acquire().await.unwrap(), PBX, DayRange::ALL, 100).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_days_are_known_whatever_told_of_them() {
    let mut station = Station::new(9).await;
    station.backfill().await;
    tamper(&station, "delete from days where day = '2024-03-13'").await;
    tamper(
        &station,
        "insert into recordings (pbx, kind, sn, name, day, started_at_ms, path, salt, due_at_ms)
         values ('hq', 'voicemail', '', x'61', '2024-01-02', 0, 'hq/voicemail/2024/01/02/a.wav', zeroblob(32), 1)",
    )
    .await;
    let day = |text: &str| text.parse::<Date>().unwrap();
    let all = ["2024-01-02", "2024-03-12", "2024-03-13", "2024-03-14"].map(day);
    assert_eq!(reconcile_days(&station).await, all);
    let db = station.database().await;
    let range = DayRange { from: day("2024-03-01"), to: day("2024-03-13") };
    let some = reconcile::known_days(&mut db.acquire().await.unwrap(), PBX, range, 1).await.unwrap();
    assert_eq!(some, [day("2024-03-13")]);
    let account = self::account(&station, day("2024-03-13")).await;
    assert!(account.is_unread() && !account.complete && account.sums, "{account:?}");
    let voicemail = self::account(&station, day("2024-01-02")).await;
    assert_eq!((voicemail.listed, voicemail.voicemail.pending), (0, 1));
}
