//! What a user can see of a database, and what may differ after a rebuild, each with its reason.

use std::collections::BTreeMap;

use sqlx::SqlitePool;

/// The tables, each as rows of text that hold no row numbers: those are bookkeeping, and say nothing to anybody.
///
/// Left out, because no file of the archive tells it, and why that is no loss:
/// - of recordings: `reason_attempts`, `absent_*`, `misfit_*` (a count that begins anew only asks once more), `ready`,
///   `due_at_ms`, `run_id` (what is owed is due at once, and nothing is claimed), `told`; and the attempts of one that
///   was fetched once more with the same bytes, which leaves no trace;
/// - of calls: `reading` (no reading is remembered); of earlier versions `replaced_at_ms`;
/// - of days: `readings`, `last_read_at_ms`, and that one without a certificate had settled: it is read again, twice;
/// - of messages: `status` of one that was never fetched, `first_seen_at_ms` and `last_seen_at_ms`;
/// - of the device: refused passwords, troubles, pauses, when it was last asked and answered;
/// - earlier checkpoints, and when the last one was signed: none tells its time;
/// - anchors, which the service finds in the ledger's folder at its start; what verification has read, which it reads again;
/// - the entry that tells of the rebuild itself;
/// - how far webhooks were delivered to: they are given all again, from `after` on, under the same numbers;
/// - `findings`, `readings`, `jobs`, `service`, `requests`, `alerts`, `outbox`: the history of callvault's own work.
const TABLES: [(&str, &str); 16] = [
    (
        "recordings",
        "select json_array(pbx, kind, sn, hex(name), day, started_at_ms, path, hex(salt), state, reason, final,
             case refetch when 2 then null else attempts end, gap_number, refetch) from recordings",
    ),
    (
        "archived_files",
        "select json_array(format('%08d', file.id), recordings.path, file.path, folder, size_bytes, hex(sha256),
             hex(sidecar_sha256), format, duration_ms, suspect, conflict, archived_at_ms, ledger_number)
         from archived_files file join recordings on recordings.id = recording_id",
    ),
    (
        "ledger",
        "select json_array(format('%08d', number), entry, hex(leaf_hash)) from ledger
         where entry not like '%\"type\":\"rebuilt\"%'",
    ),
    ("day_files", "select json_array(path, folder, hex(sha256)) from day_files"),
    ("day_folders", "select json_array(folder, changed, written) from day_folders"),
    (
        "calls",
        "select json_array(calls.pbx, hex(identity), hex(version), calls.day, calls.started_at_ms, utc_offset_s,
             offset_source, zone_offset_s, talk_s, answered, row, first_seen_at_ms, hex(told_version), path)
         from calls left join recordings on recordings.id = recording_id",
    ),
    (
        "call_versions",
        "select json_array(hex(identity), hex(call_versions.version), call_versions.row)
         from call_versions join calls on calls.id = call_id",
    ),
    ("days", "select json_array(pbx, day, calls_files) from days where calls_files > 0"),
    (
        "certificates",
        "select json_array(pbx, day, revision, path, hex(sha256), ledger_number, issued_at_ms, sums, complete, missing)
         from certificates",
    ),
    (
        "voicemails",
        "select json_array(path, voicemails.pbx, extension, date, caller, length, ordinal, utc_offset_s, offset_source,
             zone_offset_s, case state when 'archived' then status end)
         from voicemails join recordings on recordings.id = recording_id",
    ),
    ("pbx", "select json_array(id, sn, utc_offset_s, hex(settings_hash)) from pbx"),
    (
        "meta",
        "select json_array(key, value) from meta where key in ('state_id', 'ledger_origin', 'ledger_settings')",
    ),
    ("checkpoints", "select json_array(size, hex(root)) from checkpoints order by size desc limit 1"),
    ("ledger_frontier", "select json_array(id, size, hex(hashes)) from ledger_frontier"),
    (
        "ledger_keys",
        "select json_array(vkey, ordinal, created_at_ms, signs_until_ms, retired_at_ms) from ledger_keys",
    ),
    ("schema", "select json_array(type, name, sql) from sqlite_master"),
];

/// The rows of each table, sorted.
pub(crate) type Dump = BTreeMap<&'static str, Vec<String>>;

/// What a user can see of a database.
pub(crate) async fn dump(db: &SqlitePool) -> Dump {
    let mut dump = Dump::new();
    for (name, query) in TABLES {
        let mut rows: Vec<String> = sqlx::query_scalar(query).fetch_all(db).await.unwrap();
        rows.sort();
        dump.insert(name, rows);
    }
    dump
}

/// Fails with the rows that are in one of the two only.
pub(crate) fn assert_equal(lost: &Dump, rebuilt: &Dump) {
    for (name, lost) in lost {
        let rebuilt = &rebuilt[name];
        let only = |rows: &[String], others: &[String]| -> Vec<String> {
            rows.iter().filter(|row| !others.contains(row)).cloned().collect()
        };
        let (gone, new) = (only(lost, rebuilt), only(rebuilt, lost));
        assert!(gone.is_empty() && new.is_empty(), "{name}\nlost: {gone:#?}\nrebuilt: {new:#?}");
        assert_eq!(lost.len(), rebuilt.len(), "{name}");
    }
}
