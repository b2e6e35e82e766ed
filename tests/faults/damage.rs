//! Seeded damage: whatever happens to a file of the archive, verification names it, and names nothing else.
//!
//! Each round damages some files at once, in ways that do not meet, verifies in full, and undoes the damage. What was not
//! undone rightly would be named by the next round. `CALLVAULT_FULL=1` does ten thousand flips and a thousand of each other
//! kind; a failure tells the seed, which `CALLVAULT_SEED` takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::station::{PBX, Station};
use callvault::base::clock::Clock;
use callvault::base::digest::Digest;
use callvault::formats::tlog::{Tile, path_of_bundle};
use callvault::proof::sealed_vault::SealedVault;
use callvault::proof::verify::{Report, Request, Scope, Verification};
use callvault::store::ledger::{self, Entry, EntryType};
use tokio_util::sync::CancellationToken;

/// Damages of one round.
const PER_ROUND: usize = 8;
/// Entries of the ledger: enough for tiles of two levels, full ones and partial ones.
const ENTRIES: u64 = 600;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Flip,
    Delete,
    Swap,
    Rename,
    Truncate,
    EditSidecar,
    RewriteSums,
    EditTile,
}

const OTHERS: [Kind; 7] = [
    Kind::Delete,
    Kind::Swap,
    Kind::Rename,
    Kind::Truncate,
    Kind::EditSidecar,
    Kind::RewriteSums,
    Kind::EditTile,
];

/// Splitmix64: the same numbers from the same seed, on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn choose<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.below(some.len())]
    }
}

/// An archive, open, and what its files were.
struct Scene {
    _station: Station,
    vault: SealedVault,
    root: PathBuf,
    files: BTreeMap<String, Vec<u8>>,
    /// Of the published ledger, what may go: partial tiles of an earlier time.
    superseded: BTreeSet<String>,
    /// The published ledger at an earlier time.
    earlier: BTreeMap<String, Vec<u8>>,
}

impl Scene {
    async fn new() -> Self {
        let mut station = Station::new(40).await;
        station.backfill().await;
        let vault = SealedVault::open(station.config.clone(), Clock::system()).await.unwrap();
        let root = station.archive().to_owned();
        append(&vault, 200).await;
        let earlier = files_below(&root, "_ledger");
        append(&vault, ENTRIES - 200).await;
        let mut scene = Self {
            _station: station,
            vault,
            root,
            files: BTreeMap::new(),
            superseded: BTreeSet::new(),
            earlier,
        };
        // The first look notes what the markers are.
        assert_eq!(named(&scene.verify(Scope::Quick).await), BTreeSet::new());
        scene.files = files_below(&scene.root, PBX);
        scene.files.extend(files_below(&scene.root, "_ledger"));
        let needed = needed(scene.vault.notary.sealed_size());
        let tiles = scene.files.keys().filter(|path| path.starts_with("_ledger/tile/"));
        scene.superseded = tiles.filter(|path| !needed.contains(*path)).cloned().collect();
        scene
    }

    async fn verify(&self, scope: Scope) -> Report {
        let report =
            Verification::new(&self.vault, Request::of(scope), CancellationToken::new()).run().await.unwrap();
        assert!(report.whole, "{report:?}");
        report
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.root.join(path);
        if path.symlink_metadata().is_ok() {
            fs::remove_file(&path).unwrap();
        }
        fs::write(path, bytes).unwrap();
    }

    /// A file that satisfies `which` and that this round has not touched, which it has from now on.
    fn pick(
        &self,
        random: &mut Random,
        used: &mut BTreeSet<String>,
        which: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let free: Vec<&String> =
            self.files.keys().filter(|path| !used.contains(*path) && which(path)).collect();
        let path = (*(!free.is_empty()).then(|| random.choose(&free))?).clone();
        used.insert(path.clone());
        Some(path)
    }
}

