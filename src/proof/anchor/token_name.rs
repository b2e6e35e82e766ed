//! The names of tokens: a format, see `docs/archive-format.md`.

use super::FOLDER;
use crate::archive::ArchiveError;
use crate::proof::notary::Published;
pub use crate::store::anchors::TokenName;

impl TokenName {
    /// None if it is no token's name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (number, authority) = name.strip_suffix(".tsr")?.split_once('.')?;
        let size: u64 = number.parse().ok()?;
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        let is_one = size.to_string() == number && !authority.is_empty() && authority.bytes().all(is_name);
        is_one.then(|| Self { size, authority: authority.to_owned() })
    }
}

/// The tokens beside a published ledger, by their names alone.
pub fn tokens(published: &Published) -> Result<Vec<TokenName>, ArchiveError> {
    let names = published.names(FOLDER)?;
    Ok(names.iter().filter_map(|name| TokenName::parse(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_tokens_tell_size_and_authority() {
        let expected = TokenName { size: 12, authority: "free-tsa".to_owned() };
        assert_eq!(TokenName::parse("12.free-tsa.tsr"), Some(expected));
        for name in [
            "12.checkpoint",
            "free-tsa.ca.pem",
            "012.a.tsr",
            "a.12.tsr",
            "12.tsr",
            "12.a.b.tsr",
            "-1.a.tsr",
            "12.a;b.tsr",
            "12..tsr",
        ] {
            assert_eq!(TokenName::parse(name), None, "{name}");
        }
    }
}
