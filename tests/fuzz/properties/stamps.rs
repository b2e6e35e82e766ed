//! Time-stamp replies: a whole token, or a reason; nothing that is cut off, longer or said twice passes, and nothing
//! is verified that nobody has signed.

use callvault::proof::anchor::{Evidence, Roots, read_token};
use jiff::Timestamp;

use super::{assert_words, pieces};

/// The longest sentence: an authority's words are cut off.
const WORDS_MAX: usize = 2048;

pub(crate) fn hold(input: &[u8]) {
    match read_token(input) {
        Ok(token) => {
            let imprint = token.imprint.as_bytes();
            assert!(input.windows(imprint.len()).any(|window| window == imprint), "an imprint from nowhere");
            assert_eq!(read_token(input).as_ref(), Ok(&token));
            assert!(read_token(&[input, &[0]].concat()).is_err(), "with a byte after it");
            let mut end = 0;
            for piece in pieces(input) {
                assert!(read_token(&input[..end]).is_err(), "{end} bytes of it");
                end += piece.len();
            }
        }
        Err(problem) => {
            assert_words(&problem);
            assert!(problem.len() <= WORDS_MAX, "{} bytes of words", problem.len());
        }
    }
    for roots in [None, Some(&Roots::from_pem(&String::from_utf8_lossy(input)))] {
        let (checkpoint, last_entry, now) = (input, input, Timestamp::UNIX_EPOCH);
        let (_, trust) = Evidence { reply: input, checkpoint, last_entry, roots, now }.judge();
        let reason = trust.expect_err("a hash of itself is in nothing").to_string();
        assert_words(&reason);
        assert!(reason.len() <= WORDS_MAX, "{} bytes of words", reason.len());
    }
}
