//! The queue on a real database: claims, waits, and that nothing is ever lost or doubled in it.

use callvault::base::recording::{RecordingKind, RecordingName};
use callvault::config::QueueOrder;
use callvault::store::db::Db;
use callvault::store::fleet;
use callvault::store::ledger;
use callvault::store::queue::{
    self, Absence, DayRange, Job, Kinds, NewRecording, PutBack, RecordingState, Redrive, Wanted,
};
use jiff::{Timestamp, ToSpan as _, civil::date};
use sqlx::{Row as _, SqliteConnection};

struct Desk {
    db: Db,
    _folder: tempfile::TempDir,
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

fn name(number: i64) -> RecordingName {
    RecordingName::new(format!("{number}.wav")).unwrap()
}

async fn enqueue(tx: &mut SqliteConnection, number: i64) -> anyhow::Result<queue::Enqueued> {
    let name = name(number);
    let paths = [format!("hq/2026/01/01/{number}.wav")];
    let recording = NewRecording {
        pbx: "hq",
        kind: RecordingKind::Call,
        sn: "1",
        name: &name,
        day: date(2026, 1, 1).checked_add((number / 1000).days())?,
        started_at: at(number),
        paths: &paths,
    };
    queue::enqueue(tx, &recording).await
}

/// Whatever is next, one at a time.
fn next() -> Wanted {
    let (days, order) = (DayRange::ALL, QueueOrder::OldestFirst);
    Wanted { pbx: "hq".to_owned(), days, kinds: Kinds::All, order, at_most: 1 }
}

async fn claim_one(
    tx: &mut SqliteConnection,
    wanted: &Wanted,
    run: &str,
    now: Timestamp,
) -> anyhow::Result<Option<Job>> {
    let mut jobs = queue::claim(tx, wanted, run, now).await?;
    assert!(jobs.len() <= 1);
    Ok(jobs.pop())
}

impl Desk {
    async fn with(recordings: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path()).await.unwrap();
        db.write(async move |tx| {
            fleet::register(tx, "hq").await?;
            for number in 0..recordings {
                assert!(enqueue(tx, number).await?.new);
            }
            Ok(())
        })
        .await
        .unwrap();
        Self { db, _folder: folder }
    }

    async fn claim(&self, run: &'static str, now: Timestamp) -> Option<Job> {
        self.claim_in(run, DayRange::ALL, QueueOrder::OldestFirst, now).await
    }

    async fn claim_in(
        &self,
        run: &'static str,
        days: DayRange,
        order: QueueOrder,
        now: Timestamp,
    ) -> Option<Job> {
        let wanted = Wanted { days, order, ..next() };
        self.db.write(async move |tx| claim_one(tx, &wanted, run, now).await).await.unwrap()
    }

    async fn put_back(&self, job: &Job, how: PutBack) -> anyhow::Result<()> {
        let job = job.clone();
        self.db.write(async move |tx| queue::put_back(tx, &job, "run", &how).await).await
    }

    async fn counts(&self) -> callvault::base::counts::Counts {
        queue::counts(&mut self.db.read().await.unwrap(), "hq", DayRange::ALL, Kinds::All).await.unwrap()
    }
}

fn retry(reason: &str, due_at: Timestamp) -> PutBack {
    PutBack::Retry { reason: reason.into(), due_at, misfit: None }
}

#[tokio::test]
async fn the_oldest_is_served_first_and_each_only_once() {
    let desk = Desk::with(50).await;
    for number in 0..50 {
        assert_eq!(desk.claim("run", at(100)).await.unwrap().name, name(number));
    }
    assert!(desk.claim("run", at(100)).await.is_none());
}

#[tokio::test]
async fn the_newest_is_served_first_if_the_operator_says_so() {
    let desk = Desk::with(5).await;
    let job = desk.claim_in("run", DayRange::ALL, QueueOrder::NewestFirst, at(100)).await.unwrap();
    assert_eq!(job.name, name(4));
}

#[tokio::test]
async fn only_the_days_asked_for_are_claimed() {
    let desk = Desk::with(3000).await;
    let second = DayRange { from: date(2026, 1, 2), to: date(2026, 1, 2) };
    let job = desk.claim_in("run", second, QueueOrder::OldestFirst, at(0)).await.unwrap();
    assert_eq!(job.name, name(1000));
}

