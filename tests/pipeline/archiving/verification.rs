//! Looking whether the archive still holds what it should.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use callvault::base::clock::Clock;
use callvault::proof::sealed_vault::SealedVault;
use callvault::proof::verify::{Request, Scope, Verification};
use callvault::store::findings;
use tokio_util::sync::CancellationToken;

use crate::support::station::{PBX, Station};

/// The audio of the archive.
fn recordings(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(recordings(&path));
        } else if path.extension().is_some_and(|extension| extension == "wav") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What a quick look reports, and what is kept of it: class or kind, and path.
async fn look(opened: &SealedVault) -> (Vec<String>, Vec<String>) {
    let request = Request::of(Scope::Quick);
    let report = Verification::new(opened, request, CancellationToken::new()).run().await.unwrap();
    assert!(report.whole);
    let mut damaged: Vec<String> =
        report.damaged.iter().map(|damage| format!("{} {}", damage.class.as_str(), damage.path)).collect();
    let db = &opened.vault.state.db;
    let findings = findings::latest(&mut db.read().await.unwrap(), PBX, 100).await.unwrap();
    let mut told: Vec<String> =
        findings.into_iter().map(|finding| format!("{} {}", finding.kind, finding.subject)).collect();
    damaged.sort();
    told.sort();
    (damaged, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_or_cut_off_is_named_and_forgotten_when_it_is_back() {
    let mut station = Station::new(12).await;
    station.backfill().await;
    let opened = SealedVault::open(station.config.clone(), Clock::system()).await.unwrap();
    assert_eq!(look(&opened).await, Default::default());

    let root = station.config.archive.path.clone();
    let files = recordings(&root);
    let name = |file: &PathBuf| file.strip_prefix(&root).unwrap().display().to_string();
    let aside = root.with_file_name("aside");
    fs::rename(&files[0], &aside).unwrap();
    let whole = fs::read(&files[1]).unwrap();
    fs::set_permissions(&files[1], fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(&files[1], &whole[..100]).unwrap();
    let sidecar = PathBuf::from(format!("{}.json", files[2].display()));
    let aside_too = root.with_file_name("aside too");
    fs::rename(&sidecar, &aside_too).unwrap();
    let expected = [
        format!("altered {}", name(&files[1])),
        format!("missing {}", name(&files[0])),
        format!("missing {}.json", name(&files[2])),
    ];
    let kept = expected.clone().map(|damage| format!("file_{damage}"));
    assert_eq!(look(&opened).await, (expected.to_vec(), kept.to_vec()));

    fs::rename(&aside, &files[0]).unwrap();
    fs::write(&files[1], whole).unwrap();
    fs::set_permissions(&files[1], fs::Permissions::from_mode(0o440)).unwrap();
    fs::rename(&aside_too, &sidecar).unwrap();
    assert_eq!(look(&opened).await, Default::default());
    opened.seal().await.unwrap();
    drop(opened);
    station.check().await;
}
