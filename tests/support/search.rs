//! Finds secrets in bytes, in each form in which they may have got there.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Nothing shorter is looked for: it stands everywhere by chance.
const BYTES_MIN: usize = 8;
/// Beginnings of forms are marked by as many bits of a hash.
const BITS: u32 = 20;

/// Secrets, in all their forms.
pub(crate) struct Search {
    /// By the first bytes of the form: what it is, and all of it.
    forms: HashMap<[u8; BYTES_MIN], Vec<(String, Vec<u8>)>>,
    /// Which beginnings there are; most places are passed over by one look at it.
    marks: Vec<bool>,
}

impl Search {
    /// A search for these, each with the name under which a find is told.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut search = Self { forms: HashMap::new(), marks: vec![false; 1 << BITS] };
        for (name, secret) in secrets {
            for (form, bytes) in forms(secret) {
                search.add(format!("{name} ({form})"), bytes);
            }
        }
        search
    }

    fn add(&mut self, name: String, bytes: Vec<u8>) {
        let Some(first) = bytes.first_chunk::<BYTES_MIN>() else { return };
        self.marks[mark(first)] = true;
        let known = self.forms.entry(*first).or_default();
        if !known.iter().any(|(_, known)| *known == bytes) {
            known.push((name, bytes));
        }
    }

    /// How many forms are looked for.
    pub(crate) fn len(&self) -> usize {
        self.forms.values().map(Vec::len).sum()
    }

    /// The secrets in `bytes`, each once.
    pub(crate) fn find_in(&self, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for (at, window) in bytes.windows(BYTES_MIN).enumerate() {
            let first = window.first_chunk().expect("windows are that long");
            if !self.marks[mark(first)] {
                continue;
            }
            for (name, form) in self.forms.get(first).into_iter().flatten() {
                if bytes[at..].starts_with(form) && !found.contains(name) {
                    found.push(name.clone());
                }
            }
        }
        found
    }
}

fn mark(first: &[u8; BYTES_MIN]) -> usize {
    (u64::from_le_bytes(*first).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - BITS)) as usize
}

/// A secret as it is, in hex, in base64 and in URLs. What is hex itself is looked for as the bytes that it means, too.
pub(crate) fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![("as it is", secret.to_vec())];
    let is_hex = secret.len().is_multiple_of(2) && secret.iter().all(u8::is_ascii_hexdigit);
    if is_hex {
        forms.push(("in capitals", secret.to_ascii_uppercase()));
        forms.push(("in small letters", secret.to_ascii_lowercase()));
        if let Some(meant) = callvault::base::digest::unhex(&String::from_utf8_lossy(secret).to_lowercase())
            && meant.len() >= BYTES_MIN
        {
            forms.extend(
                base64(&meant).into_iter().map(|bytes| ("the bytes that it means, in base64", bytes)),
            );
            forms.push(("the bytes that it means", meant));
        }
    }
    forms.push(("in hex", callvault::base::digest::hex(secret).into_bytes()));
    forms.push(("in hex, capitals", callvault::base::digest::hex(secret).to_uppercase().into_bytes()));
    forms.extend(base64(secret).into_iter().map(|bytes| ("in base64", bytes)));
    let escaped = |escapes: fn(u8) -> bool| -> Vec<u8> {
        let escape =
            |byte: &u8| if escapes(*byte) { format!("%{byte:02X}") } else { char::from(*byte).into() };
        secret.iter().map(escape).collect::<String>().into_bytes()
    };
    if secret.is_ascii() {
        let in_url = escaped(|byte| !byte.is_ascii_alphanumeric() && !b"-_.~".contains(&byte));
        forms.push(("in a URL, small letters", in_url.to_ascii_lowercase()));
        forms.push(("in a URL", in_url));
        forms.push(("in a URL, all of it escaped", escaped(|_| true)));
    }
    forms
}

/// What all base64 of it has in common, wherever in a text of three bytes at a time it begins, in both alphabets.
fn base64(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let text = STANDARD_NO_PAD.encode([&vec![0; before], secret].concat());
        // The first characters depend on what is before, and the last one on what comes after.
        let (first, end) = ([0, 2, 3][before], (before + secret.len()) * 8 / 6);
        let standard = text[first..end].to_owned();
        forms.push(standard.replace('+', "-").replace('/', "_").into_bytes());
        forms.push(standard.into_bytes());
    }
    forms
}
