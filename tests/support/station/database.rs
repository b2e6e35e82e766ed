//! What must hold in the database, whatever happened.

use std::collections::{BTreeMap, HashSet};

use callvault::base::digest::{Digest, hex};
use callvault::base::recording::{RecordingKind, RecordingName};
use callvault::base::salt::Salt;
use callvault::formats::tlog::leaf_hash;
use callvault::store::ledger::commitment;
use callvault::store::queue::{self, DayRange, Kinds};
use serde_json::Value;
use sqlx::{Row as _, SqlitePool};

use super::{PBX, Station};

impl Station {
    pub(super) async fn check_database(&self) {
        let db = self.database().await;
        let intact: String = sqlx::query_scalar("pragma integrity_check").fetch_one(&db).await.unwrap();
        assert_eq!(intact, "ok");
        let orphans = sqlx::query("pragma foreign_key_check").fetch_all(&db).await.unwrap();
        assert!(orphans.is_empty(), "rows point to nothing");
        check_queue(&db).await;
        check_counts(&db).await;
        let entries = check_ledger(&db).await;
        check_catalog(&db, &entries).await;
        self.check_certificates(&entries).await;
        self.check_list_entries(&entries).await;
        check_no_pincode(&db).await;
        if self.cdr_is_whole {
            self.check_accounted_for(&db).await;
        }
        db.close().await;
    }

    /// Promise 1, against the PBX's own word: each recording that a row names stands in exactly one state.
    async fn check_accounted_for(&self, db: &SqlitePool) {
        let known: Vec<Vec<u8>> =
            sqlx::query_scalar("select name from recordings").fetch_all(db).await.unwrap();
        let known: HashSet<Vec<u8>> = known.into_iter().collect();
        let (first, last) = self.days;
        for row in self.pbx.world(|world| world.rows(first, last)) {
            let name = row.recording;
            assert!(
                name.is_empty() || known.contains(&name),
                "{} is listed by the PBX and unknown",
                String::from_utf8_lossy(&name)
            );
        }
    }
}

/// Rows that break the promise that the query states.
async fn none(db: &SqlitePool, promise: &str, query: &'static str) {
    let broken: Vec<String> = sqlx::query_scalar(query).fetch_all(db).await.unwrap();
    assert!(broken.is_empty(), "{promise}: {broken:?}");
}

/// What is counted as it changes is what is there.
async fn check_counts(db: &SqlitePool) {
    const OF_CALLS: &str =
        "select pbx, day, count(*), sum(answered = 1 and recording_id is null) from calls group by pbx, day";
    const OF_RECORDINGS: &str =
        "select pbx, day, kind, state, coalesce(reason, '') as reason, final, count(*) from recordings
         group by pbx, day, kind, state, reason, final";
    for (counted, scratch) in [
        ("select pbx, day, calls, unrecorded from call_counts", OF_CALLS),
        ("select pbx, day, kind, state, reason, final, recordings from recording_counts", OF_RECORDINGS),
    ] {
        for (these, those) in [(counted, scratch), (scratch, counted)] {
            let query = format!("select pbx || ' ' || day from ({these} except {those})");
            let differ: Vec<String> =
                sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(db).await.unwrap();
            assert!(differ.is_empty(), "these are not as {those}: {differ:?}");
        }
    }
}