#[tokio::test]
async fn only_the_kinds_asked_for_are_claimed_counted_and_made_due() {
    let desk = Desk::with(1).await;
    let message = RecordingName::new("1003/2026-01-01 12:00:00/1/9").unwrap();
    let paths = ["hq/voicemail/2026/01/01/120000-1003-1-9~0123456789abcdef.wav".to_owned()];
    let claimed = desk
        .db
        .write(async move |tx| {
            let kind = RecordingKind::Voicemail;
            let (day, started_at) = (date(2026, 1, 1), at(0));
            let recording =
                NewRecording { pbx: "hq", kind, sn: "1", name: &message, day, started_at, paths: &paths };
            queue::enqueue(tx, &recording).await?;
            let (all, calls) = (DayRange::ALL, Wanted { kinds: Kinds::Calls, ..next() });
            let call = claim_one(tx, &calls, "run", at(0)).await?.unwrap();
            assert!(claim_one(tx, &calls, "run", at(0)).await?.is_none());
            assert!(!queue::may_claim(tx, "hq", all, Kinds::Calls, at(0)).await?);
            assert!(queue::may_claim(tx, "hq", all, Kinds::Voicemail, at(0)).await?);
            let message = claim_one(tx, &next(), "run", at(0)).await?.unwrap();
            for job in [&call, &message] {
                queue::put_back(tx, job, "run", &retry("reset", at(50 + i64::from(job.id == call.id))))
                    .await?;
            }
            assert_eq!(queue::next_due(tx, "hq", all, Kinds::Calls).await?, Some(at(51)));
            assert_eq!(queue::next_due(tx, "hq", all, Kinds::Voicemail).await?, Some(at(50)));
            assert_eq!(queue::make_due(tx, "hq", all, Kinds::Voicemail, at(0)).await?, 1);
            for (kinds, pending) in [(Kinds::Calls, 1), (Kinds::Voicemail, 1), (Kinds::All, 2)] {
                assert_eq!(queue::counts(tx, "hq", all, kinds).await?.pending, pending);
            }
            Ok([call.kind, message.kind])
        })
        .await
        .unwrap();
    assert_eq!(claimed, [RecordingKind::Call, RecordingKind::Voicemail]);
}

#[tokio::test]
async fn a_recording_that_is_known_is_not_queued_again() {
    let desk = Desk::with(1).await;
    let again = desk.db.write(async move |tx| enqueue(tx, 0).await).await.unwrap();
    assert!(!again.new);
    assert_eq!(desk.counts().await.listed(), 1);
}

#[tokio::test]
async fn a_failure_waits_and_counts_and_comes_back() {
    let desk = Desk::with(1).await;
    let job = desk.claim("run", at(0)).await.unwrap();
    desk.put_back(&job, retry("reset", at(30))).await.unwrap();
    assert!(desk.claim("run", at(29)).await.is_none());
    let job = desk.claim("run", at(30)).await.unwrap();
    assert_eq!((job.attempts, job.reason.as_deref(), job.reason_attempts), (1, Some("reset"), 1));
    desk.put_back(&job, retry("stall", at(40))).await.unwrap();
    let job = desk.claim("run", at(40)).await.unwrap();
    assert_eq!((job.attempts, job.reason.as_deref(), job.reason_attempts), (2, Some("stall"), 1));
}

#[tokio::test]
async fn what_costs_no_attempt_leaves_no_trace() {
    let desk = Desk::with(1).await;
    let job = desk.claim("run", at(0)).await.unwrap();
    desk.put_back(&job, PutBack::Unclaimed).await.unwrap();
    let again = desk.claim("run", at(0)).await.unwrap();
    assert_eq!((again.attempts, again.reason), (0, None));
}

