//! Loop devices, and filesystems that are mounted from them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::filesystem::Filesystem;
use super::tool;

/// How long somebody may keep a filesystem busy that is to be unmounted: a process that has just been forked, a database
/// that is being closed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A part of an image as a device. Dropped, the device is let go as soon as nothing is mounted from it.
pub(crate) struct Device(PathBuf);

impl Device {
    /// Makes a device of `size` bytes of an image from `offset` on.
    pub(crate) fn attach(image: &Path, offset: u64, size: u64) -> Result<Self, String> {
        let (offset, size) = (offset.to_string(), size.to_string());
        let args: [&OsStr; 7] = [
            "--find".as_ref(),
            "--show".as_ref(),
            "--offset".as_ref(),
            offset.as_ref(),
            "--sizelimit".as_ref(),
            size.as_ref(),
            image.as_os_str(),
        ];
        tool::try_run("losetup", &args).map(|device| Self(device.into()))
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // One that is in use goes when it is unmounted, whoever does that.
        let _ = tool::try_run("losetup", &["--detach".as_ref(), self.0.as_os_str()]);
    }
}

/// Filesystems that are mounted. Dropped, they are not.
pub(crate) struct Mounted {
    filesystem: Filesystem,
    points: Vec<PathBuf>,
    devices: Vec<PathBuf>,
}

impl Mounted {
    /// Mounts each device at its place.
    pub(crate) fn mount(disks: Vec<(Device, PathBuf)>, filesystem: Filesystem) -> Self {
        let mut mounted = Self { filesystem, points: Vec::new(), devices: Vec::new() };
        for (device, point) in disks {
            std::fs::create_dir_all(&point).unwrap();
            let args: [&OsStr; 4] =
                ["-t".as_ref(), filesystem.name().as_ref(), device.path().as_os_str(), point.as_os_str()];
            tool::run("mount", &args);
            mounted.devices.push(device.path().to_owned());
            mounted.points.push(point);
        }
        mounted
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for (point, device) in self.points.iter().zip(&self.devices).rev() {
            let began = Instant::now();
            while let Err(problem) = tool::try_run("umount", &[point]) {
                if began.elapsed() > PATIENCE {
                    eprintln!("{problem}; it goes when nobody uses it any more");
                    let _ = tool::try_run("umount", &["--lazy".as_ref(), point.as_os_str()]);
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            self.filesystem.forget(device);
        }
    }
}
