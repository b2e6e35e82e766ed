//! The notary: publishes the ledger as a transparency log in the archive, and signs what it was.
//!
//! ```text
//! entries in the database ──► tiles and bundles, written once ──► (size, root) stored ──► signed ──► checkpoint published
//! ```
//! Each step is durable before the next. After a crash between any two, the same bytes are written again. callvault never
//! contradicts what it signed: before it publishes, it compares the checkpoint that others can see with its own history,
//! and refuses to sign an older or different ledger (`NotaryError::Refused`) until `callvault rebuild`.

mod check;
mod keys;
mod published;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::sync::Mutex;
use tracing::{debug, info, warn};

pub use check::{Checked, Damage, Leaves, Wrong};
pub use keys::{overlap_ends, own_origin};
pub use published::{FOLDER, Published, PublishedError, bytes_max, key, read_if_ours};

use crate::archive::{Archive, ArchiveError, Area, AreaOwner, Reader as _};
use crate::base::blocking::{blocking, on_thread};
use crate::base::digest::Digest;
use crate::config::LedgerConfig;
use crate::formats::tlog::{
    Checkpoint, Frontier, TILE_HEIGHT, TILE_WIDTH, Tile, VerifyingKey, bundle, path_of_bundle, sign,
};
use crate::store::db::Db;
use crate::store::fleet;
use crate::store::ledger::{self, Signed};
use crate::vault::state::{State, keep_checkpoint, last_checkpoint};
use keys::Keys;

/// Where the published checkpoint is, below [`FOLDER`].
const CHECKPOINT: &str = "checkpoint";
/// The key under which the database keeps what the ledger is called: it can never change.
pub const ORIGIN: &str = "ledger_origin";
/// The key under which the database keeps that another key may sign than the last one: a rebuild found that lost.
pub const KEY_MAY_CHANGE: &str = "ledger_key_may_change";
/// The key under which the database keeps why nothing is signed; empty while all is well.
pub const PROBLEM: &str = "ledger_problem";

#[derive(Debug, Clone, thiserror::Error)]
pub enum NotaryError {
    /// A ledger was signed, and is published or known to the state beside the database, that ours does not continue.
    #[error(
        "the ledger was signed with {published} entries, but the database has {ours} entries, which {relation}: it was \
         restored from an older copy, or belongs to another archive. Nothing is signed until you run \
         `callvault rebuild`; callvault still archives recordings"
    )]
    Refused { published: u64, ours: u64, relation: &'static str },
    #[error(
        "the ledger in the database does not have the signed root: the database was altered. Nothing is signed until you \
         run `callvault rebuild`; callvault still archives recordings"
    )]
    Altered,
    #[error(
        "the ledger's key is {present}, but {last} signed last: nothing is signed. Restore the former key, or run \
         `callvault ledger rotate-key` to continue with this one; callvault still archives recordings"
    )]
    OtherKey { present: String, last: String },
    #[error(
        "[ledger] origin is {configured}, but this ledger is called {signed} and cannot be renamed: restore or remove the line"
    )]
    Renamed { configured: String, signed: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub size: u64,
    pub root: Digest,
    pub note: String,
}

#[derive(Debug)]
pub struct Notary {
    pub db: Db,
    /// The folder of the published ledger: tokens over its checkpoints lie beside them.
    pub area: Arc<Area>,
    /// The state folder, where the last checkpoint is kept too.
    state: PathBuf,
    pub origin: String,
    keys: Mutex<Keys>,
    /// One seals at a time.
    sealer: Mutex<Sealer>,
    /// Entries covered by the latest checkpoint.
    sealed_size: AtomicU64,
}

#[derive(Debug)]
struct Sealer {
    frontier: Frontier,
    /// What stands in the checkpoint's file by our own doing.
    published: Option<String>,
}