async fn check_queue(db: &SqlitePool) {
    none(db, "claims are left", "select path from recordings where run_id is not null").await;
    none(
        db,
        "owed, but never asked for again",
        "select path from recordings where ready = 0 and due_at_ms is null
         and (state in ('pending', 'stuck') or state = 'missing' and final = 0)",
    )
    .await;
    none(
        db,
        "settled, but still queued",
        "select path from recordings where (ready = 1 or due_at_ms is not null)
         and (state = 'excluded' or state = 'archived' and refetch <> 1)",
    )
    .await;
    none(
        db,
        "not archived, and no reason told",
        "select path from recordings where state in ('missing', 'excluded', 'stuck') and reason is null",
    )
    .await;
    none(
        db,
        "archived and in the catalog are not the same",
        "select path from recordings where (state = 'archived') <> exists
             (select 1 from archived_files where recording_id = recordings.id)",
    )
    .await;
    none(
        db,
        "a row names a recording that is not in the queue",
        "select row from calls where recording_id is null and json_extract(row, '$.recording') <> ''",
    )
    .await;
    let counts =
        queue::counts(&mut db.acquire().await.unwrap(), PBX, DayRange::ALL, Kinds::All).await.unwrap();
    let all: i64 = sqlx::query_scalar("select count(*) from recordings").fetch_one(db).await.unwrap();
    assert_eq!(counts.listed(), all);
}

/// The entries by number: from 0, without gaps, each with its leaf.
async fn check_ledger(db: &SqlitePool) -> BTreeMap<i64, Value> {
    let rows = sqlx::query("select number, entry, leaf_hash from ledger order by number").fetch_all(db).await;
    let mut entries = BTreeMap::new();
    for (expected, row) in (0..).zip(rows.unwrap()) {
        let (number, entry): (i64, String) = (row.get("number"), row.get("entry"));
        assert_eq!(number, expected, "the ledger has a gap in its numbers");
        let leaf: &[u8] = row.get("leaf_hash");
        assert_eq!(leaf, leaf_hash(entry.as_bytes()).as_bytes());
        assert_eq!(leaf, Digest::of([b"\0", entry.as_bytes()].concat()).as_bytes());
        entries.insert(number, serde_json::from_str(&entry).unwrap());
    }
    entries
}

/// Each row of the catalog has its entry, and each entry its row.
async fn check_catalog(db: &SqlitePool, entries: &BTreeMap<i64, Value>) {
    let rows = sqlx::query(
        "select archived_files.*, name, sn, salt, day, gap_number, kind from archived_files
         join recordings on recordings.id = recording_id",
    );
    let rows = rows.fetch_all(db).await.unwrap();
    for row in &rows {
        let entry = &entries[&row.get::<i64, _>("ledger_number")];
        let name = RecordingName::new(row.get::<&[u8], _>("name")).unwrap();
        let salt = Salt::try_from(row.get::<&[u8], _>("salt")).unwrap();
        let kind = match row.get("kind") {
            "voicemail" => RecordingKind::Voicemail,
            _ => RecordingKind::Call,
        };
        let named = commitment(&salt, kind, PBX, row.get("sn"), &name);
        let expected = if row.get("conflict") { "conflict" } else { "archived" };
        assert_eq!(entry["type"], expected);
        assert_eq!(entry["pbx"], PBX);
        assert_eq!(entry["day"], row.get::<&str, _>("day"));
        assert_eq!(entry["recording"], named.to_string());
        assert_eq!(entry["sha256"], hex(row.get("sha256")));
        assert_eq!(entry["sidecar_sha256"], hex(row.get("sidecar_sha256")));
        assert_eq!(entry["size_bytes"], row.get::<i64, _>("size_bytes"));
        assert_eq!(entry["gap"].as_i64(), row.get("gap_number"));
    }
    let of_type = |word: &str| entries.values().filter(|entry| entry["type"] == word).count();
    assert_eq!(of_type("archived") + of_type("conflict"), rows.len());
    let gaps: i64 =
        sqlx::query_scalar("select count(distinct gap_number) from recordings").fetch_one(db).await.unwrap();
    assert_eq!(of_type("gap") as i64, gaps);
}

async fn check_no_pincode(db: &SqlitePool) {
    none(
        db,
        "a PIN is stored",
        "select row from calls where json_extract(row, '$.pincode') <> ''
         union all select row from call_versions where json_extract(row, '$.pincode') <> ''",
    )
    .await;
}
