//! Compares a folder with what it should hold: what has to be read, and what callvault did not put there.

use std::collections::BTreeSet;

use crate::archive::{Key, Listing, Standing, is_apart, is_temporary};
use crate::formats::sums;
use crate::store::fixity::{Account, Documents, Unit, What};

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// Units of which something is not there, has another size, or was damaged before.
    pub(super) suspects: Vec<Unit>,
    /// What no account names.
    pub(super) strays: Vec<Key>,
    pub(super) folders: Vec<Key>,
    /// Files that should be there.
    pub(super) files: u64,
}

/// Compares what stands in `folder` with what should. A file that came after the listing looks missing: it is read, and is
/// right.
pub(super) fn compare(folder: &Key, listing: &Listing, account: &Account) -> Compared {
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
}
