//! Who may read audio and sidecars: whoever has a token; and which entries each may see.

use secrecy::ExposeSecret as _;
use serde::Deserialize;

use crate::base::digest::Digest;
use crate::config::FeedReaderConfig;

#[derive(Debug)]
pub struct Readers(Vec<Reader>);

pub struct Reader {
    pub name: String,
    token: Digest,
    pub scope: Scope,
    pub reads_per_min_max: u32,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Reader {
    fn of(config: &FeedReaderConfig) -> Self {
        Self {
            name: config.name.clone(),
            token: Digest::of(config.token.expose_secret().as_bytes()),
            scope: Scope::of(&config.pbx),
            reads_per_min_max: config.reads_per_min_max,
        }
    }
}

impl Readers {
    pub fn new(readers: &[FeedReaderConfig]) -> Self {
        Self(readers.iter().map(Reader::of).collect())
    }

    /// The reader whose token is in an `Authorization` header.
    ///
    /// It takes the same time for every token: all hashes are compared, each to its last byte.
    pub fn who(&self, authorization: &str) -> Option<&Reader> {
        let (scheme, token) = authorization.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let given = Digest::of(token.trim().as_bytes());
        let mut found = None;
        for reader in &self.0 {
            if is_same(&reader.token, &given) {
                found = Some(reader);
            }
        }
        found
    }
}

fn is_same(one: &Digest, other: &Digest) -> bool {
    let pairs = one.as_bytes().iter().zip(other.as_bytes());
    pairs.fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}

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
    fn of(pbx: &[String]) -> Self {
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
    fn only_a_whole_token_after_the_word_bearer_opens() {
        let readers = Readers::new(&[
            FeedReaderConfig::new("surveillance", "0123456789abcdef01234567"),
            FeedReaderConfig::new("audit", "fedcba9876543210fedcba98"),
        ]);
        for (authorization, expected) in [
            ("Bearer 0123456789abcdef01234567", Some("surveillance")),
            ("bearer  fedcba9876543210fedcba98", Some("audit")),
            ("Basic 0123456789abcdef01234567", None),
            ("Bearer 0123456789abcdef0123456", None),
            ("Bearer 0123456789abcdef012345678", None),
            ("Bearer 0123456789ABCDEF01234567", None),
            ("Bearer ", None),
            ("0123456789abcdef01234567", None),
            ("", None),
        ] {
            assert_eq!(readers.who(authorization).map(|reader| &*reader.name), expected, "{authorization}");
        }
        assert!(!format!("{readers:?}").contains("0123"));
    }

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
