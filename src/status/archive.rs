//! The archive's filesystem: there, writable with room, and the right one.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::HumanBytes;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::access::Trouble;
use crate::archive::free_bytes;
use crate::config::ArchiveConfig;

/// A share whose server is gone answers nothing, not even how much room it has.
const PATIENCE: Duration = Duration::from_secs(10);

/// The archive's filesystem at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct ArchiveStatus {
    /// The root folder of the archive.
    pub path: String,
    /// Room left; none if the archive is not there.
    pub free_bytes: Option<u64>,
    /// Nothing is downloaded while less than this is free.
    pub free_bytes_min: u64,
    /// What keeps recordings from being written there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Trouble>,
}

/// Looks at the archive, which must hold the folders of the `known` PBXs.
///
/// On a thread of its own, which is left behind if the filesystem does not answer: nobody else may wait for it.
pub(super) async fn look(archive: &ArchiveConfig, known: Vec<String>) -> ArchiveStatus {
    let (tell, told) = oneshot::channel();
    let (path, min) = (archive.path.clone(), archive.free_bytes_min);
    std::thread::spawn(move || drop(tell.send(examine(path, min, &known))));
    match tokio::time::timeout(PATIENCE, told).await {
        Ok(Ok(status)) => status,
        _ => silent(archive),
    }
}

fn silent(archive: &ArchiveConfig) -> ArchiveStatus {
    let path = archive.path.display().to_string();
    let message = format!(
        "{path} did not answer within {} s: see the disk, or the server that it is mounted from",
        PATIENCE.as_secs()
    );
    let error = Some(Trouble { reason: "archive".into(), message });
    ArchiveStatus { path, free_bytes: None, free_bytes_min: archive.free_bytes_min, error }
}

fn examine(path: PathBuf, free_bytes_min: u64, known: &[String]) -> ArchiveStatus {
    let shown = path.display().to_string();
    let not_mounted = known.iter().find(|pbx| !path.join(pbx).join(".callvault").exists());
    let (free_bytes, error) = match free_bytes(&path) {
        Ok(free) if free < free_bytes_min => {
            let message = format!(
                "{shown} has {} free, less than `free_bytes_min` ({}): make room; no recording is asked for before",
                HumanBytes(free),
                HumanBytes(free_bytes_min)
            );
            (Some(free), Some(Trouble { reason: "disk_full".into(), message }))
        }
        Ok(free) => (Some(free), not_mounted.map(|pbx| not_mounted_at(&shown, pbx))),
        Err(_) if !path.exists() => (None, not_mounted.map(|pbx| not_mounted_at(&shown, pbx))),
        Err(error) => (None, Some(Trouble { reason: "archive".into(), message: error.to_string() })),
    };
    ArchiveStatus { path: shown, free_bytes, free_bytes_min, error }
}

fn not_mounted_at(path: &str, pbx: &str) -> Trouble {
    let message = format!(
        "{path} does not hold the archive of pbx `{pbx}`: mount it or correct `[archive] path`; nothing is archived before"
    );
    Trouble { reason: "not_mounted".into(), message }
}
