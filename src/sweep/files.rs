//! CDR out of CSV files: given with `--cdr`, or lying in the configured folder of a PBX whose API has no CDR.

use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::reading::{Covered, Reading};
use super::{SweepReport, Sweeper};
use crate::calls;
use crate::cdr::{CdrError, CdrItem, read_csv};
use crate::findings::{self, Finding, FindingKind};
use crate::recording::printable;

/// Parsed items that may wait for the database.
const ITEMS_AHEAD: usize = 256;

/// A CDR file or folder that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum CdrFileError {
    /// The system does not let us.
    #[error(
        "the CDR {path} cannot be read: {problem}; give callvault's user access to it, or correct the path"
    )]
    Unreadable {
        /// The file or folder.
        path: String,
        /// What the system says.
        problem: String,
    },
    /// It is no CDR.
    #[error("{path} is no CDR: {problem}")]
    NoCdr {
        /// The file.
        path: String,
        /// What was found instead.
        problem: String,
    },
}

impl CdrFileError {
    fn unreadable(path: &Path, problem: impl ToString) -> Self {
        Self::Unreadable { path: shown(path), problem: problem.to_string() }
    }
}

fn shown(path: &Path) -> String {
    printable(path.as_os_str().as_encoded_bytes())
}

/// The CSV files of a folder, by name.
fn csv_files(folder: &Path) -> Result<Vec<PathBuf>, CdrFileError> {
    let unreadable = |error: std::io::Error| CdrFileError::unreadable(folder, error);
    let mut files = Vec::new();
    for entry in folder.read_dir().map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        if is_csv && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Sweeper<'_> {
    /// Reads every CSV file of a folder. One that is no CDR is a finding and keeps none of the others from being read.
    pub(super) async fn read_folder(&self, folder: &Path) -> anyhow::Result<SweepReport> {
        let mut report = SweepReport::default();
        let files = csv_files(folder)?;
        self.close_bad_files().await?;
        for file in files {
            match self.read_file(&file).await {
                Ok(of_file) => report += of_file,
                Err(error) if error.is::<CdrFileError>() => {
                    report.files_unread += 1;
                    let detail = error.to_string();
                    let finding = Finding { kind: FindingKind::BadFile, subject: shown(&file), detail };
                    self.note(finding, self.clock.now()).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    /// A file that is still no CDR comes back; one that was mended or removed does not.
    async fn close_bad_files(&self) -> anyhow::Result<()> {
        let (pbx, now) = (self.pbx.id.clone(), self.clock.now());
        self.db
            .write(move |tx| {
                Box::pin(async move { findings::close(tx, &pbx, FindingKind::BadFile, now).await })
            })
            .await
    }

    /// Reads a CSV file to its end in bounded memory.
    ///
    /// # Errors
    /// [`CdrFileError`] if it cannot be read; bad rows are findings. Rows before an error are kept.
    pub async fn read_file(&self, path: &Path) -> anyhow::Result<SweepReport> {
        let file = File::open(path).map_err(|error| CdrFileError::unreadable(path, error))?;
        let metadata = file.metadata().map_err(|error| CdrFileError::unreadable(path, error))?;
        if !metadata.is_file() {
            return Err(CdrFileError::unreadable(path, "it is not a file").into());
        }
        let written_at = metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
        let written_at = written_at.unwrap_or(Timestamp::UNIX_EPOCH);
        let name = printable(path.file_name().unwrap_or(path.as_os_str()).as_encoded_bytes());
        let source = format!("{name} ({} bytes of {})", metadata.len(), written_at.strftime("%F %T UTC"));
        // The same file again proves nothing that it did not prove the first time.
        let counted = calls::was_read(&mut *self.db.read().await?, &self.pbx.id, &source).await?;
        if counted && !self.known_files_too {
            return Ok(SweepReport::default());
        }
        let mut reading = self.begin(name, source, jiff::civil::date(1970, 1, 1)).await?;
        let outcome = self.take_file(&mut reading, file).await;
        let whole = matches!(outcome, Ok(Ok(()))) && !self.stop.is_cancelled() && !counted;
        let written_at = written_at.min(reading.facts.now);
        let report = self.close(reading, Covered::File { whole, written_at }).await?;
        match outcome? {
            Ok(()) => Ok(report),
            Err(CdrError::Io(error)) => Err(CdrFileError::unreadable(path, error).into()),
            Err(CdrError::NoHeader(error)) => {
                Err(CdrFileError::NoCdr { path: shown(path), problem: error.to_string() }.into())
            }
        }
    }

    async fn take_file(&self, reading: &mut Reading, file: File) -> anyhow::Result<Result<(), CdrError>> {
        let mut items = self.parse(file);
        while let Some(item) = items.recv().await {
            match item {
                Ok(item) => self.take(reading, item).await?,
                Err(error) => return Ok(Err(error)),
            }
            if self.stop.is_cancelled() {
                break;
            }
        }
        Ok(Ok(()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_csv_files_of_a_folder_are_its_files_whose_name_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["b.csv", "a.CSV", "notes.txt", "csv"] {
            std::fs::write(path(name), "").unwrap();
        }
        std::fs::create_dir(path("folder.csv")).unwrap();
        assert_eq!(csv_files(folder.path()).unwrap(), [path("a.CSV"), path("b.csv")]);
    }
}
