//! Where the next entry of a list begins after one that cannot be read.

use super::UnreadableEntry;
use super::mend::{Fault, Mender, Step};
use crate::base::digest::Digest;
use crate::base::recording::printable;

/// The longest name by which the entries of a list are recognised, in bytes.
const OPENING_BYTES_MAX: usize = 64;
/// The most characters of a member's name in a path.
const NAME_MAX: usize = 32;

impl<'a> Mender<'a> {
    /// The name of the first member of the entry that begins here, with its quotes; none if it is no object.
    pub(super) fn opening(&self) -> Option<&'a [u8]> {
        let rest = self.text[self.at..].strip_prefix(b"{")?.trim_ascii_start();
        let quote = *rest.first().filter(|byte| matches!(byte, b'"' | b'\''))?;
        let length = rest[1..].iter().take(OPENING_BYTES_MAX).position(|byte| *byte == quote)? + 2;
        Some(&rest[..length])
    }

    /// Puts `null` in the place of the entry that begins at `start`, and goes on behind it.
    ///
    /// # Errors
    /// `fault`, if it is not certain where it ends.
    pub(super) fn leave_out(&mut self, start: usize, opening: &[u8], fault: Fault) -> Result<(), Fault> {
        let end = self.end_of_entry(start, opening);
        let seen = self.at.saturating_sub(start).max(end.unwrap_or(self.text.len()) - start);
        self.patience = self.patience.checked_sub(seen).ok_or(Fault::TooLarge)?;
        let end = end.ok_or(fault)?;
        let entry = &self.text[start..end];
        self.unreadable.push(UnreadableEntry {
            path: self.place(),
            at_byte: start,
            bytes: entry.len(),
            sha256: Digest::of(entry),
        });
        self.json.extend_from_slice(b"null");
        self.at = end;
        Ok(())
    }

    /// Behind the first `}` after which the next entry or the end of the list follows, at the depth at which the entry
    /// began. Brackets within its strings are counted too, for where those end is not known: then nothing is found.
    fn end_of_entry(&self, start: usize, opening: &[u8]) -> Option<usize> {
        let mut open_lists = 0_usize;
        for at in start + 1..self.text.len() {
            match self.text[at] {
                b'[' => open_lists += 1,
                // The list has ended, or nobody knows what has.
                b']' if open_lists == 0 => return None,
                b']' => open_lists -= 1,
                b'}' if open_lists == 0 && self.is_followed_by_entry(at + 1, opening) => return Some(at + 1),
                _ => {}
            }
        }
        None
    }

    fn is_followed_by_entry(&self, at: usize, opening: &[u8]) -> bool {
        let rest = self.text[at..].trim_ascii_start();
        if rest.starts_with(b"]") {
            return true;
        }
        let rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
        let next = rest.strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
        let next = next.and_then(|next| next.strip_prefix(opening));
        rest.starts_with(b"]") || next.is_some_and(|next| next.trim_ascii_start().starts_with(b":"))
    }

    /// The way from the outermost value to the one that is being read.
    fn place(&self) -> String {
        let mut place = String::new();
        for step in &self.path {
            match *step {
                Step::Entry(number) => place.push_str(&format!("[{number}]")),
                Step::Member(from, to) => {
                    let name = printable(&self.text[from + 1..to - 1]);
                    if !place.is_empty() {
                        place.push('.');
                    }
                    place.extend(name.chars().take(NAME_MAX));
                }
            }
        }
        place
    }
}
