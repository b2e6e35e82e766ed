//! The device's storage: recordings by name, the oldest known, so that it can be the first to go.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;

use super::audio::SimAudio;

/// The recordings that are stored as such, beside those that are planned.
#[derive(Debug, Default)]
pub(super) struct Storage {
    files: BTreeMap<Vec<u8>, File>,
    deleted: HashSet<Vec<u8>>,
    /// What is neither deleted nor overwritten, the oldest first.
    by_age: BTreeSet<(Timestamp, Vec<u8>)>,
    bytes: u64,
}

#[derive(Debug)]
struct File {
    audio: SimAudio,
    size_bytes: u64,
    /// When it was recorded, by the device's clock.
    recorded: Timestamp,
    /// When it is written out, in steady time.
    whole: Timestamp,
}

impl Storage {
    /// Puts a whole file under a name, in the place of any other.
    pub(super) fn put(&mut self, name: &[u8], audio: SimAudio, recorded: Timestamp) {
        self.take(name);
        self.deleted.remove(name);
        self.insert(name, audio, recorded, Timestamp::MIN);
    }

    /// Puts a file under a name that has none yet, whole at a moment of steady time; what counts as deleted goes on
    /// to do so.
    pub(super) fn put_new(&mut self, name: &[u8], audio: SimAudio, recorded: Timestamp, whole: Timestamp) {
        if !self.files.contains_key(name) {
            self.insert(name, audio, recorded, whole);
        }
    }

    fn insert(&mut self, name: &[u8], audio: SimAudio, recorded: Timestamp, whole: Timestamp) {
        let file = File { size_bytes: audio.len(), audio, recorded, whole };
        self.files.insert(name.to_vec(), file);
        if !self.deleted.contains(name) {
            self.account(name, true);
        }
    }

    /// Takes a file away, as if it had never been.
    pub(super) fn take(&mut self, name: &[u8]) -> Option<SimAudio> {
        self.account(name, false);
        self.files.remove(name).map(|file| file.audio)
    }

    /// Deletes a file, which can be undone.
    pub(super) fn delete(&mut self, name: &[u8]) {
        self.account(name, false);
        self.deleted.insert(name.to_vec());
    }

    /// Undoes a deletion.
    pub(super) fn restore(&mut self, name: &[u8]) {
        if self.deleted.remove(name) {
            self.account(name, true);
        }
    }

    /// Overwrites the oldest file: it is gone for good.
    pub(super) fn overwrite_oldest(&mut self) -> Option<(Vec<u8>, SimAudio)> {
        let (_, name) = self.by_age.first()?.clone();
        let audio = self.take(&name)?;
        self.deleted.insert(name.clone());
        Some((name, audio))
    }

    /// The file under a name, whether or not it counts as deleted.
    pub(super) fn get(&self, name: &[u8]) -> Option<&SimAudio> {
        self.files.get(name).map(|file| &file.audio)
    }

    /// Whether the file of this name was deleted or overwritten.
    pub(super) fn is_deleted(&self, name: &[u8]) -> bool {
        self.deleted.contains(name)
    }

    /// Whether a file is still being written at a moment of steady time.
    pub(super) fn is_growing(&self, name: &[u8], steady: Timestamp) -> bool {
        self.files.get(name).is_some_and(|file| steady < file.whole)
    }

    /// When the file under a name was recorded.
    pub(super) fn recorded(&self, name: &[u8]) -> Option<Timestamp> {
        self.files.get(name).map(|file| file.recorded)
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.files.keys()
    }

    /// When the oldest file was recorded.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.by_age.first().map(|(recorded, _)| *recorded)
    }

    /// How many bytes there are.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts a file in or out, once.
    fn account(&mut self, name: &[u8], is_in: bool) {
        let Some(file) = self.files.get(name) else { return };
        let entry = (file.recorded, name.to_vec());
        if is_in && self.by_age.insert(entry.clone()) {
            self.bytes += file.size_bytes;
        } else if !is_in && self.by_age.remove(&entry) {
            self.bytes -= file.size_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deleted_takes_no_room_and_the_oldest_goes_first() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut storage = Storage::default();
        for (name, second) in [(b"b", 2), (b"a", 3), (b"c", 1)] {
            storage.put_new(name, SimAudio::Given(vec![0; 10].into()), at(second), at(second + 5));
        }
        assert_eq!((storage.bytes(), storage.oldest()), (30, Some(at(1))));
        storage.delete(b"c");
        storage.delete(b"c");
        assert_eq!((storage.bytes(), storage.oldest()), (20, Some(at(2))));
        storage.restore(b"c");
        assert_eq!(storage.bytes(), 30);
        assert_eq!(storage.overwrite_oldest().unwrap().0, b"c");
        assert_eq!(storage.overwrite_oldest().unwrap().0, b"b");
        assert!(storage.is_deleted(b"b") && storage.get(b"b").is_none());
        storage.restore(b"b");
        assert_eq!(storage.bytes(), 10);
        assert!(storage.is_growing(b"a", at(7)) && !storage.is_growing(b"a", at(8)));
    }
}
