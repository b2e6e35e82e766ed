//! Writing the tree's tiles and the entries' bundles.

use tracing::{debug, warn};

use super::{FOLDER, Notary, key};
use crate::archive::{ArchiveError, Area, Reader as _};
use crate::base::blocking::{blocking, on_thread};
use crate::base::digest::Digest;
use crate::formats::tlog::{Frontier, TILE_WIDTH, Tile, bundle, path_of_bundle};
use crate::store::ledger::{self, Numbered};

impl Notary {
    /// Publishes what the entries from `before` up to `size` add to the tree. Returns its edge then.
    ///
    /// On return all tiles and bundles of a tree of `size` are on disk.
    pub(super) async fn publish_tiles(&self, before: &Frontier, size: u64) -> anyhow::Result<Frontier> {
        let mut frontier = before.clone();
        // A bundle holds what its entries were from its first on, also of those that were published in a partial one.
        let mut from = before.size() / TILE_WIDTH * TILE_WIDTH;
        while from < size {
            let wanted = TILE_WIDTH.min(size - from);
            let page = ledger::entries(&mut *self.db.read().await?, from, wanted).await?;
            anyhow::ensure!(page.len() as u64 == wanted, "the ledger has a gap in its numbers after {from}");
            let mut full = Vec::new();
            let new = page.iter().filter(|entry| entry.number >= frontier.size());
            let leaves: Vec<Digest> = new.map(|entry| entry.leaf_hash).collect();
            leaves.into_iter().for_each(|leaf| frontier.push(leaf, &mut full));
            let area = self.area.clone();
            blocking(move || write_page(&area, from, &page, &full)).await?;
            from += wanted;
        }
        let (area, edge) = (self.area.clone(), frontier.clone());
        blocking(move || write_partial(&area, &edge)).await?;
        Ok(frontier)
    }

    /// Removes partial tiles that a full one has replaced, as the specification allows. One that stays does no harm.
    pub(super) async fn remove_superseded(&self, before: u64, size: u64) {
        let area = self.area.clone();
        let removed = on_thread(move || remove_superseded(&area, before, size)).await;
        if let Ok(Err(error)) = removed {
            debug!("Partial tiles are left: {error}");
        }
    }
}

fn write_page(
    area: &Area,
    from: u64,
    page: &[Numbered],
    full: &[(Tile, Vec<Digest>)],
) -> Result<(), ArchiveError> {
    let entries = page.iter().map(|entry| entry.entry.as_bytes());
    let path = path_of_bundle(from / TILE_WIDTH, page.len() as u64);
    put(area, &path, &bundle(entries))?;
    full.iter().try_for_each(|(tile, hashes)| put(area, &tile.path(), &Tile::to_bytes(hashes)))
}

fn write_partial(area: &Area, frontier: &Frontier) -> Result<(), ArchiveError> {
    frontier.partial_tiles().try_for_each(|(tile, hashes)| put(area, &tile.path(), &Tile::to_bytes(hashes)))
}

/// Puts a file that was not published before. Whatever else has its name was never signed, or is damaged: it is moved aside,
/// so that no planted file can prevent signing.
fn put(area: &Area, path: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
    let key = key(path)?;
    match area.put(&key, bytes) {
        Err(ArchiveError::OtherBytes { .. } | ArchiveError::Occupied { .. }) => {
            if let Some(aside) = area.move_aside(&key)? {
                warn!("`{FOLDER}/{path}` was not what is to be published: it is `{aside}` beside it now");
            }
            area.put(&key, bytes)
        }
        put => put,
    }
}

fn remove_superseded(area: &Area, before: u64, size: u64) -> Result<(), ArchiveError> {
    let was_partial = Tile::all(before).filter(|tile| !tile.is_full());
    for tile in was_partial {
        let is_full_now =
            (size >> (crate::formats::tlog::TILE_HEIGHT * tile.level)) / TILE_WIDTH > tile.index;
        if !is_full_now {
            continue;
        }
        let full = Tile { width: TILE_WIDTH, ..tile }.path();
        remove_partials(area, &full)?;
        if tile.level == 0 {
            remove_partials(area, &path_of_bundle(tile.index, TILE_WIDTH))?;
        }
    }
    Ok(())
}

fn remove_partials(area: &Area, full: &str) -> Result<(), ArchiveError> {
    let folder = key(&format!("{full}.p"))?;
    let widths = area.reader().names(&folder)?;
    widths.iter().try_for_each(|width| area.remove(&folder.join(width.as_bytes())))
}
