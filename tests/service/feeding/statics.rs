//! The published ledger over HTTP is the one on disk, and nothing else is.

use std::fs;
use std::path::{Path, PathBuf};

use callvault::store::db::Db;

use super::door::Door;
use crate::support::station::Station;

/// All files below a folder, relative to it.
fn files(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(root, &path, found);
        } else {
            found.push(path.strip_prefix(root).unwrap().to_owned());
        }
    }
}

#[tokio::test]
async fn what_is_published_is_served_byte_for_byte_with_what_caches_must_know() {
    let mut station = Station::new(3).await;
    station.backfill().await;
    let ledger = station.archive().join("_ledger");
    fs::create_dir_all(ledger.join("anchor")).unwrap();
    for name in ["4.checkpoint", "4.tsa.tsr", "tsa.ca.pem"] {
        fs::write(ledger.join("anchor").join(name), name).unwrap();
    }
    let door = Door::open(&station.config, Db::open(&station.config.state.path).await.unwrap()).await;
    let mut found = Vec::new();
    files(&ledger, &ledger, &mut found);
    let mut seen = Vec::new();
    for path in found {
        let path = path.to_str().unwrap();
        let answer = door.get(&format!("/feed/{path}")).await;
        if path == ".callvault" {
            assert_eq!(answer.status, 404);
            continue;
        }
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.body, fs::read(ledger.join(path)).unwrap(), "{path}");
        let kind = path.split('/').next().unwrap();
        let (content_type, caching) = match (kind, path.rsplit('.').next().unwrap()) {
            ("checkpoint", _) | ("keys", "vkey") => ("text/plain; charset=utf-8", "no-cache"),
            ("keys", "pem") => ("application/x-pem-file", "no-cache"),
            ("tile", _) => ("application/octet-stream", "public, max-age=31536000, immutable"),
            // Certificates are added to it: a cache that keeps it for ever fails the next token.
            ("anchor", "pem") => ("application/x-pem-file", "no-cache"),
            ("anchor", "tsr") => ("application/timestamp-reply", "public, max-age=31536000, immutable"),
            ("anchor", "checkpoint") => ("text/plain; charset=utf-8", "public, max-age=31536000, immutable"),
            other => panic!("{other:?}"),
        };
        assert_eq!((answer.header("content-type"), answer.header("cache-control")), (content_type, caching));
        seen.push(kind.to_owned());
    }
    for kind in ["checkpoint", "keys", "tile", "anchor"] {
        assert!(seen.iter().any(|seen| seen == kind), "{kind}");
    }
    door.close().await;
}

#[tokio::test]
async fn no_way_leads_out_of_the_published_ledger() {
    let mut station = Station::with_call("a.wav").await;
    station.backfill().await;
    let root = station.archive();
    // A link that somebody planted is not followed either.
    std::os::unix::fs::symlink(root, root.join("_ledger/tile/out")).unwrap();
    std::os::unix::fs::symlink(station.path_of("a.wav"), root.join("_ledger/keys/out.pem")).unwrap();
    let door = Door::open(&station.config, Db::open(&station.config.state.path).await.unwrap()).await;
    for path in [
        "tile/../checkpoint",
        "tile/../../hq/.callvault",
        "tile/%2e%2e/checkpoint",
        "tile/..%2f..%2fhq%2f.callvault",
        "tile/%2e%2e%2fcheckpoint",
        "tile//etc/passwd",
        "tile/%2fetc%2fpasswd",
        "tile/0%00",
        "tile/0%ff",
        "tile/.callvault",
        "tile/0/",
        "tile/0",
        "tile/",
        "tile/out/hq/.callvault",
        "keys/out.pem",
        "keys/..",
        "anchor/../../hq",
        "checkpoint/",
        "checkpoint/x",
        ".callvault",
        "state",
    ] {
        let answer = door.get(&format!("/feed/{path}")).await;
        assert!([400, 404, 503].contains(&answer.status), "{path}: {answer:?}");
        assert!(answer.body.len() < 200, "{path}");
    }
    assert_eq!(door.get("/feed/checkpoint").await.status, 200);
    door.close().await;
}

#[tokio::test]
async fn before_anything_is_published_it_says_so() {
    let station = Station::new(0).await;
    fs::create_dir_all(&station.config.state.path).unwrap();
    let door = Door::open(&station.config, Db::open(&station.config.state.path).await.unwrap()).await;
    for path in ["checkpoint", "tile/0/000"] {
        let answer = door.get(&format!("/feed/{path}")).await;
        assert_eq!(answer.status, 404);
        assert!(answer.text().contains("or not yet"), "{}", answer.text());
    }
    door.close().await;
}