#[tokio::test]
async fn a_claim_of_a_dead_run_is_released_and_cannot_be_settled_by_it() {
    let desk = Desk::with(1).await;
    let job = desk.claim("run", at(0)).await.unwrap();
    let paths = queue::claimed_paths(&mut desk.db.read().await.unwrap()).await.unwrap();
    assert_eq!(paths, ["hq/2026/01/01/0.wav"]);
    desk.db.write(async move |tx| queue::recover(tx, at(1)).await).await.unwrap();
    desk.put_back(&job, retry("reset", at(30))).await.unwrap_err();
    assert_eq!(desk.claim("next run", at(1)).await.unwrap().attempts, 0);
}

#[tokio::test]
async fn a_wait_that_a_wrong_clock_set_ends_at_the_next_start() {
    let desk = Desk::with(1).await;
    let job = desk.claim("run", at(0)).await.unwrap();
    desk.put_back(&job, retry("reset", at(365 * 86_400))).await.unwrap();
    desk.db.write(async move |tx| queue::recover(tx, at(1)).await).await.unwrap();
    assert!(desk.claim("run", at(1)).await.is_some());
}

#[tokio::test]
async fn only_a_wait_that_is_longer_than_any_can_be_ends() {
    let desk = Desk::with(2).await;
    for hours in [47, 49] {
        let job = desk.claim("run", at(0)).await.unwrap();
        desk.put_back(&job, retry("reset", at(hours * 3600))).await.unwrap();
    }
    desk.db.write(async move |tx| queue::recover(tx, at(0)).await).await.unwrap();
    assert_eq!(desk.claim("run", at(0)).await.unwrap().name, name(1));
    assert!(desk.claim("run", at(0)).await.is_none());
}

#[test]
fn days_that_sort_as_text_bound_a_range_and_the_rest_is_written_so_that_it_does() {
    assert_eq!(DayRange::ALL.bounds(), ("0000".into(), "9999-99-99".into()));
    let some = DayRange { from: date(2026, 2, 3), to: date(2026, 11, 30) };
    assert_eq!(some.bounds(), ("2026-02-03".into(), "2026-11-30".into()));
    assert_eq!(DayRange { from: date(-1, 1, 1), to: date(0, 1, 1) }.bounds().0, "0000");
}

#[tokio::test]
async fn a_serial_number_goes_to_all_that_nobody_was_told_of() {
    let desk = Desk::with(0).await;
    let named = desk.db.write(async move |tx| {
        for (number, sn) in [(0, ""), (1, ""), (2, "other")] {
            let (name, paths) = (name(number), [format!("hq/2026/01/01/{number}.wav")]);
            let recording = NewRecording {
                pbx: "hq",
                kind: RecordingKind::Call,
                sn,
                name: &name,
                day: date(2026, 1, 1),
                started_at: at(number),
                paths: &paths,
            };
            queue::enqueue(tx, &recording).await?;
        }
        // The first is on its way into the archive.
        claim_one(tx, &next(), "run", at(0)).await?;
        queue::assign_serial_number(tx, "hq", "3631A").await?;
        Ok(sqlx::query_scalar::<_, String>("select sn from recordings order by id").fetch_all(tx).await?)
    });
    assert_eq!(named.await.unwrap(), ["", "3631A", "other"]);
}

#[tokio::test]
async fn what_is_claimed_and_what_is_owed_and_old_is_known() {
    let desk = Desk::with(1002).await;
    let [first, second] = [date(2026, 1, 1), date(2026, 1, 2)].map(|day| DayRange { from: day, to: day });
    desk.claim_in("run", second, QueueOrder::OldestFirst, at(0)).await.unwrap();
    let mut db = desk.db.read().await.unwrap();
    let mut claimed = Vec::new();
    for (pbx, days) in [("hq", first), ("hq", second), ("hq", DayRange::ALL), ("other", second)] {
        claimed.push(queue::any_claimed(&mut db, pbx, days).await.unwrap());
    }
    assert_eq!(claimed, [false, true, true, false]);
    let mut owed = Vec::new();
    for (pbx, before) in [("hq", at(0)), ("hq", at(2)), ("hq", at(5000)), ("other", at(5000))] {
        owed.push(queue::owed_before(&mut db, pbx, before).await.unwrap());
    }
    assert_eq!(owed, [0, 2, 1002, 0]);
}

