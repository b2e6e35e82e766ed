//! Whether the sizes that a file declares fit the bytes received.

use super::SizeMismatchKind;

/// Sizes of 32 bits from here on are what writers fill in until they know better (0x7ffff000, 0x7fffffff, 0x80000000,
/// 0xffffffff), unless that much is there.
const ENDLESS_BYTES_MIN: u64 = 0x7fff_0000;
/// A header that declares at most so much more than there is counted itself wrongly. A transfer seldom loses so little.
const SLIP_BYTES_MAX: u64 = 8;

#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Where the file ends by its first header; `None` if that was never filled in, or there is no such field.
    pub(super) form_end: Option<u64>,
    pub(super) has_form_size: bool,
    /// Whether chunks may follow the audio that nothing before it tells of.
    pub(super) may_go_on: bool,
    /// Whether audio without a size is as good as any in this container.
    pub(super) may_be_open: bool,
    pub(super) data: DataChunk,
    pub(super) received: u64,
    /// Whether what follows the header of a `data` chunk without a size is another chunk, rather than audio.
    pub(super) is_chunk_after: bool,
    /// Where the last chunk ends, if chunks after the audio were followed.
    pub(super) chain_end: Option<u64>,
    pub(super) unit: u64,
}

/// The audio within a file: where it begins, and the size declared.
#[derive(Debug, Clone, Copy)]
pub(super) struct DataChunk {
    pub(super) start: u64,
    /// `None` if it was never filled in.
    pub(super) size: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Fit {
    pub(super) declared: u64,
    pub(super) data_bytes: u64,
    pub(super) riff_size_wrong: bool,
    pub(super) mismatch: Option<SizeMismatchKind>,
}

impl Fit {
    pub(super) fn whole(declared: u64, data_bytes: u64) -> Self {
        Self { declared, data_bytes, riff_size_wrong: false, mismatch: None }
    }

    pub(super) fn mismatch(kind: SizeMismatchKind, declared: u64, data_bytes: u64) -> Self {
        Self { declared, data_bytes, riff_size_wrong: false, mismatch: Some(kind) }
    }
}

impl DataChunk {
    fn end(self) -> u64 {
        self.start.saturating_add(self.size.unwrap_or(0))
    }
}

impl Sizes {
    /// How many bytes there may be; `None` if the header does not say.
    pub(super) fn bound(self) -> Option<u64> {
        (self.data.size.is_some() && !self.may_go_on).then(|| self.padded(self.declared()))
    }

    pub(super) fn fit(self) -> Fit {
        let rest = self.received.saturating_sub(self.data.start);
        let Some(size) = self.data.size else { return self.fit_open(rest) };
        let data_bytes = rest.min(size);
        if self.received < self.data.end() {
            return Fit::mismatch(self.too_few(rest, size), self.data.end(), data_bytes);
        }
        if self.received <= self.padded_end() {
            // All of the audio and nothing else: then a RIFF size that says otherwise harms nobody.
            let fits = self.form_end.is_some_and(|end| end == self.data.end() || end == self.padded_end());
            let riff_size_wrong = self.has_form_size && !fits;
            return Fit { riff_size_wrong, ..Fit::whole(self.received, data_bytes) };
        }
        if self.ends_at(self.form_end) || self.ends_at(self.chain_end) {
            return Fit::whole(self.received, data_bytes);
        }
        let is_cut = self.declared() > self.received;
        let kind = if is_cut { SizeMismatchKind::Truncated } else { SizeMismatchKind::Longer };
        Fit::mismatch(kind, self.declared(), data_bytes)
    }

    /// Whether fewer bytes than declared were cut off, or never existed.
    fn too_few(self, rest: u64, size: u64) -> SizeMismatchKind {
        let excess = size - rest;
        let counted_itself = [self.data.start, self.data.start.saturating_sub(8)];
        match () {
            () if size >= ENDLESS_BYTES_MIN && rest < size / 2 => SizeMismatchKind::Placeholder,
            () if rest == 0 => SizeMismatchKind::Truncated,
            () if excess <= SLIP_BYTES_MAX || counted_itself.contains(&excess) => {
                SizeMismatchKind::Impossible
            }
            () if rest.checked_mul(2) == Some(size) => SizeMismatchKind::Impossible,
            () => SizeMismatchKind::Truncated,
        }
    }

    /// Without a size for the audio: a mere header, or one that was not finalised.
    fn fit_open(self, rest: u64) -> Fit {
        let is_empty = rest == 0 || (self.ends_at(self.form_end) && self.is_chunk_after);
        if is_empty {
            let riff_size_wrong = self.has_form_size && !self.ends_at(self.form_end);
            return Fit { riff_size_wrong, ..Fit::whole(self.received, 0) };
        }
        match self.may_be_open {
            true => Fit::mismatch(SizeMismatchKind::Untold, self.received, rest),
            false => Fit::mismatch(SizeMismatchKind::Placeholder, self.data.end(), rest),
        }
    }

    fn declared(self) -> u64 {
        self.form_end.unwrap_or_default().max(self.padded_end())
    }

    /// The end of the audio with the bytes that fill a chunk up.
    fn padded_end(self) -> u64 {
        self.padded(self.data.end())
    }

    fn padded(self, end: u64) -> u64 {
        end.checked_next_multiple_of(self.unit).unwrap_or(u64::MAX)
    }

    /// Whether the body ends where a header says; that may leave out what fills a chunk up.
    fn ends_at(self, end: Option<u64>) -> bool {
        end.is_some_and(|end| self.received == end || self.received == self.padded(end))
    }
}
