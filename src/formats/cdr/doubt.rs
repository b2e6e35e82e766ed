//! Why a line of a call list cannot be believed, or not wholly.

use crate::base::words::words;

words! {
    /// Why a line of a call list cannot be believed: a closed set of words, the same in SQL and JSON.
    pub enum DoubtCause as "doubt" {
        /// It has the separators of a row, and nothing between them.
        Blank = "blank",
        /// It holds bytes that are no line of CSV.
        NotCsv = "not_csv",
        /// A quote is not closed, or is followed by more of its field.
        BrokenQuotes = "broken_quotes",
        /// It is longer than any call's line is.
        TooLong = "too_long",
        /// It has more or fewer fields than the header has, and which ones are lacking or too many nothing tells.
        FieldCount = "field_count",
        /// It ends within the column of recording names, or before it: whether it names a recording is unknown.
        Cut = "cut",
        /// Its values stand in other columns than their own.
        Shifted = "shifted",
        /// Its start and the time in its call id are further apart than the parts of one call can be.
        StartContradictsCallid = "start_contradicts_callid",
        /// It tells no call id, and its start and the time in its recording's name are further apart than they can be.
        StartContradictsName = "start_contradicts_name",
        /// The database refuses it.
        Unstorable = "unstorable",
    }
}

impl DoubtCause {
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
            assert_eq!(cause.as_str().parse(), Ok(*cause));
            assert!(!cause.sentence().is_empty());
        }
        assert!("Shifted".parse::<DoubtCause>().is_err());
    }
}
