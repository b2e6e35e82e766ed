//! What must hold of whatever bytes come from outside: one property for each reader of such bytes.
//!
//! A fuzzer makes the bytes up (`tests/fuzz`); `tests/faults/corpus.rs` holds the ones that are kept against the same
//! functions. None of them touches a disk or a network, but for files that a configuration names.

mod audio;
mod cdr;
mod configuration;
mod documents;
mod feed;
mod names;
mod notes;
mod replies;
mod reports;
mod stamps;
mod trees;

use callvault::base::recording::printable;

/// Holds an input against a property; panics if that does not hold.
pub(crate) type Hold = fn(&[u8]);

/// All properties, by the names of their targets.
pub(crate) const ALL: &[(&str, Hold)] = &[
    ("audio", audio::hold),
    ("cdr", cdr::hold),
    ("configuration", configuration::hold),
    ("documents", documents::hold),
    ("feed", feed::hold),
    ("names", names::hold),
    ("notes", notes::hold),
    ("replies", replies::hold),
    ("reports", reports::hold),
    ("stamps", stamps::hold),
    ("trees", trees::hold),
];

/// Numbers that depend on the input alone, so that a find is one again.
struct Draw(u64);

impl Draw {
    /// FNV-1a, then xorshift.
    fn from(input: &[u8]) -> Self {
        let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(input.iter().fold(0xcbf2_9ce4_8422_2325, hash) | 1)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits fit") % bound.max(1)
    }
}

/// The input cut into pieces, most of them short.
fn pieces(input: &[u8]) -> Vec<&[u8]> {
    let mut draw = Draw::from(input);
    let (mut pieces, mut rest) = (Vec::new(), input);
    while !rest.is_empty() {
        let length_max = 1 << draw.below(9);
        let (piece, after) = rest.split_at((1 + draw.below(length_max)).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The text with one byte changed, taken out or put in. Where a mark stands for what is no text, it may stay as it is.
fn altered(text: &str) -> String {
    let mut draw = Draw::from(text.as_bytes());
    let mut bytes = text.as_bytes().to_vec();
    let at = draw.below(bytes.len());
    // What texts are made of, for most other bytes are refused at once.
    let byte = *b"+-0129 =\nAaz/.\r\t".get(draw.below(20)).unwrap_or(&0x80);
    match (draw.below(3), bytes.get_mut(at)) {
        (0, Some(old)) => *old ^= 1 << draw.below(8),
        (1, Some(_)) => drop(bytes.remove(at)),
        _ => bytes.insert(at, byte),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether words can stand in a sentence of ours: there are some, on one line, and none of them deceives.
#[track_caller]
fn assert_words(words: &str) {
    assert!(!words.trim().is_empty(), "no word was said");
    assert_printable(words);
}

/// Whether a text can be printed: nothing in it moves the cursor, reverses the line or is invisible.
#[track_caller]
fn assert_printable(text: &str) {
    assert_eq!(printable(text.as_bytes()), text);
}
