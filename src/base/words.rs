//! Closed sets of words: one list gives the enum and its words in SQL, in JSON and in messages.

use serde::de::{Deserialize, Deserializer, Error as _};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArgumentsBuffer, SqliteValueRef};
use sqlx::{Decode, Encode, Sqlite};

/// One of a closed set of words.
pub trait Word: Copy + 'static {
    /// What the word is, for errors.
    const SET: &'static str;
    const ALL: &'static [Self];

    fn word(self) -> &'static str;
}

/// A text from the database or a document is none of the words that may stand there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {set} {word:?}")]
pub struct UnknownWord {
    set: &'static str,
    word: String,
}

pub(crate) fn parse<W: Word>(word: &str) -> Result<W, UnknownWord> {
    let known = W::ALL.iter().copied().find(|known| known.word() == word);
    known.ok_or_else(|| UnknownWord { set: W::SET, word: word.to_owned() })
}

pub(crate) fn deserialize<'de, W: Word, D: Deserializer<'de>>(from: D) -> Result<W, D::Error> {
    parse(&std::borrow::Cow::<'de, str>::deserialize(from)?).map_err(D::Error::custom)
}

pub(crate) fn encode<W: Word>(word: W, to: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
    Encode::<Sqlite>::encode(word.word(), to)
}

pub(crate) fn decode<W: Word>(value: SqliteValueRef<'_>) -> Result<W, BoxDynError> {
    Ok(parse(<&str as Decode<Sqlite>>::decode(value)?)?)
}

/// Makes an enum each of whose values is one word. `as "state"` says what the word is, for errors. A method may follow, with
/// what it gives for each word beside that word: `as "state", meaning: &'static str { Stuck = "stuck" => "failed often" }`.
macro_rules! words {
    ($(#[$meta:meta])* $vis:vis enum $name:ident as $set:literal, $(#[$doc:meta])* $method:ident: $given:ty {
        $($(#[$of:meta])* $variant:ident = $word:literal => $value:expr),+ $(,)?
    }) => {
        $crate::base::words::words! { $(#[$meta])* $vis enum $name as $set { $($(#[$of])* $variant = $word),+ } }

        impl $name {
            $(#[$doc])*
            $vis fn $method(self) -> $given {
                match self { $(Self::$variant => $value),+ }
            }
        }
    };
    ($(#[$meta:meta])* $vis:vis enum $name:ident as $set:literal {
        $($(#[$of:meta])* $variant:ident = $word:literal),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name { $($(#[$of])* $variant),+ }

        impl $name {
            /// All of them, in the order in which they are defined.
            $vis const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in SQL and JSON.
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl $crate::base::words::Word for $name {
            const SET: &'static str = $set;
            const ALL: &'static [Self] = Self::ALL;

            fn word(self) -> &'static str { self.as_str() }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(self.as_str()) }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::base::words::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> { $crate::base::words::parse(word) }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::base::words::deserialize(from)
            }
        }

        impl sqlx::Type<sqlx::Sqlite> for $name {
            fn type_info() -> sqlx::sqlite::SqliteTypeInfo { <str as sqlx::Type<sqlx::Sqlite>>::type_info() }
        }

        impl sqlx::Encode<'_, sqlx::Sqlite> for $name {
            fn encode_by_ref(
                &self,
                to: &mut sqlx::sqlite::SqliteArgumentsBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                $crate::base::words::encode(*self, to)
            }
        }

        impl sqlx::Decode<'_, sqlx::Sqlite> for $name {
            fn decode(value: sqlx::sqlite::SqliteValueRef<'_>) -> Result<Self, sqlx::error::BoxDynError> {
                $crate::base::words::decode(value)
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    words! {
        pub(super) enum Colour as "colour" { Red = "red", DeepBlue = "deep_blue" }
    }

    #[test]
    fn each_word_is_read_as_it_is_written() {
        for colour in Colour::ALL {
            assert_eq!(colour.as_str().parse(), Ok(*colour));
            let json = serde_json::to_string(colour).unwrap();
            assert_eq!(json, format!("{:?}", colour.as_str()));
            assert_eq!(serde_json::from_str::<Colour>(&json).unwrap(), *colour);
        }
        let error = "Red".parse::<Colour>().unwrap_err();
        assert_eq!(error.to_string(), r#"unknown colour "Red""#);
        assert!(serde_json::from_str::<Colour>(r#""pink""#).is_err());
    }
}
