//! What a recording looks like while the device is still writing it out.

use serde::{Deserialize, Serialize};

use super::audio::Source;

/// What the download of a file that is still growing gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Growing {
    /// A WAV of 44 bytes without audio.
    #[default]
    Header,
    /// No bytes at all.
    Nothing,
    /// Half of the file, under the sizes of the whole.
    Half,
    /// Half of the file, with 0 for its sizes: they are written last.
    HalfUnsized,
    /// It does not exist yet.
    Absent,
}

impl Growing {
    /// What there is of a file so far; `None` if it does not exist yet.
    pub(super) fn part_of(self, whole: Source) -> Option<Source> {
        Some(match self {
            Self::Header => super::SimAudio::empty_wav().source(),
            Self::Nothing => Source::bytes(bytes::Bytes::new()),
            Self::Half => whole.half(),
            Self::HalfUnsized => whole.half().without_sizes(),
            Self::Absent => return None,
        })
    }
}

impl Source {
    /// The first half; its head, which is where WAV headers are, stays whole if there is more than that.
    fn half(mut self) -> Self {
        if self.repeated_bytes == 0 {
            self.head.truncate(self.head.len() / 2);
        }
        self.repeated_bytes /= 2;
        self.pad = false;
        self
    }

    /// The same bytes, with 0 for the sizes of a RIFF file and of its data.
    fn without_sizes(mut self) -> Self {
        let mut head = self.head.to_vec();
        let data = head.windows(4).position(|id| id == b"data");
        for id in [head.starts_with(b"RIFF").then_some(0), data].into_iter().flatten() {
            if let Some(size) = head.get_mut(id + 4..id + 8) {
                size.fill(0);
            }
        }
        self.head = head.into();
        self
    }
}
