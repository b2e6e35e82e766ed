//! How a call list was understood: what a reading rests on, without any value of it.

use serde::Serialize;

/// How a call list was understood. It holds headings and never a value, so that it may be shown and stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Understood {
    /// The headings of the last header, in the file's order.
    pub columns: Vec<UnderstoodColumn>,
    pub delimiter: char,
    /// The name of the text encoding, such as `UTF-8`, as it was found or guessed.
    pub encoding: &'static str,
    /// Whether the rows so far look as if a spreadsheet had saved them: numbers rounded, dates rewritten.
    pub spreadsheet: bool,
}

/// A heading, and the column that it was understood as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnderstoodColumn {
    pub heading: String,
    /// Our name of the column, one of [`COLUMNS`](super::COLUMNS); `None` if the heading was not understood.
    pub column: Option<&'static str>,
}
