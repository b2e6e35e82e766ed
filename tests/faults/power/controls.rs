//! Negative controls: a disk that lies must be found out, or the campaign proves nothing.

use std::time::Duration;

use super::cutting::Run;
use super::disk::Disk;
use super::figures::Figures;
use super::filesystem::{Filesystem, Layout};
use super::installation::{Installation, Work};
use super::lie::{Kind, Library, Lie};
use super::moment::Chance;
use super::workshop::Workshop;
use crate::support::acknowledged::{Acknowledged, Losses};
use crate::support::campaign::is_full;
use crate::support::campaign::seed;

/// Images within which each lie must have cost something.
const IMAGES_MAX: usize = 50;
const CUTS_PER_RUN: usize = 8;

/// Where a lie shows. On one filesystem the syncs of SQLite also commit the names of the archive, and hide what is not synced
/// there.
fn layouts(kind: Kind) -> &'static [Layout] {
    match kind {
        Kind::Directories => &[Layout::Other],
        _ => &Layout::ALL,
    }
}

async fn is_found_out(workshop: &Workshop, lie: &Lie<'_>, filesystem: Filesystem, layout: Layout) -> bool {
    // A slow PBX: the next recording, whose syncs would hide what this one lacks, comes later.
    let mut installation = Installation::new(workshop, layout, seed(), Duration::from_millis(10)).await;
    let mut chance = Chance::new(seed());
    let mut figures = Figures::default();
    while figures.images() < IMAGES_MAX && figures.with_loss() == 0 {
        let disk = Disk::make(workshop, filesystem, layout);
        let installation = &mut installation;
        let run = Run { installation, disk: &disk, work: Work::Backfill, cuts: CUTS_PER_RUN, lie: Some(lie) };
        for cut in run.cut(&Acknowledged::default(), &mut chance).await {
            let mounted = cut.disk.mount();
            let losses = Losses::of(installation.place(), &cut.acknowledged).await;
            drop(mounted);
            figures.note(&cut.acknowledged, &losses);
            if figures.with_loss() > 0 && !is_full() {
                break;
            }
        }
    }
    figures.print(&lie.kind.to_string(), filesystem, layout);
    figures.with_loss() > 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_disk_that_lies_is_found_out() {
    let Some(workshop) = Workshop::open() else { return };
    let Some(library) = Library::build() else { return };
    let filesystems = if is_full() { &Filesystem::ALL[..] } else { &[Filesystem::Ext4] };
    let mut green = Vec::new();
    for filesystem in filesystems.iter().filter(|filesystem| filesystem.lacks().is_none()) {
        for kind in Kind::ALL {
            for layout in layouts(kind) {
                let lie = Lie { library: &library, kind };
                if !is_found_out(&workshop, &lie, *filesystem, *layout).await {
                    green.push(format!("{kind} on {filesystem}, archive on {layout}"));
                }
            }
        }
    }
    assert!(green.is_empty(), "these were not found out: {green:?}");
}
