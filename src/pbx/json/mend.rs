//! Writes a device's JSON anew, as strict JSON, and stops where its meaning is not certain.

use crate::base::digest::Digest;
use crate::base::recording::printable;
use crate::pbx::json::{JsonError, UnreadableEntry};

/// How deep values may lie in each other: replies lie five deep.
const DEPTH_MAX: usize = 32;
/// The most unreadable entries that are reported one by one.
const UNREADABLE_MAX: usize = 10_000;

/// A backslash that is a character, in strict JSON.
const LONE_BACKSLASH: &[u8] = br"\\";

/// Where a value stands in the one around it.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The member whose name begins and ends at these bytes, quotes included.
    Member(usize, usize),
    Entry(usize),
}

pub(super) struct Mender<'a> {
    text: &'a [u8],
    at: usize,
    json: Vec<u8>,
    /// Whether an entry of a list may be left out.
    by_entries: bool,
    path: Vec<Step>,
    unreadable: Vec<UnreadableEntry>,
    /// Bytes that may still be looked at a second time.
    patience: usize,
    /// Whether names and texts stand in single quotes, as Python prints them: the first quote decides.
    is_single_quoted: bool,
}

impl<'a> Mender<'a> {
    pub(super) fn new(text: &'a str, by_entries: bool) -> Self {
        let text = text.trim_start_matches('\0').as_bytes();
        let first_quote = text.iter().find(|byte| matches!(byte, b'"' | b'\''));
        Self {
            text,
            at: 0,
            json: Vec::with_capacity(text.len() + 16),
            by_entries,
            path: Vec::new(),
            unreadable: Vec::new(),
            patience: 4 * text.len() + (64 << 10),
            is_single_quoted: first_quote == Some(&b'\''),
        }
    }

    /// The strict JSON, and the entries that were left out.
    pub(super) fn mend(mut self) -> Result<(Vec<u8>, Vec<UnreadableEntry>), JsonError> {
        if self.skip_blanks().is_err() || !matches!(self.peek(), Some(b'{' | b'[')) {
            return Err(JsonError::NotJson);
        }
        self.value()?;
        self.expect_end()?;
        Ok((self.json, self.unreadable))
    }

    /// What follows the value does not belong to it if it holds neither quote nor bracket: if the value had ended too
    /// soon, its real end would be there. After a NUL comes what was left in a buffer.
    fn expect_end(&self) -> Result<(), JsonError> {
        let rest = self.text[self.at..].split(|byte| *byte == 0).next().unwrap_or_default();
        match rest.iter().position(|byte| b"{}[]".contains(byte) || self.is_quote(*byte)) {
            Some(at) => Err(JsonError::Damaged(self.at + at)),
            None => Ok(()),
        }
    }

    fn is_quote(&self, byte: u8) -> bool {
        byte == b'"' || self.is_single_quoted && byte == b'\''
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let is_there = self.peek() == Some(wanted);
        self.at += usize::from(is_there);
        is_there
    }

    /// Something else than is due here; nothing, if the text ends.
    fn unexpected(&self) -> JsonError {
        if self.at < self.text.len() { JsonError::Damaged(self.at) } else { JsonError::Cut }
    }

