//! What must hold of certificates, whatever happened.

use std::collections::BTreeMap;
use std::fs;

use callvault::base::digest::{Digest, hex};
use callvault::formats::salted::Lines;
use callvault::formats::tlog::VerifyingKey;
use serde_json::Value;
use sqlx::{Row as _, SqlitePool};

use super::Station;

/// What is counted of a day, by member of its certificate.
const COUNTED: &str = "select 'listed', count(*) from recordings where kind = 'call' and day = ?1
         and exists (select 1 from calls where recording_id = recordings.id)
     union all select state, count(*) from recordings where kind = 'call' and day = ?1
         and exists (select 1 from calls where recording_id = recordings.id) group by state";

impl Station {
    /// Each certificate is what its row and its entry say, and lies in the chain of its day; that of a settled day says
    /// what the database says.
    pub(super) async fn check_certificates(&self, entries: &BTreeMap<i64, Value>) {
        let db = self.database().await;
        let closed = entries.values().filter(|entry| entry["type"] == "day_closed").count();
        let rows =
            "select certificates.*, days.revision as day_revision, days.state as day_state from certificates
             join days using (pbx, day) order by pbx, day, certificates.revision";
        let rows = sqlx::query(rows).fetch_all(&db).await.unwrap();
        assert_eq!(rows.len(), closed, "certificates and entries");
        let mut former: Option<(String, Value)> = None;
        for row in &rows {
            let (day, path): (String, String) = (row.get("day"), row.get("path"));
            let told = self.check_certificate(row.get("sha256"), &path);
            let entry = &entries[&row.get::<i64, _>("ledger_number")];
            for member in ["day", "revision", "listed", "archived", "missing", "excluded", "pending", "stuck"]
            {
                assert_eq!(entry[member], told[member], "{path}: {member}");
            }
            assert_eq!(entry["certificate_sha256"], hex(row.get("sha256")), "{path}");
            self.check_page(entry, &told, &path);
            assert_eq!(told["revision"], row.get::<i64, _>("revision"));
            assert_eq!(told["sums"], row.get::<bool, _>("sums"));
            assert_eq!(told["complete"], row.get::<bool, _>("complete"));
            let before = former.take().filter(|(other, _)| *other == day).map(|(_, former)| former);
            assert_eq!(told["former"], before.unwrap_or(Value::Null), "{path}");
            assert_eq!(entry["former"], told["former"]["ledger_number"], "{path}");
            if row.get::<&str, _>("day_state") == "settled"
                && row.get::<i64, _>("day_revision") == row.get::<i64, _>("revision")
            {
                check_numbers(&db, &told, &path).await;
            }
            let this = serde_json::json!({
                "revision": told["revision"],
                "sha256": hex(row.get("sha256")),
                "ledger_number": row.get::<i64, _>("ledger_number"),
            });
            former = Some((day, this));
        }
        db.close().await;
    }

