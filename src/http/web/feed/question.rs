//! The query of `/feed/entries`.

use std::time::Duration;

use url::form_urlencoded;

use crate::http::feed::PAGE_ENTRIES_MAX;

/// Entries of an answer, by default.
const LIMIT: u64 = 256;
/// In seconds: shorter than the time-outs of proxies.
const WAIT_S_MAX: u64 = 25;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The number of the last entry that the reader has.
    pub after: Option<u64>,
    pub limit: u64,
    /// How long to wait if there is nothing new.
    pub wait: Duration,
}

impl Question {
    /// # Errors
    /// A sentence that says what is wrong with the query.
    pub fn parse(query: &str) -> Result<Self, String> {
        let (mut after, mut limit, mut wait_s) = (None, None, None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let (place, range) = match &*key {
                "after" => (&mut after, 0..=u64::MAX),
                "limit" => (&mut limit, 1..=PAGE_ENTRIES_MAX),
                "wait_s" => (&mut wait_s, 0..=WAIT_S_MAX),
                _ => return Err("The only parameters are after, limit and wait_s.".to_owned()),
            };
            let Some(number) = whole(&value).filter(|number| range.contains(number)) else {
                let bounds = match *range.end() {
                    u64::MAX => String::new(),
                    end => format!(" from {} to {end}", range.start()),
                };
                return Err(format!("`{key}` must be a whole number{bounds}."));
            };
            if place.replace(number).is_some() {
                return Err(format!("`{key}` is given twice."));
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
            ("after=1&after=2", refused("`after` is given twice.")),
            ("since=1", refused("The only parameters are after, limit and wait_s.")),
        ] {
            assert_eq!(Question::parse(query), expected, "{query}");
        }
    }
}
