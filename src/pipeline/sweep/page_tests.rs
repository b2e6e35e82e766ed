use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::date;
use proptest::prelude::*;

use super::*;
use crate::formats::cdr::{CdrItem, CdrReader};
use crate::store::db::Db;

/// Few calls, recordings and versions, so that many rows are of one; the names are alike but for case.
fn line() -> impl Strategy<Value = String> {
    (0..6_u8, 0..3_u8, any::<bool>()).prop_map(|(call, talk_s, shows_sn)| {
        let recording = ["a.wav", "A.wav", ""][usize::from(call % 3)];
        let sn = if shows_sn { "7" } else { "" };
        format!("1767348000.{call},2026-01-02 10:00:0{call},6000,1001,{talk_s},ANSWERED,{recording},{sn}\n")
    })
}

fn placed(lines: &[String]) -> Vec<PlacedRow> {
    let mut reader = CdrReader::new(&BTreeMap::new());
    reader.push(b"callid,timestart,callfrom,callto,talkduraction,status,recording,sn\n");
    lines.iter().for_each(|line| reader.push(line.as_bytes()));
    reader.finish();
    let items = std::iter::from_fn(|| reader.next_item().unwrap());
    let rows = items.map(|item| match item {
        CdrItem::Row(row) => *row,
        CdrItem::BadRow(bad) => panic!("{bad:?}"),
    });
    let mut resolver = OffsetResolver::new(Some(jiff::tz::TimeZone::UTC), None);
    place(rows.collect(), &mut resolver, &mut Fallback::Asked(date(2026, 1, 2)))
}

/// What is in the database after `rows`, stored so many at a time; ids and salts left out.
async fn stored(rows: &[PlacedRow], at_a_time: usize) -> (Vec<String>, [u64; 2], i64) {
    const TABLES: &str = "select 'call ' || hex(calls.identity) || hex(version) || calls.day || absent || row || coalesce(path, '-')
             from calls left join recordings on recordings.id = recording_id
         union all select 'version ' || hex(call_versions.version) || call_versions.row || hex(identity)
             from call_versions join calls on calls.id = call_id
         union all select 'recording ' || sn || hex(name) || day || started_at_ms || path || ready || length(salt)
             from recordings
         union all select 'intake ' || rows || ' ' || bytes from intake order by 1";
    let state = tempfile::tempdir().unwrap();
    let db = Db::open(state.path()).await.unwrap();
    db.write(async |tx| fleet::register(tx, "hq").await).await.unwrap();
    let facts = ReadingFacts {
        pbx: "hq".to_owned(),
        reading: 3,
        read_by: Digest::default(),
        day: date(2026, 1, 2),
        rules: Arc::default(),
        now: Timestamp::UNIX_EPOCH,
        limits: Some(PbxLimits::default()),
    };
    let (mut added, mut new_recordings, mut of_day) = (0, 0, 0);
    let mut seen = BTreeSet::new();
    for page in rows.chunks(at_a_time) {
        let (page, facts) = (page.to_vec(), facts.clone());
        let repeated: Vec<bool> = page.iter().map(|placed| !seen.insert(placed.call.identity)).collect();
        let stored = async move |tx: &mut _| facts.store(tx, &page, &repeated, None).await;
        let page = db.write(stored).await.unwrap();
        of_day += page.calls_of_day;
        added += page.added.values().sum::<u64>();
        new_recordings += page.new_recordings;
    }
    let mut db = db.read().await.unwrap();
    (sqlx::query_scalar(TABLES).fetch_all(&mut *db).await.unwrap(), [added, new_recordings], of_day)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_page_leaves_what_its_rows_leave_one_by_one(
        lines in prop::collection::vec(line(), 1..40),
        at_a_time in 2..40_usize,
    ) {
        let rows = placed(&lines);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let [one_by_one, in_pages] = [1, at_a_time].map(|at_a_time| runtime.block_on(stored(&rows, at_a_time)));
        let calls: BTreeSet<_> = rows.iter().map(|placed| placed.call.identity).collect();
        prop_assert_eq!(one_by_one.2, i64::try_from(calls.len()).unwrap());
        prop_assert_eq!(one_by_one, in_pages);
    }
}

#[tokio::test]
async fn a_call_whose_recording_nobody_noted_is_put_into_the_queue_when_it_is_seen_again() {
    let state = tempfile::tempdir().unwrap();
    let db = Db::open(state.path()).await.unwrap();
    db.write(async |tx| fleet::register(tx, "hq").await).await.unwrap();
    let line = "1767348000.1,2026-01-02 10:00:01,6000,1001,5,ANSWERED,a.wav,7\n".to_owned();
    let (rules, now, limits) = (Arc::default(), Timestamp::UNIX_EPOCH, None);
    let day = date(2026, 1, 2);
    let (pbx, read_by) = ("hq".to_owned(), Digest::default());
    let facts = ReadingFacts { pbx, reading: 3, read_by, day, rules, now, limits };
    let stored = db
        .write(async move |tx| {
            let rows = placed(&[line]);
            facts.store(tx, &rows, &[false], None).await?;
            sqlx::query("update calls set recording_id = null").execute(&mut *tx).await?;
            sqlx::query("delete from recordings").execute(&mut *tx).await?;
            facts.store(tx, &rows, &[true], None).await
        })
        .await
        .unwrap();
    assert_eq!((stored.added.into_values().sum::<u64>(), stored.new_recordings), (0, 1));
}
