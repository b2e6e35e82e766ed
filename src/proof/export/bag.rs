//! A BagIt bag (RFC 8493) in the making: beside its final place, under a temporary name, until it is complete.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{ExportError, Result};
use crate::base::digest::{Digest, hex};

const COPY_BYTES: usize = 128 << 10;
/// Readable by the owner and the group, until the owner decides otherwise.
const FOLDER_MODE: u32 = 0o750;
pub(super) const PAYLOAD: &str = "data/";
const MANIFEST: &str = "manifest-sha256.txt";
const TAG_MANIFEST: &str = "tagmanifest-sha256.txt";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) size_bytes: u64,
    pub(super) sha256: Digest,
}

/// The bag. If dropped before [`Bag::keep`], it is removed.
#[derive(Debug)]
pub(super) struct Bag {
    folder: Temporary,
    files: BTreeMap<String, Written>,
}

/// A file or folder beside its final place, under a name that no other export uses: `.<name>.callvault-<16 hex>.part`. If
/// dropped, whatever still has that name is removed.
#[derive(Debug)]
pub(super) struct Temporary(pub(super) PathBuf);

impl Temporary {
    pub(super) fn beside(out: &Path) -> Self {
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("the kernel gives random bytes");
        let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self(parent(out).join(format!(".{name}.callvault-{}.part", hex(&random))))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let removed = if self.0.is_dir() { fs::remove_dir_all(&self.0) } else { fs::remove_file(&self.0) };
        if let Some(sentence) = left(&self.0, removed) {
            tracing::warn!("{sentence}");
        }
    }
}

impl Bag {
    pub(super) fn begin(out: &Path) -> Result<Self> {
        let folder = Temporary::beside(out);
        let created = fs::DirBuilder::new().mode(FOLDER_MODE).create(&folder.0);
        created.map_err(|error| ExportError::io("make folder", &folder.0, error))?;
        Ok(Self { folder, files: BTreeMap::new() })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder.0
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    pub(super) fn put(&mut self, path: &str, bytes: impl AsRef<[u8]>) -> Result<Written> {
        self.write_with(path, |to| to.write_all(bytes.as_ref()))
    }

    /// Copies a file and hashes it. The inner error is one of reading: what was read until then is in the bag.
    pub(super) fn copy(&mut self, path: &str, from: &mut impl Read) -> Result<io::Result<Written>> {
        let (mut unread, mut buffer) = (None, vec![0; COPY_BYTES]);
        let written = self.write_with(path, |to| {
            loop {
                match from.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(count) => to.write_all(&buffer[..count])?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        unread = Some(error);
                        return Ok(());
                    }
                }
            }
        })?;
        Ok(unread.map_or(Ok(written), Err))
    }

    pub(super) fn write_with(
        &mut self,
        path: &str,
        write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
    ) -> Result<Written> {
        let place = self.place(path)?;
        let failed = |error| ExportError::io("write", &place, error);
        let file = File::create_new(&place).map_err(failed)?;
        let mut file = Hashing { file, hasher: Sha256::new(), size_bytes: 0 };
        let mut buffered = BufWriter::new(&mut file);
        write(&mut buffered).and_then(|()| buffered.flush()).map_err(failed)?;
        drop(buffered);
        let written = Written { size_bytes: file.size_bytes, sha256: file.hasher.into() };
        self.files.insert(path.to_owned(), written);
        Ok(written)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let place = self.place(to)?;
        fs::rename(self.folder.0.join(from), &place)
            .map_err(|error| ExportError::io("write", &place, error))?;
        let written = self.files.remove(from).expect("what is renamed was written");
        self.files.insert(to.to_owned(), written);
        Ok(())
    }

    /// Where a file of the bag is; its folder exists afterwards.
    fn place(&self, path: &str) -> Result<PathBuf> {
        let place = self.folder.0.join(path);
        fs::create_dir_all(place.parent().expect("a file is in a folder"))
            .map_err(|error| ExportError::io("write", &place, error))?;
        Ok(place)
    }

    /// Bytes and files of the payload so far.
    pub(super) fn payload(&self) -> (u64, u64) {
        let payload = || self.files.iter().filter(|(path, _)| path.starts_with(PAYLOAD));
        (payload().map(|(_, file)| file.size_bytes).sum(), payload().count() as u64)
    }

    /// Writes the manifests; on return everything is on disk. Returns the hash of the tag manifest, which covers the bag.
    pub(super) fn close(&mut self, info: &[(&str, String)]) -> Result<Digest> {
        self.put("bagit.txt", "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")?;
        let info = info.iter().map(|(label, value)| format!("{label}: {value}\n"));
        self.put("bag-info.txt", info.collect::<String>())?;
        self.put(MANIFEST, self.manifest(true))?;
        let whole = self.put(TAG_MANIFEST, self.manifest(false))?;
        self.sync()?;
        Ok(whole.sha256)
    }

    /// As `sha256sum -c` reads it. No path needs the escapes of RFC 8493: none has a percent sign or a line end.
    fn manifest(&self, of_payload: bool) -> String {
        let files = self.files.iter().filter(|(path, _)| path.starts_with(PAYLOAD) == of_payload);
        files.map(|(path, file)| format!("{}  {path}\n", file.sha256)).collect()
    }

    /// Makes everything durable. Most of it is on disk already, so this costs less than syncing each file as it is written.
    fn sync(&self) -> Result<()> {
        let mut folders = std::collections::BTreeSet::from([self.folder.0.clone()]);
        for path in self.files.keys() {
            let place = self.folder.0.join(path);
            sync(&place)?;
            folders
                .extend(place.ancestors().skip(1).take_while(|at| *at != self.folder.0).map(Path::to_owned));
        }
        folders.iter().try_for_each(|folder| sync(folder))
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Gives it its final name, durable on return. Nothing is overwritten.
    pub(super) fn keep(self, out: &Path) -> Result<()> {
        // A rename replaces only an empty folder.
        fs::rename(&self.folder.0, out).map_err(|error| ExportError::io("give its name to", out, error))?;
        sync(parent(out))
    }
}

