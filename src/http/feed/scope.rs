//! The PBXs that a reader may read, and the entries that tell of no other.

use serde::Deserialize;

/// The types of entries that are about the ledger and the service alone.
const OF_ALL: [&str; 5] = ["start", "stop", "key", "clock", "rebuilt"];

/// The PBXs that a reader may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope(Option<Vec<String>>);

#[derive(Deserialize)]
struct Told {
    r#type: String,
    #[serde(default)]
    pbx: serde_json::Value,
    reader: Option<String>,
}

impl Scope {
    /// That of a reader whose configuration names these PBXs; none are all.
    pub(super) fn of(pbx: &[String]) -> Self {
        Self((!pbx.is_empty()).then(|| pbx.to_vec()))
    }

    /// Whether all may be read.
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether the reader of this name may see an entry: it is of one of his PBXs, tells what he himself was given, or is
    /// about the ledger and the service alone. An entry that cannot be read is nobody's.
    pub fn holds(&self, reader: &str, entry: &str) -> bool {
        let Some(ids) = &self.0 else { return true };
        let Ok(told) = serde_json::from_str::<Told>(entry) else { return false };
        match &told.pbx {
            serde_json::Value::String(pbx) => ids.contains(pbx),
            serde_json::Value::Null => {
                OF_ALL.contains(&told.r#type.as_str())
                    || told.r#type == "access" && told.reader.as_deref() == Some(reader)
            }
            // A list of PBXs names others too.
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_holds_what_tells_of_no_other_pbx() {
        let hq = Scope::of(&["hq".to_owned()]);
        for (entry, expected) in [
            (r#"{"type":"archived","pbx":"hq"}"#, true),
            (r#"{"type":"archived","pbx":"lyon"}"#, false),
            (r#"{"type":"config","pbx":["hq","lyon"]}"#, false),
            (r#"{"type":"config","pbx_count":400}"#, false),
            (r#"{"type":"start","version":"0.2.0"}"#, true),
            (r#"{"type":"fixity","files":17}"#, false),
            (r#"{"type":"access","reader":"audit","entry":3}"#, true),
            (r#"{"type":"access","reader":"police","entry":3}"#, false),
            (r#"{"type":"of_tomorrow"}"#, false),
            (r#"{"pbx":"hq"}"#, false),
            ("x", false),
        ] {
            assert_eq!(hq.holds("audit", entry), expected, "{entry}");
            assert!(Scope::of(&[]).holds("audit", entry));
        }
    }
}
