//! An archive that is kept in memory: those who read archives know of no disk.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use callvault::archive::{ArchiveError, Key, Listing, Opened, Reader, Standing, Stream};
use callvault::base::clock::Clock;
use callvault::base::digest::Digest;
use callvault::proof::export::{self, Choice, Selection, Sources};
use callvault::proof::notary::Published;
use callvault::proof::rebuild;
use callvault::proof::sealed_vault::SealedVault;
use callvault::proof::verify::{Report, Request, Scope, Verification};
use tokio_util::sync::CancellationToken;

use crate::support::station::{PBX, Station};

#[derive(Debug, Clone)]
struct Toy(BTreeMap<Key, Vec<u8>>);

impl Toy {
    fn copy_of(root: &Path) -> Self {
        let mut toy = Self(BTreeMap::new());
        toy.copy(root, &Key::ROOT);
        toy
    }

    fn copy(&mut self, folder: &Path, key: &Key) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let key = key.join(entry.file_name().as_encoded_bytes());
            match entry.path().is_dir() {
                true => self.copy(&entry.path(), &key),
                false => drop(self.0.insert(key, std::fs::read(entry.path()).unwrap())),
            }
        }
    }

    /// The audio that is first in order.
    fn some_audio(&self) -> Key {
        let is_audio = |key: &&Key| key.as_str().is_some_and(|path| path.ends_with(".wav"));
        self.0.keys().find(is_audio).unwrap().clone()
    }
}

impl Reader for Toy {
    fn open(&self, key: &Key, from: u64) -> Result<Opened, ArchiveError> {
        Ok(match self.0.get(key) {
            Some(bytes) => {
                let mut rest = Cursor::new(bytes.clone());
                rest.set_position(from);
                Opened::File(Stream::new(bytes.len() as u64, rest))
            }
            None => Opened::Nothing,
        })
    }

    fn list(&self, folder: &Key) -> Result<Option<Listing>, ArchiveError> {
        let mut listing = Listing::new();
        let prefix = folder.join(b"").as_bytes().to_vec();
        for (key, bytes) in &self.0 {
            let Some(rest) = key.as_bytes().strip_prefix(&*prefix) else { continue };
            match rest.iter().position(|byte| *byte == b'/') {
                Some(end) => listing.insert(rest[..end].to_vec(), Standing::Folder),
                None => listing.insert(rest.to_vec(), Standing::File { size_bytes: bytes.len() as u64 }),
            };
        }
        Ok((!listing.is_empty()).then_some(listing))
    }
}

/// A station that has archived four recordings, its vault, and a copy of its archive.
async fn archived() -> (Station, SealedVault, Toy) {
    let mut station = Station::new(4).await;
    station.backfill().await;
    let opened = SealedVault::open(station.config.clone(), Clock::system()).await.unwrap();
    opened.seal().await.unwrap();
    let toy = Toy::copy_of(station.archive());
    (station, opened, toy)
}

async fn verify(opened: &SealedVault, toy: &Toy) -> Report {
    let reader = Arc::new(toy.clone());
    let verification = Verification::of(opened, reader, Request::of(Scope::Full), CancellationToken::new());
    verification.run().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_memory_is_verified() {
    let (_station, opened, toy) = archived().await;
    let whole = verify(&opened, &toy).await;
    assert!(whole.is_clean() && whole.whole, "{whole:?}");
    assert!(whole.files > 8 && whole.bytes > 0, "{whole:?}");
    let mut damaged = toy.clone();
    let audio = toy.some_audio();
    damaged.0.get_mut(&audio).unwrap()[50] ^= 1;
    let report = verify(&opened, &damaged).await;
    assert_eq!((report.counts.altered, report.counts.all()), (1, 1), "{report:?}");
    assert_eq!(report.damaged[0].path, audio.to_string());
    let mut lacking = toy.clone();
    let sidecar = audio.folder().join(&[audio.name(), b".json"].concat());
    lacking.0.remove(&sidecar).unwrap();
    lacking.0.insert(audio.folder().join(b"n\xffte"), Vec::new());
    let report = verify(&opened, &lacking).await;
    assert_eq!((report.counts.missing, report.counts.unlisted, report.counts.all()), (1, 1, 2), "{report:?}");
    assert!(verify(&opened, &toy).await.is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_memory_is_proven() {
    let (_station, opened, toy) = archived().await;
    let keys = opened.notary.known_keys().await;
    let published = Published::of(Arc::new(toy)).unwrap().unwrap();
    let (checkpoint, _) = published.checkpoint(&keys).unwrap().unwrap();
    assert!(checkpoint.size > 4);
    for number in 0..checkpoint.size {
        let proof = published.prove(number, &keys).unwrap();
        assert_eq!(proof.index, number);
        assert!(proof.verify(&keys).is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_memory_is_exported() {
    let (station, opened, toy) = archived().await;
    let out = tempfile::tempdir().unwrap();
    let choice = Choice::default();
    let mut db = opened.vault.state.db.read().await.unwrap();
    let selection = Selection::read(&mut db, &choice, &[PBX.to_owned()]).await.unwrap();
    drop(db);
    let published = Published::of(Arc::new(toy.clone())).unwrap().unwrap();
    let sources = Sources {
        archive: &toy,
        published: &published,
        keys: opened.notary.known_keys().await,
        authorities: BTreeMap::new(),
        ours: Vec::new(),
        stop: CancellationToken::new(),
        now: opened.vault.clock.now(),
    };
    let request = export::Request { choice, out: out.path().join("bag"), zip: false };
    let report = export::pack(request, &selection, &sources).unwrap().hand_out().unwrap();
    assert_eq!((report.files, report.damaged, report.not_archived), (4, 0, 0), "{report:?}");
    let audio = toy.some_audio();
    let there = std::fs::read(out.path().join("bag/data").join(audio.as_str().unwrap().replace('%', ",")));
    assert_eq!(Digest::of(there.unwrap()), Digest::of(&toy.0[&audio]));
    assert_eq!(
        station.archive().join(audio.as_str().unwrap()).metadata().unwrap().len(),
        toy.0[&audio].len() as u64
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_rebuilt_from_what_is_in_memory() {
    let (station, opened, toy) = archived().await;
    drop(opened);
    std::fs::remove_dir_all(station.archive()).unwrap();
    let open = || Ok(Arc::new(toy.clone()) as Arc<dyn Reader>);
    let request = rebuild::Request::default();
    let now = callvault::base::clock::now();
    let rebuilt = rebuild::rebuild_from(&station.config, &open, &request, Arc::default(), now).await.unwrap();
    assert_eq!((rebuilt.damaged, rebuilt.pbx[PBX].counts.archived), (0, 4), "{rebuilt:?}");
    assert!(rebuilt.ledger.published > 4 && rebuilt.ledger.lost == 0, "{rebuilt:?}");
}
