//! Why a line of a call list cannot be believed, or not wholly.

/// Why a line of a call list cannot be believed: a closed set of words, the same in SQL and JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DoubtCause {
    /// It has the separators of a row, and nothing between them.
    Blank,
    /// It holds bytes that are no line of CSV.
    NotCsv,
    /// A quote is not closed, or is followed by more of its field.
    BrokenQuotes,
    /// It is longer than any call's line is.
    TooLong,
    /// It has more or fewer fields than the header has, and which ones are lacking or too many nothing tells.
    FieldCount,
    /// It ends within the column of recording names, or before it: whether it names a recording is unknown.
    Cut,
    /// Its values stand in other columns than their own.
    Shifted,
    /// Its start and the time in its call id are further apart than the parts of one call can be.
    StartContradictsCallid,
    /// It tells no call id, and its start and the time in its recording's name are further apart than they can be.
    StartContradictsName,
    /// The database refuses it.
    Unstorable,
}

impl DoubtCause {
    /// All causes.
    pub const ALL: [Self; 10] = [
        Self::Blank,
        Self::NotCsv,
        Self::BrokenQuotes,
        Self::TooLong,
        Self::FieldCount,
        Self::Cut,
        Self::Shifted,
        Self::StartContradictsCallid,
        Self::StartContradictsName,
        Self::Unstorable,
    ];

    /// The word used in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::NotCsv => "not_csv",
            Self::BrokenQuotes => "broken_quotes",
            Self::TooLong => "too_long",
            Self::FieldCount => "field_count",
            Self::Cut => "cut",
            Self::Shifted => "shifted",
            Self::StartContradictsCallid => "start_contradicts_callid",
            Self::StartContradictsName => "start_contradicts_name",
            Self::Unstorable => "unstorable",
        }
    }

    /// The cause of this word; `None` if there is no such cause.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == word)
    }

    /// The cause for people, as a lowercase fragment that follows "this line" or "the line".
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Blank => "has no value in any column",
            Self::NotCsv => "is not CSV",
            Self::BrokenQuotes => "has a quote that is not closed where its field ends",
            Self::TooLong => "is longer than the line of a call can be",
            Self::FieldCount => "does not have as many fields as the header",
            Self::Cut => "ends before the recording's name is over",
            Self::Shifted => "has values in columns to which they do not belong",
            Self::StartContradictsCallid => "has a start that contradicts its call id",
            Self::StartContradictsName => "has a start that contradicts the name of its recording",
            Self::Unstorable => "cannot be stored",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_word_of_its_own_that_is_read_again() {
        for cause in DoubtCause::ALL {
            assert_eq!(DoubtCause::parse(cause.as_str()), Some(cause));
            assert!(!cause.sentence().is_empty());
        }
        assert_eq!(DoubtCause::parse("Shifted"), None);
    }
}
