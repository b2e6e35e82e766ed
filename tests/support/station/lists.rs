//! What must hold of call lists, whatever happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use callvault::base::digest::{Digest, hex};
use callvault::formats::cdr::CdrRow;
use callvault::formats::salted::Lines;
use serde_json::Value;
use sqlx::Row as _;

use super::Station;

impl Station {
    /// The call lists of the days tell every call, and every recording that is not archived.
    pub(super) async fn check_call_lists(&self, files: &BTreeMap<String, PathBuf>) {
        let mut calls = BTreeSet::new();
        let mut states = BTreeMap::new();
        let mut salts = BTreeSet::new();
        for (path, text) in lists(files) {
            for line in text.lines() {
                let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{path}: {line}"));
                if let Some(salt) = line.get("line_salt") {
                    let salt = salt.as_str().unwrap().to_owned();
                    assert!(salt.len() == 64 && salts.insert(salt), "{path}: a salt twice");
                }
                match line["type"].as_str() {
                    Some("call") => {
                        let pincode = line["row"].get("pincode");
                        assert!(pincode.is_none_or(|pincode| pincode == ""), "{path}");
                        calls.insert(version(&line));
                    }
                    Some("recording") => {
                        states.insert(line["path"].to_string(), line["state"].clone());
                    }
                    _ => assert!(line["schema"].as_str().unwrap().starts_with("callvault-calls/")),
                }
            }
        }
        let (first, last) = (self.days.0.to_string(), self.days.1.to_string());
        let db = self.database().await;
        let known = sqlx::query("select version from calls where day between ? and ?");
        for row in known.bind(&first).bind(&last).fetch_all(&db).await.unwrap() {
            assert!(calls.contains(&hex(row.get("version"))), "a call is in no list");
        }
        let owed = sqlx::query(
            "select path, state from recordings where state <> 'archived' and day between ? and ?",
        );
        for row in owed.bind(first).bind(last).fetch_all(&db).await.unwrap() {
            let path = Value::from(row.get::<&str, _>("path")).to_string();
            assert_eq!(states.get(&path), Some(&Value::from(row.get::<&str, _>("state"))), "{path}");
        }
        db.close().await;
    }

    /// Each salted list that the catalog knows has one entry, which tells what its lines come to; nothing is drafted.
    pub(super) async fn check_list_entries(&self, entries: &BTreeMap<i64, Value>) {
        let db = self.database().await;
        let drafts: i64 =
            sqlx::query_scalar("select count(*) from list_drafts").fetch_one(&db).await.unwrap();
        assert!(drafts == 0 || !self.sealed, "a call list is still on its way");
        let known: Vec<String> =
            sqlx::query_scalar("select path from day_files").fetch_all(&db).await.unwrap();
        db.close().await;
        for (path, text) in lists(&self.files()) {
            let (folder, name) = path.rsplit_once('/').unwrap();
            let (pbx, day) = folder.split_once('/').unwrap();
            let number: u64 =
                name.strip_prefix("calls-").unwrap().strip_suffix(".jsonl").unwrap().parse().unwrap();
            let of_list = |entry: &&Value| {
                entry["type"] == "lists"
                    && (&entry["pbx"], &entry["day"]) == (&pbx.into(), &day.replace('/', "-").into())
                    && entry["n"] == number
            };
            let told: Vec<&Value> = entries.values().filter(of_list).collect();
            if text.starts_with(r#"{"schema":"callvault-calls/1""#) || !known.contains(&path) {
                assert!(told.is_empty(), "{path}: {told:?}");
                continue;
            }
            let [told] = told[..] else { panic!("{path}: {told:?}") };
            let lines = Lines::after_head(&text);
            assert_eq!(told["sha256"], Digest::of(&text).to_string(), "{path}");
            assert_eq!(
                (&told["lines"], &told["root"]),
                (&lines.count.into(), &lines.root.to_string().into()),
                "{path}"
            );
            for line in text.lines().skip(1) {
                assert!(!line.contains(r#""identity""#) && !line.contains(r#""version""#), "{path}: {line}");
            }
        }
    }
}

/// The lists among `files` in the order of their numbers: path and text.
fn lists(files: &BTreeMap<String, PathBuf>) -> Vec<(String, String)> {
    let numbered =
        |path: &str| -> Option<u32> { path.rsplit_once("/calls-")?.1.strip_suffix(".jsonl")?.parse().ok() };
    let mut lists: Vec<_> =
        files.iter().filter_map(|(path, file)| Some((numbered(path)?, path, file))).collect();
    lists.sort();
    lists.into_iter().map(|(_, path, file)| (path.clone(), fs::read_to_string(file).unwrap())).collect()
}

/// The version of the call that a line tells: a list of 0.1 has it, else it follows from the row.
fn version(line: &Value) -> String {
    match line["version"].as_str() {
        Some(version) => version.to_owned(),
        None => CdrRow::from_raw_json(&line["row"].to_string()).unwrap().version().to_string(),
    }
}
