//! Time-stamp replies: a whole token, or a reason; nothing that is cut off, longer or said twice passes.

use callvault::anchor::read_token;

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
}
