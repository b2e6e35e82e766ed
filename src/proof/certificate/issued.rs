//! The files of a certificate, read back: what of them was signed with it.

use serde::Deserialize;

use crate::base::digest::Digest;
use crate::formats::salted::Lines;

/// What the document of a certificate says of its companion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct CompanionRoot {
    lines: u64,
    root: Digest,
}

impl CompanionRoot {
    /// Whether a companion has this text, or is an edition of it from which lines were erased.
    pub fn is_of(&self, text: &str) -> bool {
        let Lines { count, root, .. } = Lines::after_head(text);
        (count, root) == (self.lines, self.root)
    }
}

/// The root of the companion that a document was signed with; none of version 0.1, and none in what is no document.
pub fn companion_root(document: &[u8]) -> Option<CompanionRoot> {
    #[derive(Deserialize)]
    struct Told {
        names: Option<CompanionRoot>,
    }
    serde_json::from_slice::<Told>(document).ok()?.names
}

/// The list for `sha256sum` of the files that a companion names, but for those whose lines were erased.
pub fn list_of(companion: &str) -> String {
    #[derive(Deserialize)]
    struct Told {
        r#type: String,
        name: Option<String>,
        sha256: Option<Digest>,
    }
    let files = companion.lines().skip(1).filter_map(|line| {
        let Told { r#type, name, sha256 } = serde_json::from_str(line).ok()?;
        (r#type == "file").then(|| Some(format!("{}  {}\n", sha256?, name?))).flatten()
    });
    files.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_companion_is_known_by_its_root_and_names_the_files() {
        let hash = Digest::of("a");
        let lines = format!(
            "{{\"type\":\"file\",\"name\":\"a.wav\",\"sha256\":\"{hash}\"}}\n{{\"type\":\"unrecorded\"}}\n"
        );
        let text = format!("head\n{lines}");
        let root = Lines::after_head(&text).root;
        let document = format!(r#"{{"complete":false,"names":{{"file":"x","lines":2,"root":"{root}"}}}}"#);
        let told = companion_root(document.as_bytes()).unwrap();
        assert!(told.is_of(&text) && !told.is_of(&text.replace("a.wav", "b.wav")));
        assert_eq!(list_of(&text), format!("{hash}  a.wav\n"));
        assert_eq!(companion_root(b"{}"), None);
    }
}