async fn append(vault: &SealedVault, count: u64) {
    let now = vault.vault.clock.now();
    let append = vault.vault.state.db.write(async move |tx| {
        for number in 0..count {
            ledger::append(tx, &Entry::new(EntryType::Gap, now).with("n", number)).await?;
        }
        Ok(())
    });
    append.await.unwrap();
    vault.seal().await.unwrap().unwrap();
}

fn needed(size: u64) -> BTreeSet<String> {
    let tiles = Tile::all(size).flat_map(|tile| {
        let bundle = (tile.level == 0).then(|| path_of_bundle(tile.index, tile.width));
        bundle.into_iter().chain([tile.path()])
    });
    tiles.map(|path| format!("_ledger/{path}")).collect()
}

fn files_below(root: &Path, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files_below(root, &path)),
            false => drop(found.insert(path.clone(), fs::read(entry.path()).unwrap())),
        }
    }
    found
}

fn named(report: &Report) -> BTreeSet<String> {
    report.damaged.iter().map(|damage| format!("{} {}", damage.class.as_str(), damage.path)).collect()
}

/// Does one damage: what verification should name, and how to undo it. `None` if this round leaves no room for it.
fn damage(scene: &Scene, kind: Kind, random: &mut Random, used: &mut BTreeSet<String>) -> Option<Damage> {
    let any = |_: &str| true;
    let may_not_go = |path: &str| !scene.superseded.contains(path);
    let bytes = |path: &String| scene.files[path].clone();
    let mut done = Damage::default();
    match kind {
        Kind::Flip => {
            let path = scene.pick(random, used, |path| !scene.files[path].is_empty())?;
            let mut bytes = bytes(&path);
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
            done.rewrite(scene, path, &bytes);
        }
        Kind::Delete => {
            let path = scene.pick(random, used, may_not_go)?;
            fs::remove_file(scene.root.join(&path)).unwrap();
            done.named.insert(format!("missing {path}"));
            done.touched.push(path);
        }
        Kind::Swap => {
            let one = scene.pick(random, used, any)?;
            let other = scene.pick(random, used, |path| scene.files[path] != scene.files[&one])?;
            done.rewrite(scene, one.clone(), &bytes(&other));
            done.rewrite(scene, other, &bytes(&one));
        }
        Kind::Rename => {
            let path = scene.pick(random, used, may_not_go)?;
            let new = format!("{path}{}", random.choose(&[".bak", ".1.wav", "%20copy", " (2)"]));
            fs::rename(scene.root.join(&path), scene.root.join(&new)).unwrap();
            done.named.extend([format!("missing {path}"), format!("unlisted {new}")]);
            done.planted.push(new);
            done.touched.push(path);
        }
        Kind::Truncate => {
            let path = scene.pick(random, used, |path| !scene.files[path].is_empty())?;
            let bytes = bytes(&path);
            let left = random.below(bytes.len());
            done.rewrite(scene, path, &bytes[..left]);
        }
        Kind::EditSidecar => {
            let path = scene.pick(random, used, |path| path.ends_with(".wav.json"))?;
            let text = String::from_utf8(bytes(&path)).unwrap();
            // As many bytes as before: nothing but reading shows it.
            let edited = text.replacen("\"attempts\": 1", "\"attempts\": 2", 1);
            assert!(edited != text && edited.len() == text.len());
            done.rewrite(scene, path, edited.as_bytes());
        }
        Kind::RewriteSums => {
            let sums = scene.pick(random, used, |path| path.ends_with("/SHA256SUMS"))?;
            let folder = sums.strip_suffix("SHA256SUMS").unwrap();
            let audio =
                scene.pick(random, used, |path| path.starts_with(folder) && path.ends_with(".wav"))?;
            let mut edited = bytes(&audio);
            let at = 44 + random.below(edited.len() - 44);
            edited[at] = !edited[at];
            let [before, after] = [&bytes(&audio), &edited].map(|bytes| Digest::of(bytes).to_string());
            let lines = String::from_utf8(bytes(&sums)).unwrap().replace(&before, &after);
            done.rewrite(scene, audio, &edited);
            done.rewrite(scene, sums, lines.as_bytes());
        }
        Kind::EditTile => {
            let path = scene.pick(random, used, |path| path.starts_with("_ledger/tile/"))?;
            let mut bytes = bytes(&path);
            // Another whole hash, or within an entry other text of the same length.
            let at = random.below(bytes.len() / 32) * 32;
            bytes[at..at + 32].iter_mut().for_each(|byte| *byte ^= 0x15);
            done.rewrite(scene, path, &bytes);
        }
    }
    Some(done)
}

