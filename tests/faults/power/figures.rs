//! What a campaign came to, as a table.

use super::filesystem::{Filesystem, Layout};
use crate::support::acknowledged::Acknowledged;
use crate::support::acknowledged::Losses;

/// The head of the table.
const HEAD: &str = "| variant | filesystem | archive on | images | acknowledged | lost rows | missing files | \
                    wrong files | images with loss | started again |";

/// A line of the table.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    images: usize,
    acknowledged: usize,
    rows: usize,
    missing: usize,
    wrong: usize,
    with_loss: usize,
    /// Images on which the program was started again.
    pub(crate) restarted: usize,
}

impl Figures {
    /// Counts an image.
    pub(crate) fn note(&mut self, acknowledged: &Acknowledged, losses: &Losses) {
        self.images += 1;
        self.acknowledged += acknowledged.recordings.len();
        self.rows += losses.rows;
        self.missing += losses.missing;
        self.wrong += losses.wrong;
        self.with_loss += usize::from(!losses.are_none());
    }

    /// How many images were looked at.
    pub(crate) fn images(&self) -> usize {
        self.images
    }

    /// On how many of them something was lost.
    pub(crate) fn with_loss(&self) -> usize {
        self.with_loss
    }

    /// Prints it as a line under its head, which repeats: other tests print between.
    pub(crate) fn print(&self, variant: &str, filesystem: Filesystem, layout: Layout) {
        let layout = match layout {
            Layout::Same => "the same",
            Layout::Other => "another",
        };
        let Self { images, acknowledged, rows, missing, wrong, with_loss, restarted } = self;
        println!(
            "{HEAD}\n| {variant} | {filesystem} | {layout} | {images} | {acknowledged} | {rows} | {missing} | {wrong} | \
             {with_loss} | {restarted} |"
        );
    }
}