impl Notary {
    /// Opens the ledger's folder and keys. On return the public halves of all keys that sign are in the folder. Whether the
    /// ledger can be signed shows at the first [`Notary::seal`].
    pub async fn open(
        root: &Path,
        archive: &Archive,
        state: &State,
        config: &LedgerConfig,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let db = state.db.clone();
        let owner = AreaOwner { archive_id: archive.id(), state_id: &state.id, now };
        let area = Arc::new(Area::open(root, FOLDER, owner).context("opening the ledger's folder")?);
        let origin = keys::origin_of_state(state, config).await?;
        let keys = Keys::open(state, &origin, config, now).await?;
        keys.publish(&area)?;
        let frontier = ledger::frontier(&mut *db.read().await?).await?;
        let sealed_size = AtomicU64::new(frontier.size());
        let sealer = Mutex::new(Sealer { frontier, published: None });
        let state = state.directory().to_owned();
        Ok(Self { db, area, state, origin, keys: Mutex::new(keys), sealer, sealed_size })
    }

    pub fn sealed_size(&self) -> u64 {
        self.sealed_size.load(SeqCst)
    }

    /// The key that signs, its public half.
    pub async fn key(&self) -> VerifyingKey {
        self.keys.lock().await.current().verifying_key()
    }

    /// All keys that ever signed, as the state has them.
    pub async fn known_keys(&self) -> Vec<VerifyingKey> {
        self.keys.lock().await.known.clone()
    }