#[derive(Debug, Default)]
struct Damage {
    named: BTreeSet<String>,
    touched: Vec<String>,
    planted: Vec<String>,
}

impl Damage {
    fn rewrite(&mut self, scene: &Scene, path: String, bytes: &[u8]) {
        scene.write(&path, bytes);
        self.named.insert(format!("altered {path}"));
        self.touched.push(path);
    }

    fn undo(self, scene: &Scene) {
        self.planted.iter().for_each(|path| fs::remove_file(scene.root.join(path)).unwrap());
        self.touched.iter().for_each(|path| scene.write(path, &scene.files[path]));
    }
}

/// Does this many damages of a kind; how many rounds that took.
async fn campaign(scene: &Scene, kind: Kind, count: usize, seed: u64) -> usize {
    let mut random = Random(seed ^ kind as u64);
    let (mut done, mut rounds) = (0, 0);
    while done < count {
        let (mut used, mut damages) = (BTreeSet::new(), Vec::new());
        while damages.len() < PER_ROUND.min(count - done) {
            let Some(one) = damage(scene, kind, &mut random, &mut used) else { break };
            damages.push(one);
        }
        let expected: BTreeSet<String> = damages.iter().flat_map(|one| one.named.clone()).collect();
        let report = scene.verify(Scope::Full).await;
        assert_eq!(named(&report), expected, "{kind:?}, round {rounds}, seed {seed}: {:#?}", report.damaged);
        (done, rounds) = (done + damages.len(), rounds + 1);
        damages.into_iter().for_each(|one| one.undo(scene));
    }
    rounds
}

/// Puts an older copy in place of the published ledger, and the present one back.
async fn roll_back(scene: &Scene) {
    let now: Vec<&String> = scene.files.keys().filter(|path| path.starts_with("_ledger/")).collect();
    now.iter().for_each(|path| fs::remove_file(scene.root.join(path)).unwrap());
    scene.earlier.iter().for_each(|(path, bytes)| scene.write(path, bytes));
    let gone =
        needed(scene.vault.notary.sealed_size()).into_iter().filter(|path| !scene.earlier.contains_key(path));
    let mut expected: BTreeSet<String> = gone.map(|path| format!("missing {path}")).collect();
    expected.insert("ledger_mismatch _ledger/checkpoint".to_owned());
    assert_eq!(named(&scene.verify(Scope::Quick).await), expected);
    scene.earlier.keys().for_each(|path| fs::remove_file(scene.root.join(path)).unwrap());
    now.iter().for_each(|path| scene.write(path, &scene.files[*path]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_damage_is_named_exactly_and_nothing_else_is() {
    let is_full = std::env::var_os("CALLVAULT_FULL").is_some();
    let (flips, others) = if is_full { (10_000, 1_000) } else { (200, 20) };
    let seed = std::env::var("CALLVAULT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4);
    let scene = Scene::new().await;
    let began = std::time::Instant::now();
    let mut rounds = campaign(&scene, Kind::Flip, flips, seed).await;
    for kind in OTHERS {
        rounds += campaign(&scene, kind, others, seed).await;
    }
    roll_back(&scene).await;
    let report = scene.verify(Scope::Full).await;
    assert_eq!(named(&report), BTreeSet::new());
    assert_eq!(report.files, 2 * 40 + 3 * 2, "audio, sidecars, and of each day a call list and the sums");
    let mut db = scene.vault.vault.state.db.read().await.unwrap();
    assert_eq!(callvault::store::findings::counts(&mut db).await.unwrap(), BTreeMap::new());
    println!("{flips} flips, {others} of each other kind, {rounds} rounds: {:?}", began.elapsed());
}