#[tokio::test]
async fn a_recording_that_is_told_as_archived_is_owed_no_more() {
    let desk = Desk::with(2).await;
    let path = desk.db.write(async move |tx| {
        let id = sqlx::query_scalar("select max(id) from recordings").fetch_one(&mut *tx).await?;
        queue::restore_archived(tx, id).await
    });
    assert_eq!(path.await.unwrap(), "hq/2026/01/01/1.wav");
    assert_eq!(desk.claim("run", at(0)).await.unwrap().name, name(0));
    assert!(desk.claim("run", at(0)).await.is_none());
    assert_eq!(desk.counts().await.archived, 1);
}

#[tokio::test]
async fn stuck_and_missing_are_shown_never_dropped_and_come_back_by_hand() {
    let desk = Desk::with(3).await;
    let [stuck, gone] = [desk.claim("run", at(0)).await.unwrap(), desk.claim("run", at(0)).await.unwrap()];
    desk.put_back(&stuck, PutBack::Stuck { reason: "html_body".into(), due_at: at(86_400), misfit: None })
        .await
        .unwrap();
    let absence = Absence { since: at(0), asked_at: at(0), answers: 6 };
    let missing = PutBack::Absent {
        state: RecordingState::Missing,
        reason: "missing",
        absence,
        due_at: None,
        gap_number: None,
    };
    desk.put_back(&gone, missing).await.unwrap();
    let counts = desk.counts().await;
    assert_eq!((counts.stuck, counts.missing, counts.missing_final, counts.pending), (1, 1, 1, 1));
    assert_eq!(counts.listed(), 3);

    let all = Redrive::default();
    let redriven = desk.db.write(async move |tx| queue::redrive(tx, &all).await).await;
    let redriven = redriven.unwrap();
    let day = date(2026, 1, 1);
    assert_eq!((redriven.count, redriven.pbx), (3, vec!["hq".to_owned()]));
    assert_eq!(redriven.days, Some(DayRange { from: day, to: day }));
    assert_eq!(redriven.changed, [("hq".to_owned(), day)]);
    assert_eq!(desk.claim("run", at(9)).await.unwrap().name, name(0));
    assert_eq!(desk.claim("run", at(9)).await.unwrap().state, RecordingState::Missing);
}

#[tokio::test]
async fn what_is_stuck_is_asked_for_again_a_day_later_and_not_by_a_backfill() {
    let desk = Desk::with(1).await;
    let job = desk.claim("run", at(0)).await.unwrap();
    let stuck = || PutBack::Stuck { reason: "html_body".into(), due_at: at(86_400), misfit: None };
    desk.put_back(&job, stuck()).await.unwrap();
    let make_due = async || {
        let (all, kinds) = (DayRange::ALL, Kinds::All);
        desk.db.write(async move |tx| queue::make_due(tx, "hq", all, kinds, at(10)).await).await.unwrap()
    };
    assert_eq!(make_due().await, 0);
    assert!(desk.claim("run", at(86_399)).await.is_none());
    let job = desk.claim("run", at(86_400)).await.unwrap();
    assert_eq!(job.state, RecordingState::Stuck);
    desk.put_back(&job, stuck()).await.unwrap();
    assert_eq!(desk.counts().await.stuck, 1);
    // By another reason it may be mended, and is owed as before.
    let job = desk.claim("run", at(86_400)).await.unwrap();
    desk.put_back(&job, retry("reset", at(90_000))).await.unwrap();
    assert_eq!((desk.counts().await.stuck, desk.counts().await.pending), (0, 1));
}

#[tokio::test]
async fn several_are_claimed_at_once_in_the_order_of_one_by_one() {
    for order in [QueueOrder::OldestFirst, QueueOrder::NewestFirst] {
        let (at_once, by_one) = (Desk::with(7).await, Desk::with(7).await);
        let wanted = Wanted { order, at_most: 4, ..next() };
        let mut claimed = Vec::new();
        for count in [4, 3, 0] {
            let wanted = wanted.clone();
            let jobs = at_once.db.write(async move |tx| queue::claim(tx, &wanted, "run", at(0)).await);
            let jobs = jobs.await.unwrap();
            assert_eq!(jobs.len(), count, "{order:?}");
            claimed.extend(jobs.into_iter().map(|job| job.id));
        }
        for id in claimed {
            let job = by_one.claim_in("run", DayRange::ALL, order, at(0)).await.unwrap();
            assert_eq!(job.id, id, "{order:?}");
        }
    }
}

