//! Which kinds of recordings somebody works on.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    Calls,
    Voicemail,
    All,
}

impl Kinds {
    /// The first and the last kind's word in SQL, in the order of text.
    pub(super) fn bounds(self) -> (&'static str, &'static str) {
        match self {
            Self::Calls => ("call", "call"),
            Self::Voicemail => ("voicemail", "voicemail"),
            Self::All => ("call", "voicemail"),
        }
    }
}
