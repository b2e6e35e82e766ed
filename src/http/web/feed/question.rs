//! What a reader asks of `/feed/entries`.

use std::time::Duration;

use url::form_urlencoded;

use crate::http::feed::PAGE_ENTRIES_MAX;

/// Entries of an answer, if the reader does not say.
const LIMIT: u64 = 256;
/// The longest wait for something new, in seconds: shorter than proxies are patient.
const WAIT_S_MAX: u64 = 25;

/// What a reader asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The number of the last entry that he has.
    pub after: Option<u64>,
    /// Entries that he wants at most.
    pub limit: u64,
    /// How long he waits if there is nothing new.
    pub wait: Duration,
}

impl Question {
    /// Reads a query.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(query: &str) -> Result<Self, String> {
        let (mut after, mut limit, mut wait_s) = (None, None, None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let (place, range) = match &*key {
                "after" => (&mut after, 0..=u64::MAX),
                "limit" => (&mut limit, 1..=PAGE_ENTRIES_MAX),
                "wait_s" => (&mut wait_s, 0..=WAIT_S_MAX),
                _ => return Err("There are the parameters after, limit and wait_s, and no other.".to_owned()),
            };
            let Some(number) = whole(&value).filter(|number| range.contains(number)) else {
                let bounds = match *range.end() {
                    u64::MAX => String::new(),
                    end => format!(" from {} to {end}", range.start()),
                };
                return Err(format!("`{key}` must be a whole number{bounds}."));
            };
            if place.replace(number).is_some() {
                return Err(format!("`{key}` stands there twice."));
            }
        }
        let wait = Duration::from_secs(wait_s.unwrap_or(0));
        Ok(Self { after, limit: limit.unwrap_or(LIMIT), wait })
    }
}

/// A whole number in digits alone.
pub(super) fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_whole_or_refused() {
        let asked = |after, limit, wait| Ok(Question { after, limit, wait: Duration::from_secs(wait) });
        let refused = |sentence: &str| Err(sentence.to_owned());
        for (query, expected) in [
            ("", asked(None, 256, 0)),
            ("after=0", asked(Some(0), 256, 0)),
            ("after=17&limit=1000&wait_s=25", asked(Some(17), 1000, 25)),
            ("after=-1", refused("`after` must be a whole number.")),
            ("after=", refused("`after` must be a whole number.")),
            ("after=%2B1", refused("`after` must be a whole number.")),
            ("after=18446744073709551616", refused("`after` must be a whole number.")),
            ("limit=0", refused("`limit` must be a whole number from 1 to 1000.")),
            ("limit=1001", refused("`limit` must be a whole number from 1 to 1000.")),
            ("wait_s=26", refused("`wait_s` must be a whole number from 0 to 25.")),
            ("wait_s=1.5", refused("`wait_s` must be a whole number from 0 to 25.")),
            ("after=1&after=2", refused("`after` stands there twice.")),
            ("since=1", refused("There are the parameters after, limit and wait_s, and no other.")),
        ] {
            assert_eq!(Question::parse(query), expected, "{query}");
        }
    }
}