#[tokio::test]
async fn what_failed_last_is_not_first_again() {
    let desk = Desk::with(2).await;
    let first = desk.claim("run", at(0)).await.unwrap();
    desk.put_back(&first, PutBack::Postponed { due_at: at(1) }).await.unwrap();
    let second = desk.claim("run", at(0)).await.unwrap();
    assert_ne!(first.name, second.name);
    desk.put_back(&second, retry("reset", at(1000))).await.unwrap();
    let again = desk.claim("run", at(1)).await.unwrap();
    assert_eq!((again.name, again.attempts, again.reason), (first.name, 0, None), "it cost nothing");
}

#[tokio::test]
async fn attempts_that_the_pbx_is_to_blame_for_are_given_back() {
    let desk = Desk::with(2).await;
    let [stuck, waits] = [desk.claim("run", at(0)).await.unwrap(), desk.claim("run", at(0)).await.unwrap()];
    let ids = [stuck.id, waits.id];
    desk.put_back(&waits, retry("timeout", at(1000))).await.unwrap();
    let due_at = at(86_400);
    desk.put_back(&stuck, PutBack::Stuck { reason: "timeout".into(), due_at, misfit: None }).await.unwrap();
    let given_back = desk
        .db
        .write(async move |tx| {
            let other = queue::give_back(tx, ids[1], "reset", 1, at(5)).await?;
            let [stuck, waits] = [
                queue::give_back(tx, ids[0], "timeout", 1, at(5)).await?,
                queue::give_back(tx, ids[1], "timeout", 7, at(5)).await?,
            ];
            Ok([other, stuck, waits])
        })
        .await
        .unwrap();
    assert_eq!(given_back, [false, true, false], "whether it is stuck no more");
    assert_eq!(desk.counts().await.pending, 2);
    let again = desk.claim("run", at(5)).await.unwrap();
    assert_eq!((again.id, again.attempts, again.reason_attempts), (ids[0], 1, 0));
    assert!(desk.claim("run", at(999)).await.is_none());
    assert_eq!(desk.claim("run", at(1000)).await.unwrap().reason_attempts, 0);
}

