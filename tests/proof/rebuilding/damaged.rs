//! Archives that are not as they were written: what is wrong is named, and the rest is rebuilt.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use callvault::base::counts::Counts;
use callvault::base::digest::Digest;
use callvault::proof::rebuild::{CannotRebuild, Report, Request};

use super::compare::{Dump, dump};
use crate::support::station::{NONE, Station, counts};

/// Overwrites a file that nobody may write.
fn overwrite(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A station with five recordings on its last day, and what is known of it before the damage.
struct Damaged {
    station: Station,
    lost: Dump,
}

impl Damaged {
    async fn new() -> Self {
        let mut station = Station::followed(0).await;
        for (minute, name) in (0..).zip(["a.wav", "b.wav", "c c.wav", "d.wav", "odd/name"]) {
            station.add_call(name, minute);
        }
        assert_eq!(counts(&station.backfill().await), Counts { archived: 5, ..NONE });
        let db = station.database().await;
        let lost = dump(&db).await;
        db.close().await;
        Self { station, lost }
    }

    fn day(&self) -> std::path::PathBuf {
        self.station.path_of("a.wav").parent().unwrap().to_owned()
    }

    async fn rebuild(&mut self) -> Report {
        self.station.lose_database().await;
        self.station.rebuild().await
    }

    /// Rebuilds, and demands that exactly these are named.
    async fn rebuild_names(&mut self, expected: &[&str]) -> Report {
        let report = self.rebuild().await;
        let named: Vec<&str> = report.damage.iter().map(|damage| damage.subject.as_str()).collect();
        assert_eq!(named, expected, "{report:#?}");
        assert_eq!(report.damaged, expected.len() as u64);
        let findings = self.station.findings("not_rebuilt").await;
        let mut subjects: Vec<&str> = findings.iter().map(|(subject, _)| subject.as_str()).collect();
        let mut expected = expected.to_vec();
        subjects.sort_unstable();
        expected.sort_unstable();
        assert_eq!(subjects, expected);
        report
    }

    /// Tables that are as they were.
    async fn assert_equal(&self, tables: &[&str]) {
        let rebuilt = dump(&self.station.database().await).await;
        for table in tables {
            assert_eq!(self.lost[table], rebuilt[table], "{table}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_cannot_be_read_is_named_and_its_recording_not_forgotten() {
    let mut damaged = Damaged::new().await;
    overwrite(&damaged.day().join("a.wav.json"), "{");
    let report = damaged.rebuild_names(&["hq/2024/03/14/a.wav.json", "hq/2024/03/14/a.wav"]).await;
    assert_eq!((report.ledger.gone, report.ledger.appended), (1, 0));
    damaged.assert_equal(&["ledger", "calls", "day_files"]).await;
    assert_eq!(damaged.station.value::<i64>("select count(*) from archived_files").await, 5);
    // What nothing but the sidecar tells is not made up: neither its salt nor how long it plays.
    assert_eq!(counts(&damaged.station.backfill().await), Counts { already_archived: 5, ..NONE });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_whose_files_are_gone_stays_in_the_catalog_under_its_name() {
    let mut damaged = Damaged::new().await;
    for name in ["c%20c.wav", "c%20c.wav.json"] {
        fs::remove_file(damaged.day().join(name)).unwrap();
    }
    damaged.rebuild_names(&["hq/2024/03/14/c%20c.wav"]).await;
    damaged.assert_equal(&["ledger", "calls", "day_files"]).await;
    let name: Vec<u8> =
        damaged.station.value("select name from recordings where path like '%c\\%20c.wav' escape '\\'").await;
    assert_eq!(name, b"c c.wav");
    assert_eq!(counts(&damaged.station.backfill().await), Counts { already_archived: 5, ..NONE });
    assert_eq!(
        damaged.station.pbx.counters().downloads_started,
        5,
        "what is in the catalog is not fetched again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_was_edited_does_not_become_what_was_archived() {
    let mut damaged = Damaged::new().await;
    let path = damaged.day().join("b.wav.json");
    let edited = fs::read_to_string(&path).unwrap().replace("\"attempts\": 1", "\"attempts\": 7");
    overwrite(&path, edited);
    let report = damaged.rebuild_names(&["hq/2024/03/14/b.wav.json"]).await;
    assert_eq!((report.ledger.gone, report.ledger.appended), (1, 0));
    damaged.assert_equal(&["ledger", "archived_files", "calls", "day_files"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_and_a_manifest_that_were_rewritten_to_match_deceive_nobody() {
    let mut damaged = Damaged::new().await;
    let path = damaged.day().join("b.wav.json");
    let before = fs::read(&path).unwrap();
    let edited = String::from_utf8(before.clone()).unwrap().replace("\"attempts\": 1", "\"attempts\": 7");
    overwrite(&path, &edited);
    let sums = damaged.day().join("SHA256SUMS");
    let hash = |bytes: &[u8]| callvault::base::digest::Digest::of(bytes).to_string();
    let rewritten = fs::read_to_string(&sums).unwrap().replace(&hash(&before), &hash(edited.as_bytes()));
    overwrite(&sums, rewritten);
    let report = damaged.rebuild_names(&["hq/2024/03/14/b.wav.json"]).await;
    assert_eq!((report.ledger.gone, report.ledger.appended), (1, 0));
    damaged.assert_equal(&["ledger", "archived_files"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_gone_leaves_rows_that_say_so_and_what_the_pbx_has_is_fetched_again() {
    let mut damaged = Damaged::new().await;
    fs::remove_dir_all(damaged.day()).unwrap();
    let report = damaged.rebuild().await;
    // Its files, and its call list.
    assert_eq!((report.damaged, report.ledger.gone), (6, 5));
    assert_eq!(damaged.station.value::<i64>("select count(*) from archived_files").await, 5);
    damaged.assert_equal(&["ledger"]).await;
    // Nobody knows their names any more.
    assert_eq!(
        counts(&damaged.station.backfill().await),
        Counts { archived: 5, already_archived: 5, ..NONE }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_was_moved_is_known_by_where_it_belongs() {
    let mut damaged = Damaged::new().await;
    for suffix in ["", ".json"] {
        let [from, to] = ["d.wav", "moved.wav"].map(|name| damaged.day().join(format!("{name}{suffix}")));
        fs::rename(from, to).unwrap();
    }
    damaged.rebuild_names(&["hq/2024/03/14/moved.wav.json"]).await;
    damaged.assert_equal(&["ledger", "recordings", "archived_files", "calls", "day_files"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_recording_is_no_second_one() {
    let mut damaged = Damaged::new().await;
    for suffix in ["", ".json"] {
        let [from, to] = ["d.wav", "copy.wav"].map(|name| damaged.day().join(format!("{name}{suffix}")));
        fs::copy(from, to).unwrap();
    }
    damaged.rebuild_names(&["hq/2024/03/14/copy.wav.json"]).await;
    damaged.assert_equal(&["ledger", "recordings", "archived_files", "calls", "day_files"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_that_is_gone_or_altered_is_for_verification_to_find() {
    let mut damaged = Damaged::new().await;
    fs::remove_file(damaged.day().join("a.wav")).unwrap();
    overwrite(&damaged.day().join("b.wav"), "RIFF");
    damaged.rebuild_names(&[]).await;
    damaged.assert_equal(&["ledger", "recordings", "archived_files", "calls", "day_files"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_line_of_a_call_list_costs_that_line() {
    let mut damaged = Damaged::new().await;
    let list = damaged.day().join("calls-1.jsonl");
    let text = fs::read_to_string(&list).unwrap();
    let broken: Vec<String> = text
        .lines()
        .enumerate()
        .map(|(at, line)| line[..if at == 2 { 40 } else { line.len() }].to_owned())
        .collect();
    overwrite(&list, broken.join("\n"));
    damaged.rebuild_names(&["hq/2024/03/14/calls-1.jsonl line 3", "hq/2024/03/14/calls-1.jsonl"]).await;
    // The call that it told of is known from its recording's sidecar, and is told again.
    damaged.assert_equal(&["ledger", "recordings", "archived_files", "day_files"]).await;
    assert_eq!(damaged.station.value::<i64>("select count(*) from calls").await, 5);
    assert_eq!(
        damaged.station.value::<i64>("select count(*) from calls where told_version is null").await,
        1
    );
    assert_eq!(counts(&damaged.station.backfill().await), Counts { already_archived: 5, ..NONE });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_list_that_is_gone_is_made_up_for_by_the_sidecars() {
    let mut damaged = Damaged::new().await;
    fs::remove_file(damaged.day().join("calls-1.jsonl")).unwrap();
    damaged.rebuild_names(&["hq/2024/03/14/calls-1.jsonl"]).await;
    damaged.assert_equal(&["ledger", "recordings", "archived_files", "day_files"]).await;
    assert_eq!(damaged.station.value::<i64>("select count(*) from calls").await, 5);
    assert_eq!(counts(&damaged.station.backfill().await), Counts { already_archived: 5, ..NONE });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_gone_or_altered_is_named_once_and_vouches_for_nothing() {
    let mut damaged = Damaged::new().await;
    damaged.station.backfill().await;
    let judged = "select complete from certificates where day = '2024-03-14'";
    assert_eq!(damaged.station.value::<i64>(judged).await, 1);
    let document = damaged.day().join("certificate-1.json");
    let text = fs::read_to_string(&document).unwrap();
    overwrite(&document, text.replace("\"missing\":0", "\"missing\":1"));
    damaged.rebuild_names(&["hq/2024/03/14/certificate-1.json"]).await;
    assert_eq!(damaged.station.value::<i64>(judged).await, 0);
    // Nor does it if the sums were rewritten to match.
    let sums = damaged.day().join("SHA256SUMS");
    let listed = fs::read_to_string(&sums).unwrap();
    let altered = Digest::of(fs::read(&document).unwrap()).to_string();
    overwrite(&sums, listed.replace(&Digest::of(&text).to_string(), &altered));
    damaged.rebuild_names(&["hq/2024/03/14/certificate-1.json"]).await;
    assert_eq!(damaged.station.value::<i64>(judged).await, 0);
    fs::remove_file(&document).unwrap();
    damaged.rebuild_names(&["hq/2024/03/14/certificate-1.json"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_leads_elsewhere_is_not_entered_and_the_others_are() {
    let mut damaged = Damaged::new().await;
    let beside = damaged.day().with_file_name("15");
    std::os::unix::fs::symlink("/", &beside).unwrap();
    damaged.rebuild_names(&["hq/2024/03/15"]).await;
    damaged.assert_equal(&["ledger", "recordings", "archived_files", "calls", "day_files"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_that_are_gone_are_no_damage_and_are_written_again() {
    let mut damaged = Damaged::new().await;
    let sums = damaged.day().join("SHA256SUMS");
    let before = fs::read(&sums).unwrap();
    fs::remove_file(&sums).unwrap();
    damaged.rebuild_names(&[]).await;
    damaged.station.backfill().await;
    assert_eq!(fs::read(&sums).unwrap(), before);
    damaged.station.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_others_are_left_alone_and_are_no_damage() {
    let mut damaged = Damaged::new().await;
    for name in ["notes.txt", "x.wav", ".callvault-0123456789abcdef.part", "calls-01.jsonl"] {
        fs::write(damaged.day().join(name), "theirs").unwrap();
    }
    damaged.rebuild_names(&[]).await;
    damaged.assert_equal(&["ledger", "recordings", "archived_files", "calls", "day_files"]).await;
}

/// The ledger still says whose archive it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_marker_that_is_gone_is_named_and_its_folder_read_all_the_same() {
    let mut damaged = Damaged::new().await;
    fs::remove_file(damaged.station.archive().join("hq/.callvault")).unwrap();
    damaged.rebuild_names(&["hq"]).await;
    damaged.assert_equal(&["ledger", "recordings", "archived_files", "calls", "day_files"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_without_any_marker_is_not_mounted() {
    let mut damaged = Damaged::new().await;
    for folder in ["hq", "_ledger"] {
        fs::remove_file(damaged.station.archive().join(folder).join(".callvault")).unwrap();
    }
    damaged.station.lose_state().await;
    let refused = damaged.station.try_rebuild(Request::default()).await.unwrap_err();
    assert!(matches!(refused.downcast_ref(), Some(CannotRebuild::NoArchive { .. })), "{refused:#}");
    assert_eq!(fs::read_dir(&damaged.station.config.state.path).unwrap().count(), 1, "nothing but the lock");
}

/// What somebody makes of a text.
type Change = fn(String) -> String;

/// Rewrites a file of the last day, and `SHA256SUMS` to match.
fn rewrite(damaged: &Damaged, name: &str, change: Change) {
    let (path, sums) = (damaged.day().join(name), damaged.day().join("SHA256SUMS"));
    let before = fs::read_to_string(&path).unwrap();
    let after = change(before.clone());
    assert_ne!(before, after);
    let hash = |text: &str| Digest::of(text).to_string();
    let listed = fs::read_to_string(&sums).unwrap().replace(&hash(&before), &hash(&after));
    overwrite(&path, after);
    overwrite(&sums, listed);
}

/// Whoever changes a companion, or a list, and the sums beside it is found out by what was signed.
#[tokio::test(flavor = "multi_thread")]
async fn lists_names_and_pages_that_were_rewritten_with_the_manifest_deceive_nobody() {
    let changes: [(&str, Change); 4] = [
        ("calls-1.jsonl", |text| text.replacen("ANSWERED", "NO ANSWER", 1)),
        ("certificate-1.names.jsonl", |text| text.replacen("a.wav", "e.wav", 1)),
        ("certificate-1.html", |text| text.replace("</body>", "<script></script></body>")),
        ("certificate-1.sha256", |text| text.replacen("a.wav", "e.wav", 1)),
    ];
    for (name, change) in changes {
        let mut damaged = Damaged::new().await;
        damaged.station.backfill().await;
        rewrite(&damaged, name, change);
        let path = format!("hq/2024/03/14/{name}");
        damaged.rebuild_names(&[&path]).await;
    }
}

/// The edition of a list without one line is that list: it comes to the same root.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_without_a_line_that_was_erased_is_the_one_that_the_ledger_tells_of() {
    let mut damaged = Damaged::new().await;
    damaged.station.backfill().await;
    let list = damaged.day().join("calls-1.jsonl");
    let text = fs::read_to_string(&list).unwrap();
    let line = text.lines().nth(2).unwrap();
    let leaf = callvault::formats::tlog::leaf_hash(line.as_bytes());
    let edition = text.replace(line, &format!(r#"{{"type":"erased","leaf":"{leaf}"}}"#));
    fs::remove_file(&list).unwrap();
    fs::write(damaged.day().join("calls-2.jsonl"), &edition).unwrap();
    fs::remove_file(damaged.day().join("SHA256SUMS")).unwrap();
    let report = damaged.rebuild_names(&[]).await;
    assert_eq!(report.ledger.appended, 0);
    // What a sidecar tells is known all the same.
    assert_eq!(
        damaged.station.value::<i64>("select count(*) from calls where told_version is null").await,
        1
    );
    let changed = edition.replacen("ANSWERED", "NO ANSWER", 1);
    overwrite(&damaged.day().join("calls-2.jsonl"), changed);
    damaged.rebuild_names(&["hq/2024/03/14/calls-1.jsonl"]).await;
}
