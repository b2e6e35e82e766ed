//! The PBXs that a reader may read, and the entries that are about no other.

use serde::Deserialize;

/// Types of entries that are about the ledger and the service alone.
const OF_ALL: [&str; 5] = ["start", "stop", "key", "clock", "rebuilt"];

/// None are all PBXs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope(Option<Vec<String>>);

#[derive(Deserialize)]
struct Subject {
    r#type: String,
    #[serde(default)]
    pbx: serde_json::Value,
    reader: Option<String>,
}

impl Scope {
    pub(super) fn of(pbx: &[String]) -> Self {
        Self((!pbx.is_empty()).then(|| pbx.to_vec()))
    }

    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// Whether this reader may see an entry: it is about one of the reader's PBXs, about a file that the reader was given, or
    /// about the ledger and the service alone. Nobody may see an entry that cannot be parsed.
    pub fn holds(&self, reader: &str, entry: &str) -> bool {
        let Some(ids) = &self.0 else { return true };
        let Ok(subject) = serde_json::from_str::<Subject>(entry) else { return false };
        match &subject.pbx {
            serde_json::Value::String(pbx) => ids.contains(pbx),
            serde_json::Value::Null => {
                OF_ALL.contains(&subject.r#type.as_str())
                    || subject.r#type == "access" && subject.reader.as_deref() == Some(reader)
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
