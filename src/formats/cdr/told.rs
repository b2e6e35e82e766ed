//! A value that a row may tell: known, absent, or there and unreadable. These are three things, never two.

/// What a row tells of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Told<T> {
    /// The column is lacking, its cell is empty, or it holds a word for nothing.
    #[default]
    Absent,
    /// Something is there that cannot be read: the value is unknown, and may be anything.
    Unreadable,
    Known(T),
}

impl<T> Told<T> {
    /// The value, if it is known.
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Unreadable => None,
        }
    }

    /// Whether something is there that cannot be read.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable)
    }
}