#[tokio::test]
async fn what_is_not_archived_is_told_by_why_the_most_first() {
    let desk = Desk::with(8).await;
    let stuck = || PutBack::Stuck { reason: "html_body".into(), due_at: at(86_400), misfit: None };
    let missing = |due_at: Option<Timestamp>| PutBack::Absent {
        state: RecordingState::Missing,
        reason: "missing",
        absence: Absence { since: at(0), asked_at: at(0), answers: 6 },
        due_at,
        gap_number: None,
    };
    let waits = || retry("reset", at(1000));
    let ends = [stuck(), stuck(), missing(None), missing(Some(at(1000))), missing(None), waits(), waits()];
    for how in ends {
        let job = desk.claim("run", at(0)).await.unwrap();
        desk.put_back(&job, how).await.unwrap();
    }
    let excluded = desk.db.write(async move |tx| {
        for number in [8, 9, 10, 11] {
            let id = enqueue(tx, number).await?.id;
            queue::exclude(tx, id, if number == 8 { "agents" } else { "internal" }).await?;
        }
        Ok(())
    });
    excluded.await.unwrap();
    let mut db = desk.db.read().await.unwrap();
    let groups = queue::unarchived(&mut db).await.unwrap();
    let counts = queue::counted(groups.iter());
    assert_eq!((counts.stuck, counts.missing, counts.missing_final, counts.pending), (2, 3, 2, 3));
    assert_eq!((counts.excluded, counts.archived), (4, 0));
    let told = queue::reasons_of(&mut db, groups.iter()).await.unwrap();
    let told: Vec<_> =
        told.iter().map(|it| (it.state.as_str(), &*it.reason, it.count, &*it.example)).collect();
    let expected = [
        ("excluded", "internal", 3, "9.wav"),
        ("missing", "missing", 3, "3.wav"),
        ("pending", "reset", 2, "5.wav"),
        ("stuck", "html_body", 2, "0.wav"),
        ("excluded", "agents", 1, "8.wav"),
        ("pending", "waiting", 1, "7.wav"),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_rule_tells_whether_it_changed_anything() {
    let desk = Desk::with(1).await;
    let id = desk.claim("run", at(0)).await.unwrap().id;
    let changed = desk.db.write(async move |tx| {
        Ok([
            queue::exclude(tx, id, "internal").await?,
            queue::exclude(tx, id, "internal").await?,
            queue::exclude(tx, id, "agents").await?,
            queue::include(tx, id).await?,
            queue::include(tx, id).await?,
        ])
    });
    assert_eq!(changed.await.unwrap(), [true, false, true, true, false]);
}

#[tokio::test]
async fn a_unit_that_fails_leaves_nothing_and_harms_no_other() {
    let desk = Desk::with(1).await;
    let failing = desk.db.write::<(), _>(async move |tx| {
        enqueue(tx, 7).await?;
        anyhow::bail!("changed my mind")
    });
    let working = desk.db.write(async move |tx| enqueue(tx, 8).await);
    let (failed, worked) = tokio::join!(failing, working);
    assert_eq!(failed.unwrap_err().to_string(), "changed my mind");
    assert!(worked.unwrap().new);
    assert_eq!(desk.counts().await.listed(), 2);
}

#[tokio::test]
async fn ledger_entries_are_numbered_from_zero_without_gaps_and_stay() {
    let desk = Desk::with(0).await;
    for expected in 0..3 {
        let number = desk.db.write(async move |tx| {
            ledger::append(tx, &ledger::Entry::new(ledger::EntryType::Gap, at(0)).with("pbx", "hq")).await
        });
        assert_eq!(number.await.unwrap(), expected);
    }
    let change = desk
        .db
        .write(async move |tx| Ok(sqlx::query("delete from ledger").execute(tx).await?.rows_affected()));
    assert!(change.await.unwrap_err().to_string().contains("append-only"));
}

/// Claims and forecasts must cost the same with a thousand rows and with a million: they walk down an index and never
/// sort.
#[tokio::test]
async fn claims_and_forecasts_use_an_index_in_its_order() {
    let desk = Desk::with(10).await;
    let mut db = desk.db.read().await.unwrap();
    for (plan, index) in [
        (
            "explain query plan select id from recordings where pbx = 'hq' and ready = 1
             and day between '0' and '9' order by day, started_at_ms, id limit 1",
            "recordings_ready",
        ),
        (
            "explain query plan select id from recordings where pbx = 'hq' and due_at_ms <= 5
             order by due_at_ms limit 64",
            "recordings_due",
        ),
        ("explain query plan select path from recordings where run_id is not null", "recordings_claimed"),
        (
            "explain query plan select min(started_at_ms) from recordings
             where pbx = 'hq' and kind = 'call' and state in ('pending', 'stuck') and day = '2026-03-02'",
            "recordings_of_day",
        ),
        (
            "explain query plan select min(day) from recording_counts
             where pbx = 'hq' and kind = 'call' and state in ('pending', 'stuck')",
            "recording_counts",
        ),
        (
            "explain query plan select pbx, kind, state, reason, final, sum(recordings), min(day) from recording_counts
             where state <> 'archived' group by pbx, kind, state, reason, final",
            "COVERING INDEX recording_counts_unarchived",
        ),
        (
            "explain query plan select id from recordings where pbx = 'hq' and day between '0' and '9'
             and state = 'archived' and kind = 'call' order by day desc limit 500",
            "recordings_of_day",
        ),
        ("explain query plan select min(day) from calls where pbx = 'hq'", "COVERING INDEX calls_of_day"),
    ] {
        let steps = sqlx::query(plan).fetch_all(&mut *db).await.unwrap();
        let steps: Vec<String> = steps.iter().map(|row| row.get("detail")).collect();
        assert!(steps.iter().all(|step| step.contains(index) && !step.contains("TEMP")), "{steps:?}");
    }
}
