//! The look: every folder is listed and compared with what it should hold. Only what looks wrong is read, and certificates:
//! they are what people are given, and small.
//!
//! The archive is written meanwhile, file first and row second, and a run that died may have left a file that the next one
//! takes. So a file is a stray only if it is still there, and after that still nothing accounts for it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};

use super::read::Subject;
use super::report::{Class, Damage, Thing};
use super::settle::Tally;
use super::{Scope, Verification};
use crate::archive::{ArchiveError, Content, Key, Listing, Reader, Standing, is_apart, is_temporary, marker};
use crate::base::blocking::{blocking, on_thread};
use crate::formats::sums;
use crate::proof::certificate::Names;
use crate::store::findings::{self, FindingKind};
use crate::store::fixity::{self, Account, Documents, Stray, Unit, What};

const SUSPECTS_PER_PAGE: usize = 256;
const STRAYS_PER_PAGE: usize = 500;
/// As what a damaged marker is kept.
const OF_MARKERS: [FindingKind; 2] = [FindingKind::FileMissing, FindingKind::FileAltered];

#[derive(Default)]
struct Rounds {
    pbx: String,
    /// Folders that should hold something, and were not looked at yet.
    expected: BTreeSet<String>,
    /// Folders that are there, and were not looked at yet.
    waiting: Vec<Vec<u8>>,
    suspects: Vec<Subject>,
    strays: Vec<Key>,
}

impl Rounds {
    /// The next folder: first those that are there, then those that should be.
    fn next(&mut self) -> Option<Vec<u8>> {
        let Some(folder) = self.waiting.pop() else { return self.expected.pop_first().map(Into::into) };
        if let Ok(path) = std::str::from_utf8(&folder) {
            self.expected.remove(path);
        }
        Some(folder)
    }
}

