//! How much room there is.

use std::path::Path;

use rustix::fs::StatVfs;

use super::{Archive, ArchiveError};
use crate::base::filesystem::{self, available};

/// Bytes that can still be written to the archive at `root`, or to where it would be made.
pub fn free_bytes(root: &Path) -> Result<u64, ArchiveError> {
    filesystem::free_bytes(root).map_err(|error| ArchiveError::io("examine", root, error))
}

impl Archive {
    pub fn free_bytes(&self, pbx: &str) -> Result<u64, ArchiveError> {
        Ok(available(&self.stat(pbx)?))
    }

    /// Fails with [`ArchiveError::Full`] while less than `free_bytes_min` or no inode is free.
    pub fn check_space(&self, pbx: &str, free_bytes_min: u64) -> Result<(), ArchiveError> {
        let stat = self.stat(pbx)?;
        match shortage(&stat, free_bytes_min) {
            None => Ok(()),
            Some(shortage) => {
                Err(ArchiveError::Full { path: self.area(pbx)?.directory().path().to_owned(), shortage })
            }
        }
    }

    fn stat(&self, pbx: &str) -> Result<StatVfs, ArchiveError> {
        let directory = self.area(pbx)?.directory();
        rustix::fs::fstatvfs(directory).map_err(|errno| ArchiveError::io("examine", directory.path(), errno))
    }
}

fn shortage(stat: &StatVfs, free_bytes_min: u64) -> Option<String> {
    let free_bytes = available(stat);
    if free_bytes < free_bytes_min {
        let mib = |bytes: u64| bytes >> 20;
        let (free, min) = (mib(free_bytes), mib(free_bytes_min));
        return Some(format!("{free} MiB free, `free_bytes_min` asks for {min} MiB"));
    }
    // Filesystems that make inodes as needed report none at all.
    let has_inodes = stat.f_files > 0;
    (has_inodes && stat.f_favail == 0).then(|| "no inodes left".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_is_told_with_both_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let stat = rustix::fs::statvfs(dir.path()).unwrap();
        assert_eq!(shortage(&stat, 0), None);
        assert!(shortage(&stat, u64::MAX).unwrap().contains("`free_bytes_min` asks for"));
        assert_eq!(shortage(&stat, available(&stat)), None);
        assert_eq!(shortage(&StatVfs { f_favail: 0, f_files: 9, ..stat }, 0).unwrap(), "no inodes left");
        assert_eq!(shortage(&StatVfs { f_favail: 0, f_files: 0, ..stat }, 0), None);
    }
}