    /// Signs bytes with the ledger's key: what `openssl pkeyutl -verify -rawin` checks.
    pub async fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.keys.lock().await.current().sign(bytes)
    }

    /// Publishes and signs all that the ledger holds now; `None` if that was signed already. On return tiles, bundles and
    /// checkpoint are on disk. After a crash the next call comes to the same bytes.
    ///
    /// # Errors
    /// [`NotaryError`] if it must not be signed, which is also kept for `callvault status`;
    /// [`ArchiveError`] if the folder cannot be written.
    pub async fn seal(&self, now: Timestamp) -> anyhow::Result<Option<Sealed>> {
        let mut sealer = self.sealer.lock().await;
        let outcome = self.seal_as(&mut sealer, now).await;
        self.note_problem(outcome.as_ref().err().and_then(|error| error.downcast_ref())).await?;
        outcome
    }

    async fn seal_as(&self, sealer: &mut Sealer, now: Timestamp) -> anyhow::Result<Option<Sealed>> {
        self.keys.lock().await.check()?;
        self.keys.lock().await.retire_overdue(&self.db, now).await?;
        let is_published = self.compare_with_published(sealer).await?;
        let size = ledger::size(&mut *self.db.read().await?).await?;
        if is_published && size == sealer.frontier.size() {
            return Ok(None);
        }
        let frontier = self.publish_tiles(&sealer.frontier, size).await?;
        let stored = frontier.clone();
        self.db.write(async move |tx| ledger::note_checkpoint(tx, &stored, now).await).await?;
        let sealed = self.publish_checkpoint(&frontier).await?;
        self.remove_superseded(sealer.frontier.size(), frontier.size()).await;
        self.sealed_size.store(sealed.size, SeqCst);
        *sealer = Sealer { frontier, published: Some(sealed.note.clone()) };
        Ok(Some(sealed))
    }

    /// Signs the tree of this edge, which is stored already, and replaces the checkpoint that others see.
    async fn publish_checkpoint(&self, frontier: &Frontier) -> anyhow::Result<Sealed> {
        let (size, root) = (frontier.size(), frontier.root());
        let checkpoint = Checkpoint { origin: self.origin.clone(), size, root };
        let note = sign(&checkpoint.to_text(), &self.keys.lock().await.signing);
        let (area, state, bytes) = (self.area.clone(), self.state.clone(), note.clone());
        // Nobody sees a checkpoint that the state could forget together with the archive.
        let publish = move || {
            keep_checkpoint(&state, &bytes)?;
            anyhow::Ok(area.replace(&key(CHECKPOINT)?, bytes.as_bytes())?)
        };
        blocking(publish).await?;
        Ok(Sealed { size, root, note })
    }

    /// Puts a note with more signatures on it, those of a witness, in place of its checkpoint. Nothing happens if another
    /// checkpoint was published since.
    pub async fn add_signatures(&self, sealed: &Sealed, note: String) -> anyhow::Result<()> {
        let mut sealer = self.sealer.lock().await;
        if sealer.published.as_deref() == Some(&*sealed.note) {
            let (area, bytes) = (self.area.clone(), note.clone());
            blocking(move || area.replace(&key(CHECKPOINT)?, bytes.as_bytes())).await?;
            sealer.published = Some(note);
        }
        Ok(())
    }

    /// Whether what others can see is the latest that we signed. What is missing or damaged there is published again; what
    /// we would contradict is refused.
    async fn compare_with_published(&self, sealer: &mut Sealer) -> anyhow::Result<bool> {
        let area = self.area.clone();
        // What is not one of ours, whatever it is, is replaced.
        let there = blocking(move || read_if_ours(&area.reader(), CHECKPOINT)).await?;
        if let (Some(there), Some(ours)) = (&there, &sealer.published)
            && there == ours.as_bytes()
        {
            return Ok(true);
        }
        let latest = ledger::latest_checkpoint(&mut *self.db.read().await?).await?;
        let (size, root) =
            latest.map_or((0, Frontier::default().root()), |latest| (latest.size, latest.root));
        // An edge beyond what was stored is that of a checkpoint that was found published, and is ours.
        if size > sealer.frontier.size() || (size == sealer.frontier.size() && root != sealer.frontier.root())
        {
            return Err(NotaryError::Altered.into());
        }
        if sealer.published.is_none() {
            self.refuse_older(sealer).await?;
        }
        let Some((published, note)) = self.believe(there).await else {
            if latest.is_some() {
                warn!("The published checkpoint was missing or damaged; callvault publishes it again");
            }
            return Ok(false);
        };
        let ours = latest.map(|Signed { size, root, .. }| (size, root));
        if ours == Some((published.size, published.root)) {
            sealer.published = Some(note);
            return Ok(true);
        }
        self.refuse_contradiction(sealer, &published).await?;
        if ours.is_some_and(|(size, _)| published.size < size) {
            info!(
                "The published checkpoint was older than the latest signed one; callvault publishes it again"
            );
        }
        Ok(false)
    }

    /// What this state signed last must be in the database too, whatever became of the published one: an older database may
    /// have been put in its place.
    async fn refuse_older(&self, sealer: &mut Sealer) -> anyhow::Result<()> {
        let state = self.state.clone();
        let kept = blocking(move || last_checkpoint(&state)).await?;
        match self.believe(kept.map(String::into_bytes)).await {
            Some((checkpoint, _)) => self.refuse_contradiction(sealer, &checkpoint).await,
            None => Ok(()),
        }
    }

    /// The checkpoint in a note, if one of our keys has signed it under our name.
    async fn believe(&self, note: Option<Vec<u8>>) -> Option<(Checkpoint, String)> {
        let note = String::from_utf8(note?).ok()?;
        let checkpoint = Checkpoint::signed(note.as_bytes(), &self.keys.lock().await.known).ok()?;
        (checkpoint.origin == self.origin).then_some((checkpoint, note))
    }

    /// What was signed must be what our entries come to: the one in `signed`. A larger one that is ours all the same becomes the latest.
    async fn refuse_contradiction(&self, sealer: &mut Sealer, signed: &Checkpoint) -> anyhow::Result<()> {
        let ours = ledger::size(&mut *self.db.read().await?).await?;
        let refused = |relation| NotaryError::Refused { published: signed.size, ours, relation };
        if signed.size > ours {
            return Err(refused("lack some of them").into());
        }
        let known = ledger::checkpoint_of(&mut *self.db.read().await?, signed.size).await?;
        let frontier = match known {
            Some(known) if known.root == signed.root => return Ok(()),
            Some(_) => return Err(refused("are others").into()),
            None => frontier_at(&self.db, signed.size).await?,
        };
        if frontier.root() != signed.root {
            return Err(refused("are others").into());
        }
        if signed.size > sealer.frontier.size() {
            sealer.frontier = frontier;
        }
        Ok(())
    }

    /// Keeps why nothing is signed, or that it is.
    async fn note_problem(&self, problem: Option<&NotaryError>) -> anyhow::Result<()> {
        let text = problem.map(ToString::to_string).unwrap_or_default();
        let kept = fleet::meta(&mut *self.db.read().await?, PROBLEM).await?.unwrap_or_default();
        if kept == text {
            return Ok(());
        }
        let noted = self.db.write(async move |tx| fleet::set_meta(tx, PROBLEM, &text).await).await;
        noted.context("noting how the ledger stands")
    }

    /// Makes a new key, which signs from now on; the former one signs beside it for a month, so that readers can learn it. On
    /// return the entry that announces it is in the ledger, signed by both.
    pub async fn rotate_key(&self, state: &State, now: Timestamp) -> anyhow::Result<VerifyingKey> {
        let mut keys = self.keys.lock().await;
        keys.rotate(state, &self.origin, now).await?;
        keys.publish(&self.area)?;
        let key = keys.current().verifying_key();
        drop(keys);
        self.seal(now).await?;
        Ok(key)
    }

    /// Publishes what the entries from `before` up to `size` add to the tree. On return all its tiles and bundles are on disk.
    async fn publish_tiles(&self, before: &Frontier, size: u64) -> anyhow::Result<Frontier> {
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
            blocking(move || {
                let path = path_of_bundle(from / TILE_WIDTH, page.len() as u64);
                put(&area, &path, &bundle(page.iter().map(|entry| entry.entry.as_bytes())))?;
                full.iter().try_for_each(|(tile, hashes)| put(&area, &tile.path(), &Tile::to_bytes(hashes)))
            })
            .await?;
            from += wanted;
        }
        let (area, edge) = (self.area.clone(), frontier.clone());
        blocking(move || {
            edge.partial_tiles()
                .try_for_each(|(tile, hashes)| put(&area, &tile.path(), &Tile::to_bytes(hashes)))
        })
        .await?;
        Ok(frontier)
    }

    /// Removes partial tiles that a full one has replaced, as the specification allows. One that stays does no harm.
    async fn remove_superseded(&self, before: u64, size: u64) {
        let area = self.area.clone();
        let removed = on_thread(move || remove_superseded(&area, before, size)).await;
        if let Ok(Err(error)) = removed {
            debug!("Partial tiles are left: {error}");
        }
    }
}

