//! A disk: one image with one filesystem in it or two, so that one clone is what a power cut leaves of all of it at one
//! instant.

use std::fs::{self, File};
use std::path::PathBuf;

use super::device::{Device, Mounted};
use super::filesystem::{Filesystem, Layout};
use super::workshop::Workshop;

/// Room for one filesystem: XFS is not made smaller.
const BYTES: u64 = 320 << 20;

/// A disk. Dropped, it is gone.
pub(crate) struct Disk<'a> {
    workshop: &'a Workshop,
    image: PathBuf,
    filesystem: Filesystem,
    layout: Layout,
}

impl<'a> Disk<'a> {
    /// A new disk with empty filesystems.
    pub(crate) fn make(workshop: &'a Workshop, filesystem: Filesystem, layout: Layout) -> Self {
        let disk = Self { workshop, image: workshop.next_image(), filesystem, layout };
        File::create(&disk.image).unwrap().set_len(BYTES * layout.filesystems() as u64).unwrap();
        for device in disk.attach() {
            filesystem.make_on(device.path());
        }
        disk
    }

    /// What a power cut at this instant leaves: what was submitted to the disk, and nothing that was not.
    pub(crate) fn cut(&self) -> Self {
        let image = self.workshop.next_image();
        let clone = File::create(&image).unwrap();
        rustix::fs::ioctl_ficlone(&clone, File::open(&self.image).unwrap()).unwrap();
        Self { image, ..*self }
    }

    /// Mounts it, as a machine does that comes up: the filesystems replay their journals.
    pub(crate) fn mount(&self) -> Mounted {
        let devices = self.attach().into_iter().enumerate();
        let places = devices.map(|(number, device)| (device, self.workshop.mount_point(number)));
        Mounted::mount(places.collect(), self.filesystem)
    }

    fn attach(&self) -> Vec<Device> {
        let numbers = 0..self.layout.filesystems() as u64;
        numbers.map(|number| Device::attach(&self.image, number * BYTES, BYTES).unwrap()).collect()
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        // What stays goes with the workshop.
        let _ = fs::remove_file(&self.image);
    }
}
