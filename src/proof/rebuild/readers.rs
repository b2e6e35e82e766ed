//! Reading folders by several threads at a time, and handing on what they hold in the order of the folders.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::folder;
use super::found::Piece;
use crate::archive::{Folder, Reader};

/// Folders that are read at the same time: the writer is one, and half as fast as a reader.
const FOLDERS_AT_ONCE: usize = 3;

/// Pieces of one folder that wait to be taken: memory stays bounded, however large a folder is.
const PIECES_WAITING: usize = 4;

#[derive(Debug)]
pub(super) struct Readers {
    archive: Arc<dyn Reader>,
    folders: VecDeque<Folder>,
    under_way: VecDeque<UnderWay>,
}

/// A folder that is being read. Dropped, it is given up.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) folder: Folder,
    pieces: mpsc::Receiver<Piece>,
    thread: JoinHandle<()>,
}

impl Readers {
    pub(super) fn new(archive: Arc<dyn Reader>, folders: Vec<Folder>) -> Self {
        Self { archive, folders: folders.into(), under_way: VecDeque::new() }
    }

    pub(super) fn next(&mut self) -> Option<UnderWay> {
        while self.under_way.len() < FOLDERS_AT_ONCE
            && let Some(folder) = self.folders.pop_front()
        {
            let (sender, pieces) = mpsc::channel(PIECES_WAITING);
            let (archive, read) = (self.archive.clone(), folder.clone());
            let thread = tokio::task::spawn_blocking(move || {
                folder::read(&*archive, &read, |piece| sender.blocking_send(piece).is_ok());
            });
            self.under_way.push_back(UnderWay { folder, pieces, thread });
        }
        self.under_way.pop_front()
    }
}

impl UnderWay {
    /// The next piece of the folder; `None` at its end.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Piece>> {
        if let Some(piece) = self.pieces.recv().await {
            return Ok(Some(piece));
        }
        (&mut self.thread).await.with_context(|| format!("reading {}", self.folder))?;
        Ok(None)
    }
}
