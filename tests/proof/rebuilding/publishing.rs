//! A ledger of which less was published than happened.

use std::fs;

use callvault::archive::{self, Area, AreaOwner, survey};
use callvault::base::digest::Digest;
use callvault::formats::tlog::{
    Checkpoint, Frontier, SigningKey, TILE_WIDTH, Tile, bundle, leaf_hash, path_of_bundle, sign,
};
use callvault::proof::notary::{self, FOLDER};
use callvault::vault::state::surviving;
use jiff::Timestamp;

use crate::support::station::Station;

/// Publishes `entries` below the root of an archive: what a notary would have made of them.
pub(crate) fn publish(area: &Area, key: &SigningKey, entries: &[Vec<u8>]) {
    let put = |path: &str, bytes: &[u8]| area.put(&notary::key(path).unwrap(), bytes).unwrap();
    let (mut frontier, mut full) = (Frontier::default(), Vec::new());
    for (index, page) in (0..).zip(entries.chunks(TILE_WIDTH as usize)) {
        page.iter().for_each(|entry| frontier.push(leaf_hash(entry), &mut full));
        put(&path_of_bundle(index, page.len() as u64), &bundle(page.iter().map(Vec::as_slice)));
    }
    let put_tile = |tile: Tile, hashes: &[Digest]| put(&tile.path(), &Tile::to_bytes(hashes));
    full.iter().for_each(|(tile, hashes)| put_tile(*tile, hashes));
    frontier.partial_tiles().for_each(|(tile, hashes)| put_tile(tile, hashes));
    let key_of = key.verifying_key();
    put(&format!("keys/{}.vkey", key_of.id()), format!("{}\n", key_of.to_vkey()).as_bytes());
    if !entries.is_empty() {
        let (size, root) = (frontier.size(), frontier.root());
        let checkpoint = Checkpoint { origin: key_of.name().to_owned(), size, root };
        area.replace(
            &notary::key("checkpoint").unwrap(),
            sign(&checkpoint.to_text(), std::slice::from_ref(key)).as_bytes(),
        )
        .unwrap();
    }
}

impl Station {
    /// Lets no more than these entries be published, and signed: by the key of the state, or by one that none of them tells
    /// of if that is lost. The keys that were published before all entries stay there.
    pub(crate) fn publish_only(&self, entries: &[(i64, Vec<u8>)]) {
        let ledger = self.archive().join(FOLDER);
        let aside = self.archive().join("keys-aside");
        fs::rename(ledger.join("keys"), &aside).unwrap();
        fs::remove_dir_all(&ledger).unwrap();
        fs::create_dir(&ledger).unwrap();
        fs::rename(&aside, ledger.join("keys")).unwrap();
        let owner = survey::owner(&*archive::require(self.archive()).unwrap(), "hq").unwrap().unwrap();
        let of = AreaOwner {
            archive_id: &owner.archive_id,
            state_id: &owner.state_id,
            now: Timestamp::UNIX_EPOCH,
        };
        let area = Area::open(self.archive(), FOLDER, of).unwrap();
        let state = &self.config.state.path;
        drop(fs::remove_file(state.join("checkpoint")));
        let left = surviving(state).unwrap().seeds.first().map(|seed| **seed);
        let origin = notary::own_origin(&owner.state_id);
        let key = SigningKey::from_seed(&origin, &left.unwrap_or([7; 32])).unwrap();
        let entries: Vec<Vec<u8>> = entries.iter().map(|(_, entry)| entry.clone()).collect();
        publish(&area, &key, &entries);
    }
}
