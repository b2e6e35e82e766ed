//! The campaign: whatever moment the power is cut at, nothing that was acknowledged is lost.

use std::time::Duration;

use super::cutting::{Cut, Run};
use super::disk::Disk;
use super::figures::Figures;
use super::filesystem::{Filesystem, Layout};
use super::installation::{Installation, Work};
use super::moment::Chance;
use super::workshop::Workshop;
use crate::support::acknowledged::{Acknowledged, Losses};
use crate::support::campaign::{is_full, seed};

/// Runs of one disk: on an empty one, on what a cut of that run has left, and on one on which all is archived already, where days
/// are certified.
const GENERATIONS: u64 = 3;

/// How long a campaign lasts.
struct Size {
    /// Images of each filesystem and layout, at least.
    images: usize,
    cuts_per_run: usize,
    /// The program is started again on one image of so many.
    restart_every: usize,
}

impl Size {
    fn chosen(filesystem: Filesystem) -> Self {
        match (is_full(), filesystem) {
            (true, _) => Self { images: 200, cuts_per_run: 12, restart_every: 3 },
            // One disk gives 17 to 21 of them; a second one would double the time.
            (false, Filesystem::Ext4) => Self { images: 10, cuts_per_run: 6, restart_every: 5 },
            (false, _) => Self { images: 6, cuts_per_run: 3, restart_every: 4 },
        }
    }
}

/// One filesystem and layout.
struct Campaign<'a> {
    installation: Installation<'a>,
    filesystem: Filesystem,
    size: Size,
    chance: Chance,
    figures: Figures,
}

impl<'a> Campaign<'a> {
    async fn run(&mut self) {
        while self.figures.images() < self.size.images {
            let (workshop, layout) = (self.installation.workshop(), self.installation.layout());
            let mut disk = Disk::make(workshop, self.filesystem, layout);
            let mut acknowledged = Acknowledged::default();
            for generation in 0..GENERATIONS {
                let cuts = self.cut(&disk, &acknowledged, generation).await;
                self.examine(&cuts).await;
                let next = match generation {
                    0 => &cuts[self.chance.below(cuts.len() as u64) as usize],
                    _ => cuts.last().expect("there is one at the end"),
                };
                disk = next.disk.cut();
                acknowledged = next.acknowledged.clone();
            }
        }
    }

    async fn cut(&mut self, disk: &Disk<'a>, acknowledged: &Acknowledged, generation: u64) -> Vec<Cut<'a>> {
        let work = match (generation, self.chance.below(4)) {
            (0 | 1, 0) => Work::Service,
            (2, 0) => Work::Rebuild,
            (2, 1) => Work::RotateKey,
            _ => Work::Backfill,
        };
        let (installation, cuts) = (&mut self.installation, self.size.cuts_per_run);
        let run = Run { installation, disk, work, cuts, lie: None };
        run.cut(acknowledged, &mut self.chance).await
    }

    async fn examine(&mut self, cuts: &[Cut<'a>]) {
        for cut in cuts {
            let mounted = cut.disk.mount();
            let losses = Losses::of(self.installation.place(), &cut.acknowledged).await;
            drop(mounted);
            self.figures.note(&cut.acknowledged, &losses);
            if !losses.are_none() {
                println!("{}: {losses:?}", self.told(cut));
            }
            if self.figures.images().is_multiple_of(self.size.restart_every) {
                self.start_again(cut).await;
            }
        }
    }

    /// Starts the program on a copy that nobody has looked at, every other time without the database.
    async fn start_again(&mut self, cut: &Cut<'a>) {
        self.figures.restarted += 1;
        let is_without = self.figures.restarted.is_multiple_of(2) && !cut.acknowledged.recordings.is_empty();
        let how = if is_without { " without its database" } else { "" };
        println!("starting again{how}: {}", self.told(cut));
        let disk = cut.disk.cut();
        let _mounted = disk.mount();
        let must_hold = match is_without {
            true => &self.installation.rebuild(&cut.acknowledged),
            false => &cut.acknowledged,
        };
        self.installation.finish(must_hold).await;
    }

    fn told(&self, cut: &Cut<'_>) -> String {
        let image = self.figures.images();
        format!(
            "{}, archive on {}, image {image}, seed {}: {}",
            self.filesystem,
            self.installation.layout(),
            seed(),
            cut.when
        )
    }
}

/// Cuts the power of both layouts of a filesystem.
async fn nothing_is_lost_on(filesystem: Filesystem) {
    let Some(workshop) = Workshop::open() else { return };
    if let Some(lacks) = filesystem.lacks() {
        eprintln!("SKIPPED: {lacks}; power cuts of {filesystem} are not tested");
        return;
    }
    for layout in Layout::ALL {
        let installation = Installation::new(&workshop, layout, seed(), Duration::from_millis(2)).await;
        let chance = Chance::new(seed().wrapping_mul(31).wrapping_add(layout.filesystems() as u64));
        let size = Size::chosen(filesystem);
        let mut campaign = Campaign { installation, filesystem, size, chance, figures: Figures::default() };
        campaign.run().await;
        campaign.figures.print("as it is", filesystem, layout);
        assert_eq!(campaign.figures.with_loss(), 0, "images on which something was lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_that_was_acknowledged_is_lost_on_ext4() {
    nothing_is_lost_on(Filesystem::Ext4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_that_was_acknowledged_is_lost_on_xfs() {
    nothing_is_lost_on(Filesystem::Xfs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nothing_that_was_acknowledged_is_lost_on_btrfs() {
    nothing_is_lost_on(Filesystem::Btrfs).await;
}
