//! What the filesystem under a path is like: how much room it has, and whether it is a network's.

use std::io;
use std::path::Path;

use rustix::fs::StatVfs;

/// Network filesystems by the magic number of `statfs(2)` (linux/magic.h and the filesystems' own headers).
const NETWORK_FILESYSTEMS: [(u32, &str); 13] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x00C3_6400, "Ceph"),
    (0x0102_1997, "9P"),
    (0x7375_7245, "Coda"),
    (0x564C, "NCP"),
    (0x0BD0_0BD0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x786F_4256, "vboxsf"),
];

/// The kind of network filesystem that `path` is on; `None` if it is a local one, or one behind FUSE.
///
/// A path that does not exist yet counts as its nearest existing parent.
pub fn network_filesystem(path: &Path) -> io::Result<Option<&'static str>> {
    let stat = rustix::fs::statfs(nearest_existing(path))?;
    // The field is signed or not and 32 or 64 bits wide, by platform; the magic numbers have 32 bits.
    Ok(network_name(stat.f_type as u32))
}

/// Filesystems that show an owner of their own choosing: of the mount, or of a server that maps users.
const WITHOUT_OWNERS: [u32; 5] = [
    0x6573_5546, // FUSE
    0x4D44,      // FAT
    0x2011_BAB0, // exFAT
    0x5346_544E, // NTFS
    0x7366_746E, // NTFS3
];

/// Whether the owner that a file at `path`, or at its nearest existing parent, shows is the user who made it. Where nobody
/// can tell, the answer is no.
pub fn keeps_owners(path: &Path) -> bool {
    rustix::fs::statfs(nearest_existing(path)).is_ok_and(|stat| {
        let magic = stat.f_type as u32;
        network_name(magic).is_none() && !WITHOUT_OWNERS.contains(&magic)
    })
}

/// How large a filesystem is, and how much of it an unprivileged user can still write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub total_bytes: u64,
    pub free_bytes: u64,
}

/// The room at `path`, or at its nearest existing parent.
pub fn room(path: &Path) -> io::Result<Room> {
    let stat = rustix::fs::statvfs(nearest_existing(path))?;
    Ok(Room { total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize), free_bytes: available(&stat) })
}

/// Bytes that an unprivileged user can still write at `path`, or at its nearest existing parent.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    room(path).map(|room| room.free_bytes)
}

fn network_name(magic: u32) -> Option<&'static str> {
    NETWORK_FILESYSTEMS.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

/// Bytes that an unprivileged user can still write.
pub fn available(stat: &StatVfs) -> u64 {
    stat.f_bavail.saturating_mul(stat.f_frsize)
}

fn nearest_existing(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_filesystems_are_known_by_their_magic() {
        assert_eq!(network_name(0x6969), Some("NFS"));
        assert_eq!(network_name(0xFF53_4D42), Some("CIFS"));
        assert_eq!(network_name(0xEF53), None);
    }

    #[test]
    fn a_path_to_be_made_has_the_room_of_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_bytes(&dir.path().join("not/yet")).unwrap() > 0);
        assert_eq!(network_filesystem(&dir.path().join("not/yet")).unwrap(), None);
    }
}