/// The edge of the tree over the first `size` entries, from the leaves themselves.
pub async fn frontier_at(db: &Db, size: u64) -> anyhow::Result<Frontier> {
    const LEAVES_PER_PAGE: u64 = 4096;
    let (mut frontier, mut full) = (Frontier::default(), Vec::new());
    while frontier.size() < size {
        let wanted = LEAVES_PER_PAGE.min(size - frontier.size());
        let page = ledger::entries(&mut *db.read().await?, frontier.size(), wanted).await?;
        anyhow::ensure!(page.len() as u64 == wanted, "the ledger has fewer than {size} entries");
        page.iter().for_each(|entry| frontier.push(entry.leaf_hash, &mut full));
        full.clear();
    }
    Ok(frontier)
}

/// Puts a file that was not published before. Whatever else has its name was never signed, or is damaged: it is moved aside,
/// so that no planted file can prevent signing.
fn put(area: &Area, path: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
    let key = key(path)?;
    match area.put(&key, bytes) {
        Err(ArchiveError::OtherBytes { .. } | ArchiveError::Occupied { .. }) => {
            if let Some(aside) = area.move_aside(&key)? {
                warn!(
                    "`{FOLDER}/{path}` had other content than callvault publishes there; callvault moved it aside to `{aside}`"
                );
            }
            area.put(&key, bytes)
        }
        put => put,
    }
}

fn remove_superseded(area: &Area, before: u64, size: u64) -> Result<(), ArchiveError> {
    let was_partial = Tile::all(before).filter(|tile| !tile.is_full());
    for tile in was_partial {
        let is_full_now = (size >> (TILE_HEIGHT * tile.level)) / TILE_WIDTH > tile.index;
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
