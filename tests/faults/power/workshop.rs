//! A folder on a filesystem that clones files in one step (XFS, on a loop device), and the places where disks are mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::device::{Device, Mounted};
use super::filesystem::Filesystem;
use super::tool;

/// What all workshops are called; the process that made it comes next.
const PREFIX: &str = "callvault-power-";
/// Its size on paper: only what is written takes room.
const BYTES: u64 = 3 << 30;
/// Room that a folder in memory must have, to be preferred.
const MEMORY_BYTES_MIN: u64 = 2 * BYTES;

/// The place in which images are made. Dropped, all of it is gone.
pub(crate) struct Workshop {
    images: AtomicU64,
    // Unmounted before the folder is removed.
    _mounted: Mounted,
    folder: TempDir,
}

impl Workshop {
    /// Opens one. `None`, told aloud, where it takes what this machine does not have.
    pub(crate) fn open() -> Option<Self> {
        let lacks = what_is_lacking();
        if let Some(lacks) = lacks {
            eprintln!("SKIPPED: {lacks}; power cuts are not tested");
            return None;
        }
        for place in places() {
            sweep(&place);
        }
        let place = places().into_iter().next().expect("the target folder is one");
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(place).unwrap();
        let image = folder.path().join("image");
        fs::File::create(&image).unwrap().set_len(BYTES).unwrap();
        let device = match Device::attach(&image, 0, BYTES) {
            Ok(device) => device,
            Err(problem) => {
                eprintln!("SKIPPED: no loop device ({problem}); power cuts are not tested");
                return None;
            }
        };
        Filesystem::Xfs.make_on(device.path());
        let mounted = Mounted::mount(vec![(device, folder.path().join("images"))], Filesystem::Xfs);
        Some(Self { images: AtomicU64::new(0), _mounted: mounted, folder })
    }

    /// Where the next image is to be.
    pub(crate) fn next_image(&self) -> PathBuf {
        let number = self.images.fetch_add(1, Ordering::Relaxed);
        self.folder.path().join("images").join(number.to_string())
    }

    /// Where the filesystem of this number is mounted, always: a machine that comes up again finds its paths.
    pub(crate) fn mount_point(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("disk-{number}"))
    }
}

fn what_is_lacking() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root can mount a filesystem".to_owned());
    }
    if let Some(tool) = ["losetup", "mount", "umount"].into_iter().find(|tool| !tool::exists(tool)) {
        return Some(format!("there is no {tool}"));
    }
    Filesystem::Xfs.lacks()
}

/// Where workshops may be, the best first: in memory, for the disk of the machine is not what is tested.
fn places() -> Vec<PathBuf> {
    let memory = Path::new("/dev/shm");
    let has_room = callvault::archive::free_bytes(memory).is_ok_and(|bytes| bytes >= MEMORY_BYTES_MIN);
    let memory = has_room.then(|| memory.to_owned());
    memory.into_iter().chain([PathBuf::from(env!("CARGO_TARGET_TMPDIR"))]).collect()
}

/// Takes away what a process left that was killed before it could.
fn sweep(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let is_left = owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists());
        if is_left {
            println!("sweeping {name}, which an earlier run left");
            unmount_below(&entry.path());
            // What stays is swept next time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Unmounts what is mounted below a folder, the innermost first. Their loop devices go with them.
fn unmount_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let below: Vec<PathBuf> = points.filter(|point| point.starts_with(folder)).collect();
    for point in below.into_iter().rev() {
        let _ = tool::try_run("umount", &["-l".as_ref(), point.as_os_str()]);
    }
}
