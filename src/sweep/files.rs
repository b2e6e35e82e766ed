//! CDR out of CSV files: given with `--cdr`, or lying in the configured folder of a PBX whose API has no CDR.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{SweepReport, Sweeper};
use crate::cdr::{CdrError, CdrItem, read_csv};
use crate::queue::DayRange;

/// Parsed items that may wait for the database.
const ITEMS_AHEAD: usize = 256;

/// The CSV files of a folder, by name.
pub(super) fn csv_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listing =
        folder.read_dir().with_context(|| format!("reading the CDR folder {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in listing {
        let path = entry.with_context(|| format!("reading the CDR folder {}", folder.display()))?.path();
        let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        if is_csv && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Sweeper<'_> {
    /// Reads a CSV file to its end in bounded memory.
    ///
    /// # Errors
    /// If it cannot be read at all; bad rows are findings.
    pub async fn read_file(&self, path: &Path) -> anyhow::Result<SweepReport> {
        let file = File::open(path).with_context(|| format!("opening the CDR file {}", path.display()))?;
        let metadata = file.metadata().with_context(|| format!("reading the CDR file {}", path.display()))?;
        if !metadata.is_file() {
            bail!("the CDR file {} is not a file", path.display());
        }
        let name = path.file_name().unwrap_or(path.as_os_str());
        let source = crate::recording::printable(name.as_encoded_bytes());
        let mut reading = self.begin(source, jiff::civil::date(1970, 1, 1)).await?;
        let mut items = self.parse(file);
        while let Some(item) = items.recv().await {
            self.take(&mut reading, item.with_context(|| format!("in {}", path.display()))?).await?;
            if self.stop.is_cancelled() {
                break;
            }
        }
        // The file says nothing of what happened after it was written: its own time decides what it can settle.
        let written_at = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
        let read_at = written_at.map_or(reading.facts.now, |written| written.min(reading.facts.now));
        self.close(reading, DayRange::ALL, read_at).await
    }

    /// Parses on a thread of its own: reading a large file must not hold up downloads.
    fn parse(&self, file: File) -> mpsc::Receiver<Result<CdrItem, CdrError>> {
        let (sender, receiver) = mpsc::channel(ITEMS_AHEAD);
        let columns = self.pbx.cdr_columns.clone();
        tokio::task::spawn_blocking(move || {
            for item in read_csv(file, &columns) {
                if sender.blocking_send(item).is_err() {
                    return;
                }
            }
        });
        receiver
    }
}