    fn expect(&self, is_due: bool) -> Result<(), JsonError> {
        if is_due { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Skips blanks and comments. A comment with a quote in it may as well be the rest of a string.
    fn skip_blanks(&mut self) -> Result<(), JsonError> {
        loop {
            let rest = &self.text[self.at..];
            self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count();
            let rest = &self.text[self.at..];
            let closing: &[u8] = match rest {
                [b'/', b'*', ..] => b"*/",
                [b'/', b'/', ..] => b"\n",
                [b'<', b'!', b'-', b'-', ..] => b"-->",
                _ => return Ok(()),
            };
            let end =
                rest.windows(closing.len()).position(|window| window == closing).ok_or(JsonError::Cut)?;
            if rest[..end].iter().any(|byte| self.is_quote(*byte)) {
                return Err(JsonError::Damaged(self.at));
            }
            self.at += end + closing.len();
        }
    }

    fn value(&mut self) -> Result<(), JsonError> {
        if self.path.len() > DEPTH_MAX {
            return Err(JsonError::TooLarge);
        }
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.list(),
            Some(b'"' | b'\'') => self.string(),
            Some(b'-' | b'+' | b'.' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn object(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        self.json.push(b'{');
        let mut may_follow = true;
        loop {
            self.skip_blanks()?;
            if self.take(b'}') {
                self.json.push(b'}');
                return Ok(());
            }
            self.expect(may_follow)?;
            self.separate();
            let name_from = self.at;
            self.string()?;
            let step = Step::Member(name_from, self.at);
            self.skip_blanks()?;
            let is_named = self.take(b':');
            self.expect(is_named)?;
            self.json.push(b':');
            self.skip_blanks()?;
            self.path.push(step);
            self.value()?;
            self.path.pop();
            self.skip_blanks()?;
            may_follow = self.take(b',');
        }
    }

    fn list(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        self.json.push(b'[');
        self.skip_blanks()?;
        let mut opening = self.opening();
        let reported = self.unreadable.len();
        let (mut may_follow, mut number) = (true, 0);
        loop {
            self.skip_blanks()?;
            if self.take(b']') {
                self.json.push(b']');
                return Ok(());
            }
            // Between two objects, or lists, a comma says nothing that is not clear without it.
            let is_container = matches!(self.peek(), Some(b'{' | b'['));
            let is_behind_container = matches!(self.json.last(), Some(b'}' | b']'));
            self.expect(may_follow || is_container && is_behind_container)?;
            // Only between objects is it certain where one ends that cannot be read: what looks like a text beside them may
            // be a part of another.
            if !matches!(self.peek(), Some(b'{')) {
                opening = None;
                self.expect(self.unreadable.len() == reported)?;
            }
            self.separate();
            self.path.push(Step::Entry(number));
            self.entry(opening)?;
            self.path.pop();
            number += 1;
            self.skip_blanks()?;
            may_follow = self.take(b',') || self.is_after_unreadable();
        }
    }

    fn entry(&mut self, opening: Option<&'a [u8]>) -> Result<(), JsonError> {
        let (start, written, depth) = (self.at, self.json.len(), self.path.len());
        let reported = self.unreadable.len();
        match (self.value(), opening) {
            (Err(fault @ (JsonError::Damaged(_) | JsonError::Cut)), Some(opening)) if self.by_entries => {
                self.json.truncate(written);
                self.path.truncate(depth);
                self.unreadable.truncate(reported);
                if reported == UNREADABLE_MAX {
                    return Err(JsonError::TooLarge);
                }
                self.leave_out(start, opening, fault)
            }
            (outcome, _) => outcome,
        }
    }

    /// Writes a comma where one is due before the next member or entry.
    fn separate(&mut self) {
        if !matches!(self.json.last(), Some(b'{' | b'[')) {
            self.json.push(b',');
        }
    }

    fn is_after_unreadable(&self) -> bool {
        self.json.ends_with(b"null") && self.text[..self.at].trim_ascii_end().ends_with(b"}")
    }

    fn string(&mut self) -> Result<(), JsonError> {
        let quote = match self.peek() {
            Some(b'"') => b'"',
            Some(b'\'') if self.is_single_quoted => b'\'',
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        self.json.push(b'"');
        loop {
            let rest = &self.text[self.at..];
            let is_plain = |byte: &&u8| !matches!(byte, 0..=0x1f | b'"' | b'\'' | b'\\');
            let plain = rest.iter().take_while(is_plain).count();
            self.json.extend_from_slice(&rest[..plain]);
            self.at += plain;
            match self.peek().ok_or(JsonError::Cut)? {
                byte if byte == quote => break,
                b'\\' => self.escape(quote)?,
                0 => self.padding(quote)?,
                byte => {
                    self.at += 1;
                    self.write_character(byte);
                }
            }
        }
        self.at += 1;
        self.json.push(b'"');
        Ok(())
    }

    /// A quote of the other kind, or a control character.
    fn write_character(&mut self, byte: u8) {
        match byte {
            b'"' => self.json.extend_from_slice(b"\\\""),
            0..=0x1f => self.json.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => self.json.push(byte),
        }
    }

    /// NUL bytes that fill a field up to its end. Between other characters nobody knows where the text ends.
    fn padding(&mut self, quote: u8) -> Result<(), JsonError> {
        let from = self.at;
        while self.take(0) {}
        match self.peek() {
            Some(byte) if byte == quote => Ok(()),
            Some(_) => Err(JsonError::Damaged(from)),
            None => Err(JsonError::Cut),
        }
    }

    /// A backslash. Where it escapes nothing, as in a path of Windows, it is a character like any other.
    fn escape(&mut self, quote: u8) -> Result<(), JsonError> {
        let rest = &self.text[self.at..];
        let (read, written): (usize, &[u8]) = match rest.get(1).ok_or(JsonError::Cut)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => (2, &rest[..2]),
            b'\'' if quote == b'\'' => (2, b"'"),
            b'u' => unicode_escape(rest)?,
            _ => (1, LONE_BACKSLASH),
        };
        self.json.extend_from_slice(written);
        self.at += read;
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let rest = &self.text[self.at..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte)).count();
        let token = &rest[..length];
        if length == rest.len() {
            return Err(JsonError::Cut);
        }
        if serde_json::from_slice::<serde::de::IgnoredAny>(token).is_ok() {
            self.json.extend_from_slice(token);
        } else if is_number_of_people(token) {
            self.json.push(b'"');
            self.json.extend_from_slice(token);
            self.json.push(b'"');
        } else {
            return Err(JsonError::Damaged(self.at));
        }
        self.at += length;
        Ok(())
    }

    fn word(&mut self) -> Result<(), JsonError> {
        let rest = &self.text[self.at..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let word: &[u8] = match &rest[..length] {
            b"true" | b"True" | b"TRUE" => b"true",
            b"false" | b"False" | b"FALSE" => b"false",
            b"null" | b"None" | b"NULL" | b"Null" => b"null",
            _ if length == rest.len() => return Err(JsonError::Cut),
            _ => return Err(JsonError::Damaged(self.at)),
        };
        self.json.extend_from_slice(word);
        self.at += length;
        Ok(())
    }
}

/// How long the escape is with which `rest` begins, and what is written for it. Half of a pair without its other half
/// is replaced, as bytes are that are no text.
fn unicode_escape(rest: &[u8]) -> Result<(usize, &[u8]), JsonError> {
    let unit = |from: usize| hex4(rest.get(from..from + 6)?);
    match (unit(0), unit(6)) {
        (None, _) if rest.len() < 6 && rest[2..].iter().all(u8::is_ascii_hexdigit) => Err(JsonError::Cut),
        (None, _) => Ok((1, LONE_BACKSLASH)),
        (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => Ok((12, &rest[..12])),
        (Some(0xd800..0xe000), _) => Ok((6, "\u{fffd}".as_bytes())),
        (Some(_), _) => Ok((6, &rest[..6])),
    }
}

fn hex4(escape: &[u8]) -> Option<u32> {
    let digits = escape.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))
}

/// Digits that JSON does not take for a number, such as `0017`, `+4930` or `.5`.
fn is_number_of_people(token: &[u8]) -> bool {
    let digits = token.strip_prefix(b"-").or_else(|| token.strip_prefix(b"+")).unwrap_or(token);
    let mut parts = digits.split(|byte| *byte == b'.');
    let is_digits = |part: Option<&[u8]>| part.is_none_or(|part| part.iter().all(u8::is_ascii_digit));
    is_digits(parts.next())
        && is_digits(parts.next())
        && parts.next().is_none()
        && digits.iter().any(u8::is_ascii_digit)
}

/// The longest name by which the entries of a list are recognised, in bytes.
const OPENING_BYTES_MAX: usize = 64;
/// The most characters of a member's name in a path.
const NAME_MAX: usize = 32;

impl<'a> Mender<'a> {
    /// The name of the first member of the entry that begins here, with its quotes; none if it is no object.
    fn opening(&self) -> Option<&'a [u8]> {
        let rest = self.text[self.at..].strip_prefix(b"{")?.trim_ascii_start();
        let quote = *rest.first().filter(|byte| matches!(byte, b'"' | b'\''))?;
        let length = rest[1..].iter().take(OPENING_BYTES_MAX).position(|byte| *byte == quote)? + 2;
        Some(&rest[..length])
    }

    /// Puts `null` in the place of the entry that begins at `start`, and goes on behind it.
    fn leave_out(&mut self, start: usize, opening: &[u8], fault: JsonError) -> Result<(), JsonError> {
        let end = self.end_of_entry(start, opening);
        let seen = self.at.saturating_sub(start).max(end.unwrap_or(self.text.len()) - start);
        self.patience = self.patience.checked_sub(seen).ok_or(JsonError::TooLarge)?;
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
