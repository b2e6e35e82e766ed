//! `SHA256SUMS`: one per folder, for `sha256sum -c`. It is derived from the catalog and lists safe names only.

use std::collections::BTreeMap;

use crate::base::digest::Digest;
use crate::base::recording::printable;
use crate::base::safe_name::is_component;

/// The file's name in each folder.
pub const NAME: &str = "SHA256SUMS";

/// Other names would need the escapes of `sha256sum`, or lead out of the folder.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a name that SHA256SUMS can list")]
pub struct Unlistable(pub String);

/// The lines of such a file, `<hash>  <name>` each, sorted by name, each line once.
pub fn to_text(files: &[(String, Digest)]) -> Result<String, Unlistable> {
    let mut files: Vec<_> = files.iter().collect();
    files.sort();
    files.dedup();
    let line = |(name, sha256): &(String, Digest)| match is_component(name) {
        true => Ok(format!("{sha256}  {name}\n")),
        false => Err(Unlistable(printable(name.as_bytes()))),
    };
    files.into_iter().map(line).collect()
}

/// The lines that can be read, by name. The file is derived: a line that cannot be read is no damage to the archive.
pub fn read(bytes: &[u8]) -> BTreeMap<String, Digest> {
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

    #[test]
    fn what_was_written_is_read_again_and_other_names_are_refused() {
        let files = ["b.wav", "a.wav", "a.wav"].map(|name| (name.to_owned(), Digest::of(name)));
        let text = to_text(&files).unwrap();
        assert_eq!(text, format!("{}  a.wav\n{}  b.wav\n", Digest::of("a.wav"), Digest::of("b.wav")));
        assert_eq!(read(text.as_bytes()), files.into_iter().collect());
        for name in ["a b.wav", "../a.wav", "a\nb"] {
            assert!(to_text(&[(name.to_owned(), Digest::of(name))]).is_err(), "{name}");
        }
    }
}
