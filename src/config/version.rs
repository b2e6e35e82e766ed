//! API versions, as they stand in request paths.

use std::str::FromStr;

use super::{ApiVersion, Generation};

/// A text that is not the version of an API.
#[derive(Debug, thiserror::Error)]
#[error("not an API version; versions look like v1.1.0")]
pub struct NotAVersion;

impl FromStr for ApiVersion {
    type Err = NotAVersion;

    /// Accepts `v` and three numbers, and the short forms of the known generations. Real clients write v1.1.0 as
    /// `v1.10` too (`docs/pbx-api.md` §1). `v1.0.x` is the first of its kind that has recordings, v1.0.1.
    fn from_str(segment: &str) -> Result<Self, NotAVersion> {
        let segment = if segment == "v1.0.x" { "v1.0.1" } else { segment };
        let numbers: Vec<&str> = segment.strip_prefix('v').ok_or(NotAVersion)?.split('.').collect();
        if !numbers.iter().all(|number| is_number(number)) {
            return Err(NotAVersion);
        }
        let generation = match numbers[..] {
            ["1", "0"] | ["1", "0", _] => Generation::V1_0,
            ["1", "1" | "10"] | ["1", "1", _] => Generation::V1_1,
            ["2", _] | ["2", _, _] => Generation::V2,
            [_, _, _] => Generation::Compatible,
            _ => return Err(NotAVersion),
        };
        Ok(Self { segment: segment.to_owned(), generation })
    }
}

fn is_number(text: &str) -> bool {
    (1..=6).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_belong_to_generations() {
        let table = [
            ("v1.0.2", Generation::V1_0),
            ("v1.0.6", Generation::V1_0),
            ("v1.1.0", Generation::V1_1),
            ("v1.1.7", Generation::V1_1),
            ("v1.10", Generation::V1_1),
            ("v2.0.0", Generation::V2),
            ("v2.1", Generation::V2),
            ("v0.0.1", Generation::Compatible),
            ("v3.0.0", Generation::Compatible),
        ];
        for (segment, generation) in table {
            let version: ApiVersion = segment.parse().unwrap();
            assert_eq!((version.segment.as_str(), version.generation), (segment, generation));
        }
        assert_eq!("v1.0.x".parse::<ApiVersion>().unwrap().segment, "v1.0.1");
    }

    #[test]
    fn nothing_else_is_a_version() {
        for segment in
            ["", "v", "1.1.0", "v1", "v3.0", "v1.1.0.0", "v1.1.x", "v1..0", "v1.1.0/", "V1.1.0", "v1.1.+0"]
        {
            assert!(segment.parse::<ApiVersion>().is_err(), "{segment}");
        }
    }
}
