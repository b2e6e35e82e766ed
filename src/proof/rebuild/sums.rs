//! `SHA256SUMS`, read: it still tells the names and hashes of files that are gone.

use std::collections::BTreeMap;

use crate::base::digest::Digest;

/// What `SHA256SUMS` lists, by name.
pub type Sums = BTreeMap<String, Digest>;

/// Reads the lines that can be read. The file is derived: what is wrong with it is no damage to the archive.
pub fn read(bytes: &[u8]) -> Sums {
    let text = String::from_utf8_lossy(bytes);
    let entry = |line: &str| {
        let (hash, name) = line.split_once("  ")?;
        Some((name.to_owned(), hash.parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_is() {
        let hash = Digest::of("a");
        let sums = read(format!("{hash}  a.wav\nbroken\n{hash} b.wav\nzz  c.wav\n{hash}  d.wav").as_bytes());
        assert_eq!(sums.keys().collect::<Vec<_>>(), ["a.wav", "d.wav"]);
        assert_eq!(sums["a.wav"], hash);
    }
}