struct Hashing {
    file: File,
    hasher: Sha256,
    size_bytes: u64,
}

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size_bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A sentence about what could not be removed: its name is hidden, and it holds recordings.
fn left(path: &Path, removed: io::Result<()>) -> Option<String> {
    let error = removed.err().filter(|error| error.kind() != io::ErrorKind::NotFound)?;
    let path = path.display();
    Some(format!(
        "`{path}` could not be removed ({error}): it may contain copies of recordings; remove it by hand"
    ))
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the bytes of a file, or the names in a folder, durable.
pub(super) fn sync(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    match synced {
        // Some filesystems have no such call for folders.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced.map_err(|error| ExportError::io("sync", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bag_has_its_name_only_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("bag");
        let mut bag = Bag::begin(&out).unwrap();
        bag.put("data/hq/a.wav", "audio").unwrap();
        assert!(!out.exists());
        drop(bag);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "one that was given up leaves nothing");
        let mut bag = Bag::begin(&out).unwrap();
        bag.put("data/hq/a.wav", "audio").unwrap();
        bag.rename("data/hq/a.wav", "data/_damaged/hq/a.wav").unwrap();
        bag.write_with("log/checkpoint", |file| file.write_all(b"note")).unwrap();
        assert_eq!(bag.payload(), (5, 1));
        let whole = bag.close(&[("Bagging-Date", "2026-01-09".to_owned())]).unwrap();
        fs::create_dir(&out).unwrap();
        bag.keep(&out).unwrap();
        let read = |path: &str| fs::read_to_string(out.join(path)).unwrap();
        assert_eq!(read(MANIFEST), format!("{}  data/_damaged/hq/a.wav\n", Digest::of("audio")));
        assert_eq!(Digest::of(read(TAG_MANIFEST)), whole);
        let names: Vec<String> = read(TAG_MANIFEST).lines().map(|line| line[66..].to_owned()).collect();
        assert_eq!(names, ["bag-info.txt", "bagit.txt", "log/checkpoint", MANIFEST]);
    }

    #[test]
    fn what_stays_of_a_bag_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join(".bag.part");
        assert_eq!(left(&place, fs::remove_dir_all(&place)), None);
        fs::write(&place, "no folder").unwrap();
        let told = left(&place, fs::remove_dir_all(&place)).unwrap();
        assert!(told.contains(".bag.part` could not be removed (Not a directory"), "{told}");
    }

    #[test]
    fn a_bag_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("bag");
        fs::create_dir(&out).unwrap();
        fs::write(out.join("theirs"), "").unwrap();
        let mut bag = Bag::begin(&out).unwrap();
        bag.close(&[]).unwrap();
        assert!(bag.keep(&out).is_err());
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
    }
}
