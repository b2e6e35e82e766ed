//! CDR out of CSV files: given with `--cdr`, or lying in the configured folder of a PBX whose API has no CDR.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::warn;

use super::page::Fallback;
use super::reading::{Covered, Reading};
use super::{SweepReport, Sweeper};
use crate::base::blocking::blocking;
use crate::base::digest::Digest;
use crate::base::recording::printable;
use crate::base::times::zone_of;
use crate::formats::cdr::{CdrError, CdrItem, CdrReader, read_csv};
use crate::store::calls;
use crate::store::findings::{self, FindingKind};

/// Parsed items that are handed over at once, and how many such batches may wait for the database.
const BATCH: usize = 128;
const BATCHES_AHEAD: usize = 2;

/// A CDR file or folder that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum CdrFileError {
    #[error(
        "the CDR {path} cannot be read: {problem}; give callvault's user access to it, or correct the path"
    )]
    Unreadable { path: String, problem: String },
    #[error("{path} is no CDR: {problem}")]
    NoCdr { path: String, problem: String },
}

impl CdrFileError {
    fn of(path: &Path, error: CdrError) -> Self {
        match error {
            CdrError::Io(error) => Self::unreadable(path, error),
            CdrError::NoHeader(error) => Self::NoCdr { path: shown(path), problem: error.to_string() },
        }
    }

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
    pub(super) async fn read_folder(&self, folder: &Path) -> Result<SweepReport> {
        let mut report = SweepReport::default();
        let files = csv_files(folder)?;
        let (pbx, now) = (self.site.id().to_owned(), self.site.now());
        // A file that is still no CDR comes back; one that was mended or removed does not.
        let closed = async move |tx: &mut _| findings::close(tx, &pbx, FindingKind::BadFile, now).await;
        self.site.db().write(closed).await?;
        for file in files {
            match self.read_file(&file).await {
                Ok(of_file) => report += of_file,
                Err(error) if error.is::<CdrFileError>() => {
                    report.files_unread += 1;
                    let detail = Some(error.to_string());
                    self.site.settle_finding(FindingKind::BadFile, shown(&file), detail).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    /// Reads a CSV file to its end in bounded memory.
    ///
    /// # Errors
    /// [`CdrFileError`] if it cannot be read; bad rows are findings. Rows before an error are kept.
    pub(crate) async fn read_file(&self, path: &Path) -> Result<SweepReport> {
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
        let counted = calls::was_read(&mut *self.site.db().read().await?, self.site.id(), &source).await?;
        if counted && !self.deep {
            return Ok(SweepReport::default());
        }
        // What tells no time was most likely listed shortly before the file was written.
        let written_on = zone_of(self.site.pbx.timezone.as_ref(), None).to_datetime(written_at).date();
        let mut reading = self.begin(name, source, Fallback::Before(written_on), None, None).await?;
        if counted && self.is_unchanged(&mut reading, path).await? {
            return Ok(reading.report());
        }
        let outcome = self.take_file(&mut reading, path, file).await;
        let flaw = outcome.as_ref().ok().and_then(FileFacts::flaw);
        let is_read = outcome.is_ok() && !self.site.stop.is_cancelled() && flaw.is_none();
        let whole = is_read && !counted;
        let written_at = written_at.min(reading.facts.now);
        let report = self.close(reading, Covered::File { is_read, whole, written_at }).await?;
        outcome?;
        self.note_flaw(path, flaw).await?;
        Ok(SweepReport { files_unread: report.files_unread + u64::from(flaw.is_some()), ..report })
    }

    /// Whether the file holds the very bytes that it held when it was read whole.
    async fn is_unchanged(&self, reading: &mut Reading, path: &Path) -> Result<bool> {
        let Some(known) = self.known_list(reading).await? else { return Ok(false) };
        let opened = File::open(path).map_err(|error| CdrFileError::unreadable(path, error))?;
        let hashed = blocking(move || {
            let mut file = Hashing::new(opened);
            std::io::copy(&mut file, &mut std::io::sink()).map(|_| file.sha256())
        });
        let is_same = hashed.await.map_err(|error| CdrFileError::unreadable(path, error))? == known.sha256;
        if is_same {
            reading.take_unchanged(Some(&known));
        }
        Ok(is_same)
    }

    /// Tells of a file whose recordings are queued and that proves nothing.
    async fn note_flaw(&self, path: &Path, flaw: Option<&'static str>) -> Result<()> {
        let subject = shown(path);
        if let Some(flaw) = flaw {
            warn!(pbx = self.site.id(), "{subject}: {flaw}");
        }
        self.site.settle_finding(FindingKind::BadFile, subject, flaw.map(str::to_owned)).await
    }

    async fn take_file(&self, reading: &mut Reading, path: &Path, file: File) -> Result<FileFacts> {
        let (mut items, read) = self.parse(file);
        let mut facts = FileFacts::default();
        while let Some(batch) = items.recv().await {
            for item in batch {
                let item = item.map_err(|error| CdrFileError::of(path, error))?;
                facts.note(&item);
                self.take(reading, item).await?;
            }
            if self.site.stop.is_cancelled() {
                return Ok(facts);
            }
        }
        reading.list.sha256 = Some(read.await.context("reading a CDR file")?);
        Ok(facts)
    }

    /// Parses on a thread of its own: reading a large file must not hold up downloads.
    /// Gives the hash of all that was read when that has ended.
    fn parse(&self, file: File) -> (mpsc::Receiver<Batch>, JoinHandle<Digest>) {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let pbx = &self.site.pbx;
        let reader = CdrReader::new(&pbx.cdr_columns).keeping(&pbx.cdr_keep_columns);
        let read = tokio::task::spawn_blocking(move || {
            let mut file = Hashing::new(file);
            let mut items = read_csv(&mut file, reader);
            loop {
                let batch: Batch = items.by_ref().take(BATCH).collect();
                if batch.is_empty() || sender.blocking_send(batch).is_err() {
                    break;
                }
            }
            file.sha256()
        });
        (receiver, read)
    }
}

type Batch = Vec<Result<CdrItem, CdrError>>;

/// Hashes what is read through it.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Hashing<R> {
    fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new() }
    }

    fn sha256(self) -> Digest {
        self.hash.into()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// What the rows of a file show of the file.
#[derive(Debug, Clone, Copy, Default)]
struct FileFacts {
    is_rewritten: bool,
    is_undated: bool,
}

impl FileFacts {
    fn note(&mut self, item: &CdrItem) {
        if let CdrItem::Row(row) = item {
            self.is_rewritten |= row.is_rewritten();
            self.is_undated |= row.is_undated();
        }
    }

    /// Why the file proves nothing; `None` if nothing speaks against it.
    fn flaw(&self) -> Option<&'static str> {
        if self.is_rewritten {
            return Some(
                "it went through a spreadsheet, which rounded numbers or rewrote times: its recordings are queued, but it \
                 proves nothing of its days; export the list from the PBX again and give the file as it is",
            );
        }
        self.is_undated.then_some(
            "some of its rows tell no time: their recordings are queued, but it proves nothing of its days; export the list \
             from the PBX again, with the column timestart, or map its heading in cdr_columns",
        )
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