impl Tally<'_> {
    /// Looks at everything of these PBXs, and at what is there besides.
    pub(super) async fn look_at(&mut self, pbxs: &[String]) -> Result<()> {
        for pbx in pbxs {
            self.verification.vault.archive.check_place(pbx)?;
            self.check_marker(pbx).await?;
            self.look_at_pbx(pbx).await?;
        }
        Ok(())
    }

    async fn look_at_pbx(&mut self, pbx: &str) -> Result<()> {
        let expected = fixity::folders(&mut *self.verification.db.read().await?, pbx).await?;
        let (expected, waiting) = (expected.into_iter().collect(), vec![pbx.into()]);
        let mut rounds = Rounds { pbx: pbx.to_owned(), expected, waiting, ..Rounds::default() };
        while let Some(folder) = rounds.next() {
            if self.verification.budget.is_stopped() {
                self.report.whole = false;
                return Ok(());
            }
            self.look_into(&mut rounds, folder).await?;
            if rounds.suspects.len() >= SUSPECTS_PER_PAGE {
                self.judge_suspects(&mut rounds).await?;
            }
        }
        self.judge_suspects(&mut rounds).await?;
        self.judge_strays(pbx, rounds.strays).await
    }

    async fn look_into(&mut self, rounds: &mut Rounds, folder: Vec<u8>) -> Result<()> {
        let (folder, listing) = match self.list(&folder).await? {
            Ok(listed) => listed,
            Err(error) => {
                let damage = Damage::new(Class::Unreadable, Thing::Stray, &rounds.pbx, folder);
                return self.keep(vec![damage.evidence("a folder", error.to_string())]).await;
            }
        };
        // After the listing: what the account of then lacks, and the listing has, was there before it was archived.
        let account = match folder.as_str() {
            Some(path) => fixity::account(&mut *self.verification.db.read().await?, path).await?,
            None => Account::default(),
        };
        let Compared { suspects, strays, folders, files } = compare(&folder, &listing, &account);
        let is_quick = self.report.scope == Scope::Quick;
        if is_quick {
            self.report.files += files;
        }
        // A full verification reads them anyway, and what is suspect is read whole.
        if let Some((unit, documents)) = &account.documents
            && is_quick
            && suspects.iter().all(|suspect| suspect.id != unit.id)
        {
            rounds.suspects.extend(Subject::certificates_of(unit, documents));
        }
        let documents = account.documents.map(|(_, documents)| documents);
        rounds.suspects.extend(suspects.into_iter().map(|unit| {
            let documents = documents.clone().filter(|_| matches!(unit.what, What::Documents(_)));
            Subject { unit, documents, is_partial: false }
        }));
        rounds.strays.extend(strays);
        rounds.waiting.extend(folders.iter().map(|folder| folder.as_bytes().to_vec()));
        Ok(())
    }

    /// What stands in a folder; nothing if it is gone. The inner error says that this folder cannot be read.
    async fn list(&self, folder: &[u8]) -> Result<Result<(Key, Listing), ArchiveError>> {
        let (reader, folder) = (self.verification.reader.clone(), folder.to_owned());
        let list = move || {
            let folder = Key::found(folder)?;
            let listing = match reader.list(&folder) {
                // What stands in the way of a folder is a stray by itself.
                Err(ArchiveError::Planted { .. }) if folder.depth() > 1 => None,
                listing => listing?,
            };
            Ok((folder, listing.unwrap_or_default()))
        };
        match on_thread(list).await.context("listing a folder")? {
            Err(error) if !ArchiveError::concerns_what_was_read(&error) => Err(error.into()),
            listed => Ok(listed),
        }
    }

    async fn judge_suspects(&mut self, rounds: &mut Rounds) -> Result<()> {
        let judged = self.verification.read_page(std::mem::take(&mut rounds.suspects)).await?;
        self.settle(judged).await
    }

    /// Looks again at what seemed to be strays, and keeps those that are.
    async fn judge_strays(&mut self, pbx: &str, places: Vec<Key>) -> Result<()> {
        let mut still = Vec::new();
        for page in places.chunks(STRAYS_PER_PAGE) {
            let (reader, page) = (self.verification.reader.clone(), page.to_vec());
            let mut there = blocking(move || standings(&*reader, page)).await?;
            let strays: Vec<Stray> = there.iter().filter_map(|(place, _)| stray(pbx, place)).collect();
            let unaccounted = fixity::unaccounted(&mut *self.verification.db.read().await?, &strays).await?;
            // Nothing accounts for a name that is no text.
            there.retain(|(place, _)| {
                place.as_str().is_none_or(|path| unaccounted.iter().any(|one| one == path))
            });
            there.sort_by_key(|(place, _)| place.as_str().is_some());
            let damages = there.into_iter().map(|(place, found)| {
                let damage = Damage::new(Class::Unlisted, Thing::Stray, pbx, place.as_bytes());
                damage.evidence("nothing", shown(found))
            });
            let damages: Vec<Damage> = damages.collect();
            still.extend(damages.iter().map(|damage| damage.path.clone()));
            self.keep(damages).await?;
        }
        self.close_all_but(pbx, &[FindingKind::FileUnlisted], still).await
    }

    /// Reads the marker of `pbx`, and keeps what is wrong with it. It must be what it was when it was first seen right.
    async fn check_marker(&mut self, pbx: &str) -> Result<()> {
        let (db, now, key) = (self.verification.db, self.now(), marker::key(pbx));
        let known = fixity::marker(&mut *db.read().await?, pbx).await?;
        let (pbx_id, paths) = (pbx.to_owned(), vec![key.to_string()]);
        let (class, found) = match self.read_marker(pbx, &key).await? {
            (Content::Bytes { sha256, .. }, _) if known == Some(sha256) => {
                return db
                    .write(async move |tx| findings::close_these(tx, &pbx_id, &OF_MARKERS, &paths, now).await)
                    .await;
            }
            (Content::Bytes { sha256, .. }, true) if known.is_none() => {
                return db.write(async move |tx| fixity::note_marker(tx, &pbx_id, &sha256).await).await;
            }
            (Content::Bytes { sha256, .. }, _) => (Class::Altered, format!("SHA-256 {sha256}")),
            (Content::Nothing, _) => (Class::Missing, "nothing".to_owned()),
            _ => (Class::Altered, "no regular file".to_owned()),
        };
        let expected =
            known.map_or("a marker of this archive".to_owned(), |known| format!("SHA-256 {known}"));
        let damage = Damage::new(class, Thing::Marker, pbx, key.as_bytes());
        self.keep(vec![damage.evidence(expected, found)]).await
    }

    async fn read_marker(&self, pbx: &str, key: &Key) -> Result<(Content, bool)> {
        let Verification { reader, vault, .. } = self.verification;
        let (reader, archive, pbx, key) =
            (reader.clone(), vault.archive.clone(), pbx.to_owned(), key.clone());
        blocking(move || {
            let content = reader.hash(&key, &mut |_| true)?;
            Ok::<_, ArchiveError>((content, marker::is_of(&*reader, &pbx, archive.id())?))
        })
        .await
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Compared {
    /// Units of which something is not there, has another size, or was damaged before.
    suspects: Vec<Unit>,
    strays: Vec<Key>,
    folders: Vec<Key>,
    files: u64,
}

/// Compares what stands in `folder` with what should. A file that came after the listing looks missing: it is read, and is
/// right.
fn compare(folder: &Key, listing: &Listing, account: &Account) -> Compared {
    let mut compared = Compared::default();
    let mut known: BTreeSet<Vec<u8>> = BTreeSet::new();
    for unit in &account.files {
        let What::File(file) = &unit.what else { continue };
        let audio = name_of(&file.path);
        let sidecar = format!("{audio}.json");
        let is_there =
            size_of(listing, &audio) == Some(file.size_bytes) && size_of(listing, &sidecar).is_some();
        compared.files += 2;
        compared.suspects.extend((unit.damaged || !is_there).then(|| unit.clone()));
        known.extend([audio.into(), sidecar.into()]);
    }
    if let Some((unit, documents)) = &account.documents {
        compared.files += documents.lists.len() as u64 + 1;
        let are_there = unit.damaged || !are_there(listing, documents);
        compared.suspects.extend(are_there.then(|| unit.clone()));
        known.extend(documents.lists.iter().map(|(name, _)| name.clone().into()));
        known.insert(sums::NAME.into());
    }
    // Only directly in the folder of a PBX.
    let is_top = folder.depth() == 1;
    for (name, standing) in listing {
        let is_ours = known.contains(name)
            || is_temporary(&String::from_utf8_lossy(name))
            || (is_top && is_apart(name));
        match standing {
            Standing::Folder if is_top && is_apart(name) => {}
            Standing::Folder if !known.contains(name) => compared.folders.push(folder.join(name)),
            _ if is_ours => {}
            _ => compared.strays.push(folder.join(name)),
        }
    }
    compared
}

fn are_there(listing: &Listing, documents: &Documents) -> bool {
    let lists = documents.lists.iter().all(|(name, _)| size_of(listing, name).is_some());
    // A line is the hash, two blanks, the name and its end.
    let lines: BTreeSet<_> = documents.sums.iter().collect();
    let size_bytes: usize = lines.iter().map(|(name, _)| 64 + 2 + name.len() + 1).sum();
    lists && (documents.is_behind || size_of(listing, sums::NAME) == Some(size_bytes as u64))
}

fn name_of(path: &str) -> String {
    path.rsplit_once('/').map_or(path, |(_, name)| name).to_owned()
}

fn size_of(listing: &Listing, name: &str) -> Option<u64> {
    match listing.get(name.as_bytes()) {
        Some(Standing::File { size_bytes }) => Some(*size_bytes),
        _ => None,
    }
}

/// Those of the places where something still stands, and what.
fn standings(reader: &dyn Reader, places: Vec<Key>) -> Result<Vec<(Key, Standing)>, ArchiveError> {
    let mut listings = BTreeMap::new();
    let mut there = Vec::new();
    for place in places {
        let folder = place.folder();
        if !listings.contains_key(&folder) {
            let listing = match reader.list(&folder) {
                Err(ArchiveError::Planted { .. }) => None,
                listing => listing?,
            };
            listings.insert(folder.clone(), listing.unwrap_or_default());
        }
        let standing = listings[&folder].get(place.name()).copied();
        there.extend(standing.map(|standing| (place, standing)));
    }
    Ok(there)
}

fn stray(pbx: &str, place: &Key) -> Option<Stray> {
    let path = place.as_str()?;
    let audio = path.strip_suffix(".json").unwrap_or(path);
    let kept_beside = audio.strip_suffix(".wav").and_then(|stem| stem.rsplit_once("~conflict-"));
    let original = match kept_beside {
        Some((stem, hash)) if hash.len() == 16 => format!("{stem}.wav"),
        _ => audio.to_owned(),
    };
    let (folder, name) = path.rsplit_once('/')?;
    // Call lists and certificates: they may be ones that are being written, or that a run wrote which died before it
    // could note that.
    let day_of_folder = || folder.strip_prefix(pbx).map(|day| day.trim_matches('/').replace('/', "-"));
    let list = name.strip_prefix("calls-").and_then(|rest| rest.strip_suffix(".jsonl"));
    let day = list.and_then(|_| day_of_folder());
    let certificate = Names::of_file(name).and_then(|names| Some((day_of_folder()?, names.revision)));
    let (pbx, path, audio) = (pbx.to_owned(), path.to_owned(), audio.to_owned());
    Some(Stray { pbx, path, audio, place: original, day, certificate })
}

fn shown(standing: Standing) -> String {
    match standing {
        Standing::File { size_bytes } => format!("a file of {size_bytes} bytes"),
        Standing::Folder => "a folder".to_owned(),
        Standing::Other => "no regular file".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;
    use crate::base::recording::RecordingKind;
    use crate::store::fixity::ArchivedAs;

    fn account() -> Account {
        let hash = Digest::of("audio");
        let what = What::File(ArchivedAs {
            recording_id: 1,
            kind: RecordingKind::Call,
            path: "hq/2026/11/21/a.wav".to_owned(),
            size_bytes: 5,
            sha256: hash,
            sidecar_sha256: hash,
        });
        let unit = |id, what| Unit { id, pbx: "hq".to_owned(), read_at_ms: 0, damaged: false, what };
        let documents = Documents {
            sums: vec![("a.wav".to_owned(), hash), ("a.wav.json".to_owned(), hash)],
            ..Documents::default()
        };
        let folder = unit(2, What::Documents("hq/2026/11/21".to_owned()));
        Account { files: vec![unit(1, what)], documents: Some((folder, documents)) }
    }

    fn listing(names: &[(&str, u64)]) -> Listing {
        names
            .iter()
            .map(|(name, size_bytes)| ((*name).into(), Standing::File { size_bytes: *size_bytes }))
            .collect()
    }

    fn compared(names: &[(&str, u64)]) -> (Vec<i64>, usize) {
        let compared = compare(&Key::parse("hq/2026/11/21").unwrap(), &listing(names), &account());
        (compared.suspects.iter().map(|unit| unit.id).collect(), compared.strays.len())
    }

    #[test]
    fn what_is_there_with_its_size_is_no_suspect() {
        let whole = [("a.wav", 5), ("a.wav.json", 9), ("SHA256SUMS", 72 + 77)];
        assert_eq!(compared(&whole), (vec![], 0));
        assert_eq!(compared(&whole[1..]), (vec![1], 0));
        assert_eq!(compared(&whole[..2]), (vec![2], 0));
        assert_eq!(compared(&[whole[0], whole[2]]), (vec![1], 0));
        assert_eq!(compared(&[("a.wav", 4), whole[1], whole[2]]), (vec![1], 0));
        assert_eq!(compared(&[("b.wav", 4), whole[0], whole[1], ("SHA256SUMS", 0)]), (vec![2], 1));
    }

    #[test]
    fn marker_and_quarantine_are_apart_only_where_they_belong() {
        let names = listing(&[(".callvault", 1), (".callvault-0123456789abcdef.part", 1), ("note", 1)]);
        let top = compare(&Key::parse("hq").unwrap(), &names, &Account::default());
        let key = |path: &str| Key::found(path).unwrap();
        assert_eq!(top.strays, [key("hq/note")]);
        let below = compare(&Key::parse("hq/2026").unwrap(), &names, &Account::default());
        assert_eq!(below.strays, [key("hq/2026/.callvault"), key("hq/2026/note")]);
    }

    #[test]
    fn a_file_tells_by_its_name_what_it_would_be() {
        let of = |path: &str| stray("hq", &Key::found(path).unwrap()).unwrap();
        let sidecar = of("hq/2026/11/21/a~conflict-0123456789abcdef.wav.json");
        assert_eq!(sidecar.audio, "hq/2026/11/21/a~conflict-0123456789abcdef.wav");
        assert_eq!((sidecar.place.as_str(), sidecar.day), ("hq/2026/11/21/a.wav", None));
        assert_eq!(of("hq/2026/11/21/calls-3.jsonl").day.as_deref(), Some("2026-11-21"));
        assert_eq!(of("hq/note").place, "hq/note");
        let signature = of("hq/2026/11/21/certificate-2.json.sig");
        assert_eq!(signature.certificate, Some(("2026-11-21".to_owned(), 2)));
        assert!(of("hq/2026/11/21/certificate-2.names.jsonl").certificate.is_some());
        assert_eq!(of("hq/2026/11/21/certificate-02.json").certificate, None);
    }
}
