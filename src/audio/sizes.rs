//! Whether the sizes within a WAV file fit the bytes received.

use super::SizeMismatchKind;
use super::format::u32_at;

/// The sizes of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// As the RIFF header has it.
    pub(super) riff_size: u32,
    pub(super) data: DataChunk,
    /// Bytes received in all.
    pub(super) received: u64,
    /// What follows the header of a `data` chunk whose size is a placeholder.
    pub(super) after_header: Option<[u8; 8]>,
}

/// The `data` chunk: where its content begins, and the size declared.
#[derive(Debug, Clone, Copy)]
pub(super) struct DataChunk {
    pub(super) start: u64,
    pub(super) size: u32,
}

/// What the sizes say of a body.
#[derive(Debug)]
pub(super) struct Fit {
    pub(super) declared: u64,
    pub(super) data_bytes: u64,
    pub(super) riff_size_wrong: bool,
    pub(super) mismatch: Option<SizeMismatchKind>,
}

impl DataChunk {
    /// Whether the size is a placeholder.
    pub(super) fn is_open(self) -> bool {
        is_placeholder(self.size)
    }

    fn end(self) -> u64 {
        self.start + u64::from(self.size)
    }

    /// The end with the byte that makes chunks of odd size even.
    fn padded_end(self) -> u64 {
        self.end().next_multiple_of(2)
    }
}

impl Sizes {
    /// How many bytes there may be; `None` if the header was never finalised.
    pub(super) fn bound(self) -> Option<u64> {
        (!self.data.is_open()).then(|| self.declared().next_multiple_of(2))
    }

    /// Judges a body that has ended.
    pub(super) fn fit(self) -> Fit {
        let rest = self.received - self.data.start;
        if self.data.is_open() {
            return self.fit_open(rest);
        }
        let data_bytes = rest.min(u64::from(self.data.size));
        if self.received < self.data.end() {
            return mismatch(SizeMismatchKind::Truncated, self.data.end(), data_bytes);
        }
        if self.received <= self.data.padded_end() {
            // All of the audio and nothing else: then a RIFF size that says otherwise harms nobody.
            let riff_fits =
                self.riff_end().is_some_and(|end| end == self.data.end() || end == self.data.padded_end());
            return Fit { declared: self.received, data_bytes, riff_size_wrong: !riff_fits, mismatch: None };
        }
        if self.ends_with_riff() {
            return Fit { declared: self.received, data_bytes, riff_size_wrong: false, mismatch: None };
        }
        let is_cut = self.declared() > self.received;
        let kind = if is_cut { SizeMismatchKind::Truncated } else { SizeMismatchKind::Longer };
        mismatch(kind, self.declared(), data_bytes)
    }

    /// Without a size for the audio: a mere header, or one that was not finalised.
    fn fit_open(self, rest: u64) -> Fit {
        let is_empty =
            rest == 0 || (self.data.size == 0 && self.ends_with_riff() && self.is_chunk_after(rest));
        if is_empty {
            let riff_size_wrong = !self.ends_with_riff();
            return Fit { declared: self.received, data_bytes: 0, riff_size_wrong, mismatch: None };
        }
        mismatch(SizeMismatchKind::Placeholder, self.data.end(), rest)
    }

    fn declared(self) -> u64 {
        self.riff_end().unwrap_or_default().max(self.data.padded_end())
    }

    /// The end of the file by the RIFF header; `None` if that was never finalised.
    fn riff_end(self) -> Option<u64> {
        (!is_placeholder(self.riff_size)).then(|| u64::from(self.riff_size) + 8)
    }

    /// Whether the body ends where the RIFF header says; that may leave out the byte that makes a chunk even.
    fn ends_with_riff(self) -> bool {
        self.riff_end().is_some_and(|end| self.received == end || self.received == end.next_multiple_of(2))
    }

    /// Whether what follows an empty `data` chunk is another chunk, rather than audio.
    fn is_chunk_after(self, rest: u64) -> bool {
        self.after_header.is_some_and(|header| {
            let is_named = header[..4].iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
            is_named && 8 + u64::from(u32_at(&header, 4)) <= rest
        })
    }
}

fn mismatch(kind: SizeMismatchKind, declared: u64, data_bytes: u64) -> Fit {
    Fit { declared, data_bytes, riff_size_wrong: false, mismatch: Some(kind) }
}

/// Sizes that a writer puts into a header until it knows better.
fn is_placeholder(size: u32) -> bool {
    matches!(size, 0 | u32::MAX)
}
