//! One file instead of a folder: a ZIP without compression, because audio would not get smaller.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Readable by the owner and the group.
const MODE: u32 = 0o440;

/// Writes the files at `paths` below `folder` into `to`, under `top`. The same files always give the same bytes: in the given
/// order, without times or owners.
pub(super) fn write<'a, W: Write + Seek>(
    to: W,
    top: &str,
    folder: &Path,
    paths: impl Iterator<Item = &'a str>,
) -> io::Result<W> {
    // Sizes in ZIP64 fields throughout, so that no recording is too large.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(MODE)
        .large_file(true);
    let failed = RefCell::new(None);
    let mut zip = ZipWriter::new(Place { to, at: 0, end: 0, failed: &failed });
    for path in paths {
        if failed.borrow().is_some() {
            break;
        }
        zip.start_file(format!("{top}/{path}"), options)?;
        io::copy(&mut File::open(folder.join(path))?, &mut zip)?;
    }
    let to = zip.finish()?.to;
    failed.into_inner().map_or(Ok(to), Err)
}

/// After its first failure it accepts everything and writes nothing: a `ZipWriter` that meets an error still tries to finish
/// when it is dropped, and panics over where it is then.
struct Place<'a, W> {
    to: W,
    at: u64,
    end: u64,
    failed: &'a RefCell<Option<io::Error>>,
}

impl<W> Place<'_, W> {
    /// Runs `to_do` unless something failed before; `meant` is returned after a failure.
    fn attempt<T>(&mut self, meant: T, to_do: impl FnOnce(&mut W) -> io::Result<T>) -> io::Result<T> {
        if self.failed.borrow().is_some() {
            return Ok(meant);
        }
        match to_do(&mut self.to) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                self.failed.replace(Some(error));
                Ok(meant)
            }
            outcome => outcome,
        }
    }
}

impl<W: Write> Write for Place<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.attempt(bytes.len(), |to| to.write(bytes))?;
        self.at += count as u64;
        self.end = self.end.max(self.at);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt((), W::flush)
    }
}

impl<W: Seek> Seek for Place<'_, W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.end.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let place = place.ok_or(ErrorKind::InvalidInput)?;
        self.at = self.attempt(place, |to| to.seek(SeekFrom::Start(place)))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_make_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.wav"), "audio").unwrap();
        let zipped = |name: &str| {
            let place = folder.path().join(name);
            let to = File::create_new(&place).unwrap();
            write(to, "bag", folder.path(), ["a.wav"].into_iter()).unwrap();
            std::fs::read(place).unwrap()
        };
        let (one, other) = (zipped("1.zip"), zipped("2.zip"));
        assert_eq!(one, other);
        assert!(
            one.windows(9).any(|bytes| bytes == b"bag/a.wav")
                && one.windows(5).any(|bytes| bytes == b"audio")
        );
    }

    /// A file on a disk that refuses a write: this one, and all after it if `for_ever`.
    struct Disk {
        file: io::Cursor<Vec<u8>>,
        writes: usize,
        fails_at: usize,
        for_ever: bool,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.writes += 1;
            if self.writes == self.fails_at || (self.for_ever && self.writes > self.fails_at) {
                return Err(ErrorKind::StorageFull.into());
            }
            self.file.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.file.seek(to)
        }
    }

    #[test]
    fn whichever_write_fails_that_is_said_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.wav"), "audio").unwrap();
        std::fs::write(folder.path().join("b.wav"), "more audio").unwrap();
        let pack = |fails_at, for_ever| {
            let to = Disk { file: io::Cursor::default(), writes: 0, fails_at, for_ever };
            write(to, "bag", folder.path(), ["a.wav", "b.wav"].into_iter())
        };
        let writes = pack(usize::MAX, false).unwrap().writes;
        assert!(writes > 10, "{writes}");
        for (at, for_ever) in (1..=writes).flat_map(|at| [(at, false), (at, true)]) {
            assert_eq!(pack(at, for_ever).map(drop).unwrap_err().kind(), ErrorKind::StorageFull, "{at}");
        }
    }

    #[test]
    fn after_a_write_that_failed_no_further_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.wav"), "audio").unwrap();
        let to = Disk { file: io::Cursor::default(), writes: 0, fails_at: 1, for_ever: false };
        let packed = write(to, "bag", folder.path(), ["a.wav", "is not there.wav"].into_iter());
        assert_eq!(packed.map(drop).unwrap_err().kind(), ErrorKind::StorageFull);
    }
}
