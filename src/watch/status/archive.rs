//! The archive's filesystem: whether it is there, has room, and is the right one.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use indicatif::HumanBytes;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::archive::free_bytes;
use crate::config::ArchiveConfig;
use crate::pipeline::gate::Trouble;
use crate::vault::exposure::{self, Exposure};

/// A share whose server is gone answers nothing, not even how much room it has.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Default, Serialize)]
pub struct ArchiveStatus {
    pub path: String,
    /// None if the archive is not there.
    pub free_bytes: Option<u64>,
    /// Nothing is downloaded while less than this is free.
    pub free_bytes_min: u64,
    /// What keeps recordings from being written there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Trouble>,
    /// Reported with everything else that is open to others.
    #[serde(skip)]
    pub exposure: Option<Exposure>,
}

/// Clones share a look that has not returned yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookout {
    is_looking: Arc<AtomicBool>,
}

impl Lookout {
    /// Looks at the archive, which must hold the folders of the `known` PBXs.
    ///
    /// It runs on a thread of its own, which is abandoned if the filesystem does not answer: nobody else may wait for it.
    /// Meanwhile there is no second one, or a share that is gone would cost a thread each time.
    pub(super) async fn look(&self, archive: &ArchiveConfig, known: Vec<String>) -> ArchiveStatus {
        if self.is_looking.swap(true, SeqCst) {
            return silent(archive);
        }
        let (send, looked) = oneshot::channel();
        let (path, min) = (archive.path.clone(), archive.free_bytes_min);
        let is_looking = Arc::clone(&self.is_looking);
        std::thread::spawn(move || {
            let status = examine(path, min, &known);
            is_looking.store(false, SeqCst);
            drop(send.send(status));
        });
        match tokio::time::timeout(PATIENCE, looked).await {
            Ok(Ok(status)) => status,
            _ => silent(archive),
        }
    }
}

fn silent(archive: &ArchiveConfig) -> ArchiveStatus {
    let path = archive.path.display().to_string();
    let message = format!(
        "{path} has not answered for {} s: see the disk, or the server that it is mounted from",
        PATIENCE.as_secs()
    );
    let error = Some(Trouble { reason: "archive".into(), message });
    ArchiveStatus { path, free_bytes: None, free_bytes_min: archive.free_bytes_min, error, exposure: None }
}

fn examine(path: PathBuf, free_bytes_min: u64, known: &[String]) -> ArchiveStatus {
    let shown = path.display().to_string();
    let not_mounted = known.iter().find(|pbx| !path.join(pbx).join(".callvault").exists());
    let (free_bytes, error) = match free_bytes(&path) {
        Ok(free) if free < free_bytes_min => {
            let message = format!(
                "{shown} has {} free, less than `free_bytes_min` ({}): make room; no recording is downloaded until then",
                HumanBytes(free),
                HumanBytes(free_bytes_min)
            );
            (Some(free), Some(Trouble { reason: "disk_full".into(), message }))
        }
        Ok(free) => (Some(free), not_mounted.map(|pbx| not_mounted_at(&shown, pbx))),
        Err(_) if !path.exists() => (None, not_mounted.map(|pbx| not_mounted_at(&shown, pbx))),
        Err(error) => (None, Some(Trouble { reason: "archive".into(), message: error.to_string() })),
    };
    ArchiveStatus { exposure: exposure::of_archive(&path), path: shown, free_bytes, free_bytes_min, error }
}

fn not_mounted_at(path: &str, pbx: &str) -> Trouble {
    let message = format!(
        "{path} does not hold the archive of pbx `{pbx}`: mount it or correct `[archive] path`; callvault archives nothing until then"
    );
    Trouble { reason: "not_mounted".into(), message }
}
