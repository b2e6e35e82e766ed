//! Who may read audio and sidecars: whoever knows a token.

use secrecy::ExposeSecret as _;

use crate::config::FeedReaderConfig;
use crate::digest::Digest;

/// The readers, known by the hashes of their tokens.
pub struct Readers(Vec<(String, Digest)>);

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Readers {
    /// Those of the configuration.
    pub fn new(readers: &[FeedReaderConfig]) -> Self {
        let known = |reader: &FeedReaderConfig| {
            (reader.name.clone(), Digest::of(reader.token.expose_secret().as_bytes()))
        };
        Self(readers.iter().map(known).collect())
    }

    /// The name of the reader whose token stands in an `Authorization` header; `None` if it is nobody's.
    ///
    /// It takes the same time whatever the token is like: all hashes are compared, each to its last byte.
    pub fn who(&self, authorization: &str) -> Option<&str> {
        let (scheme, token) = authorization.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let given = Digest::of(token.trim().as_bytes());
        let mut found = None;
        for (name, known) in &self.0 {
            if is_same(known, &given) {
                found = Some(name.as_str());
            }
        }
        found
    }
}

fn is_same(one: &Digest, other: &Digest) -> bool {
    let pairs = one.as_bytes().iter().zip(other.as_bytes());
    pairs.fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn only_a_whole_token_after_the_word_bearer_opens() {
        let reader = |name: &str, token: &str| FeedReaderConfig {
            name: name.to_owned(),
            token: SecretString::from(token.to_owned()),
        };
        let readers = Readers::new(&[
            reader("surveillance", "0123456789abcdef01234567"),
            reader("audit", "fedcba9876543210fedcba98"),
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
            assert_eq!(readers.who(authorization), expected, "{authorization}");
        }
        assert!(!format!("{readers:?}").contains("0123"));
    }
}