    /// The files of a certificate; what its JSON says.
    fn check_certificate(&self, sha256: &[u8], path: &str) -> Value {
        let bytes = fs::read(self.archive().join(path)).unwrap();
        assert_eq!(Digest::of(&bytes).to_string(), hex(sha256), "{path}");
        let told: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(told.to_string().as_bytes(), bytes, "{path} is not canonical");
        let is_old = told["schema"] == "callvault-certificate/1";
        assert!(is_old || told["schema"] == "callvault-certificate/2", "{path}");
        let states = ["archived", "missing", "excluded", "pending", "stuck"];
        let sum: i64 = states.iter().map(|state| told[state].as_i64().unwrap()).sum();
        assert_eq!(told["sums"], sum == told["listed"].as_i64().unwrap(), "{path}");
        let list = fs::read_to_string(self.archive().join(told["files"]["list"].as_str().unwrap())).unwrap();
        match is_old {
            true => assert_eq!(told["files"]["sha256"], Digest::of(&list).to_string(), "{path}"),
            false => self.check_companion(&told, &list, path),
        }
        assert_eq!(told["files"]["count"], list.lines().count(), "{path}");
        let folder = self.archive().join(path.rsplit_once('/').unwrap().0);
        let sums = fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
        assert!(list.lines().all(|line| sums.lines().any(|other| other == line)), "{path}: {list}");
        // A recording may have a second file beside the first.
        let audio = list.lines().filter(|line| line.ends_with(".wav")).count() as u64;
        let (archived, beside) =
            (told["archived"].as_u64().unwrap(), told["conflicts"]["count"].as_u64().unwrap());
        assert!((archived..=archived + beside).contains(&audio), "{path}: {audio} files of audio");
        let stem = path.strip_suffix(".json").unwrap();
        let signature = fs::read(self.archive().join(format!("{stem}.json.sig"))).unwrap();
        let id = told["key"].as_str().unwrap().rsplit_once('+').unwrap().1;
        let vkey = fs::read_to_string(self.archive().join(format!("_ledger/keys/{id}.vkey"))).unwrap();
        let key = VerifyingKey::from_vkey(vkey.trim_end()).unwrap();
        assert!(key.verifies(&bytes, &signature), "{path}: the signature");
        told
    }

    /// The names of a certificate come to the root that was signed, and the list tells the same files.
    fn check_companion(&self, told: &Value, list: &str, path: &str) {
        let text = fs::read_to_string(self.archive().join(told["names"]["file"].as_str().unwrap())).unwrap();
        let lines = Lines::after_head(&text);
        assert_eq!(told["names"]["root"], lines.root.to_string(), "{path}");
        assert_eq!((told["names"]["lines"].as_u64(), lines.erased), (Some(lines.count), 0), "{path}");
        let named: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let files = named.iter().filter(|line| line["type"] == "file");
        let files = files.map(|line| {
            format!("{}  {}\n", line["sha256"].as_str().unwrap(), line["name"].as_str().unwrap())
        });
        assert_eq!(files.collect::<String>(), list, "{path}");
        for line in &named[1..] {
            assert_eq!(line["line_salt"].as_str().unwrap().len(), 64, "{path}: {line}");
            assert_eq!(line.get("identity"), None, "{path}: {line}");
            // What is signed names nobody.
            let names = ["path", "name"].map(|member| line[member].as_str().unwrap_or_default());
            let is_told = |name: &&str| !name.is_empty() && told.to_string().contains(*name);
            assert!(!names.iter().any(is_told), "{path} names {line}");
        }
    }

    /// The page is one, and since certificates name nobody, its hash is in the entry.
    fn check_page(&self, entry: &Value, told: &Value, path: &str) {
        let stem = path.strip_suffix(".json").unwrap();
        let page = fs::read_to_string(self.archive().join(format!("{stem}.html"))).unwrap();
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"), "{path}");
        match told["schema"] == "callvault-certificate/1" {
            true => assert_eq!(entry.get("page_sha256"), None, "{path}"),
            false => assert_eq!(entry["page_sha256"], Digest::of(&page).to_string(), "{path}"),
        }
        assert_eq!(entry["verdict"], told["evidence"]["verdict"], "{path}");
    }
}

async fn check_numbers(db: &SqlitePool, told: &Value, path: &str) {
    let day = told["day"].as_str().unwrap();
    let counted: Vec<(String, i64)> = sqlx::query_as(COUNTED).bind(day).fetch_all(db).await.unwrap();
    let counted: BTreeMap<String, i64> = counted.into_iter().collect();
    if told["sums"] == true {
        for member in ["listed", "archived", "missing", "excluded", "pending", "stuck"] {
            let expected = counted.get(member).copied().unwrap_or(0);
            assert_eq!(told[member].as_i64(), Some(expected), "{path}: {member}");
        }
    }
    let rows: i64 =
        sqlx::query_scalar("select count(*) from calls where day = ?").bind(day).fetch_one(db).await.unwrap();
    assert_eq!(told["calls"]["rows"].as_i64(), Some(rows), "{path}");
}
