//! How values of ours stand in columns, and the few ways in which a statement is run.
//!
//! Times are milliseconds since the epoch, days are ISO dates, hashes and salts are blobs, words are text. What is read is
//! checked: a column that does not hold what it should is an error of the statement.

use std::fmt::Display;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::query::{Query, QueryAs, QueryScalar};
use sqlx::sqlite::{SqliteArguments, SqliteArgumentsBuffer, SqliteRow, SqliteTypeInfo, SqliteValueRef};
use sqlx::{Decode, Encode, FromRow, Sqlite, SqliteConnection, Type};

use crate::base::digest::Digest;
use crate::base::recording::RecordingName;
use crate::base::salt::Salt;
use crate::base::words::Word;
use crate::formats::cdr::CdrRow;
use crate::formats::raw_row::RawRow;

/// A connection, or the transaction that is open on it.
pub type Conn = SqliteConnection;

/// What a statement is for, for its error.
pub trait Doing: Display + Send + Sync + 'static {}

impl<T: Display + Send + Sync + 'static> Doing for T {}

pub trait Value {
    type Stored: for<'q> Encode<'q, Sqlite> + Type<Sqlite> + Send + 'static;

    fn stored(self) -> Self::Stored;
}

/// A number that a column must have room for, or its statement fails.
#[derive(Debug)]
pub struct Unsigned(u64);

impl Encode<'_, Sqlite> for Unsigned {
    fn encode_by_ref(&self, to: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        i64::try_from(self.0)?.encode(to)
    }
}

impl Type<Sqlite> for Unsigned {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }
}

macro_rules! stored {
    ($($value:ty, $stored:ty, $of:expr;)+) => {$(
        impl Value for $value {
            type Stored = $stored;

            fn stored(self) -> $stored {
                let of: fn($value) -> $stored = $of;
                of(self)
            }
        }
    )+};
}
stored! {
    i64, i64, |it| it;
    i32, i32, |it| it;
    u32, u32, |it| it;
    u16, u16, |it| it;
    u64, Unsigned, Unsigned;
    bool, bool, |it| it;
    f64, f64, |it| it;
    String, String, |it| it;
    &String, String, Clone::clone;
    &str, String, str::to_owned;
    &Option<String>, Option<String>, Clone::clone;
    Vec<u8>, Vec<u8>, |it| it;
    &Vec<u8>, Vec<u8>, Clone::clone;
    &[u8], Vec<u8>, <[u8]>::to_vec;
    Timestamp, i64, |it| it.as_millisecond();
    Ms, i64, |Ms(it)| it.as_millisecond();
    Date, String, |it| it.to_string();
    Digest, Vec<u8>, |it| it.as_bytes().to_vec();
    &Digest, Vec<u8>, |it| it.as_bytes().to_vec();
    Salt, Vec<u8>, |it| it.as_bytes().to_vec();
    &Salt, Vec<u8>, |it| it.as_bytes().to_vec();
    &RecordingName, Vec<u8>, |it| it.as_bytes().to_vec();
}

impl<W: Word> Value for W {
    type Stored = &'static str;

    fn stored(self) -> &'static str {
        self.word()
    }
}

impl<T: Value> Value for Option<T> {
    type Stored = Option<T::Stored>;

    fn stored(self) -> Self::Stored {
        self.map(T::stored)
    }
}

/// A statement that takes values.
pub(super) trait Bind: Sized {
    fn with<V: Value>(self, value: V) -> Self;
}

macro_rules! bind {
    ($query:ident $(, $rows:ident)?) => {
        impl<$($rows)?> Bind for $query<'_, Sqlite, $($rows,)? SqliteArguments> {
            fn with<V: Value>(self, value: V) -> Self {
                self.bind(value.stored())
            }
        }
    };
}
bind! { Query }
bind! { QueryAs, O }
bind! { QueryScalar, O }

/// Binds several values, in the order of the statement's parameters.
pub trait BindAll<V> {
    #[must_use]
    fn bind_all(self, values: V) -> Self;
}

macro_rules! bind_all {
    ($($value:ident)+) => {
        impl<Q: Bind, $($value: Value),+> BindAll<($($value,)+)> for Q {
            #[expect(non_snake_case, reason = "the values go by the names of their types")]
            fn bind_all(self, ($($value,)+): ($($value,)+)) -> Self { self$(.with($value))+ }
        }
    };
}
bind_all! { A }
bind_all! { A B }
bind_all! { A B C }
bind_all! { A B C D }
bind_all! { A B C D E }
bind_all! { A B C D E F }
bind_all! { A B C D E F G }
bind_all! { A B C D E F G H }
bind_all! { A B C D E F G H I }
bind_all! { A B C D E F G H I J }
bind_all! { A B C D E F G H I J K }
bind_all! { A B C D E F G H I J K L }

/// Runs a statement that returns no rows. `doing` says what for, in an error.
pub trait Run: Sized {
    fn count(self, db: &mut Conn, doing: impl Doing) -> impl Future<Output = Result<u64>> + Send;

    fn run(self, db: &mut Conn, doing: impl Doing) -> impl Future<Output = Result<()>> + Send
    where
        Self: Send,
    {
        async move { self.count(db, doing).await.map(drop) }
    }

    fn changed(self, db: &mut Conn, doing: impl Doing) -> impl Future<Output = Result<bool>> + Send
    where
        Self: Send,
    {
        async move { Ok(self.count(db, doing).await? > 0) }
    }
}

impl Run for Query<'_, Sqlite, SqliteArguments> {
    async fn count(self, db: &mut Conn, doing: impl Doing) -> Result<u64> {
        Ok(self.execute(db).await.context(doing)?.rows_affected())
    }
}

/// Reads rows. `doing` says what for, in an error.
pub trait Fetch<O>: Sized {
    fn all(self, db: &mut Conn, doing: impl Doing) -> impl Future<Output = Result<Vec<O>>> + Send;

    fn one(self, db: &mut Conn, doing: impl Doing) -> impl Future<Output = Result<O>> + Send;

    fn maybe(self, db: &mut Conn, doing: impl Doing) -> impl Future<Output = Result<Option<O>>> + Send;
}

macro_rules! fetch {
    ($query:ident, $($bound:tt)+) => {
        impl<O: Send + Unpin> Fetch<O> for $query<'_, Sqlite, O, SqliteArguments>
        where
            $($bound)+: for<'r> FromRow<'r, SqliteRow>,
        {
            async fn all(self, db: &mut Conn, doing: impl Doing) -> Result<Vec<O>> {
                self.fetch_all(db).await.context(doing)
            }

            async fn one(self, db: &mut Conn, doing: impl Doing) -> Result<O> {
                self.fetch_one(db).await.context(doing)
            }

            async fn maybe(self, db: &mut Conn, doing: impl Doing) -> Result<Option<O>> {
                self.fetch_optional(db).await.context(doing)
            }
        }
    };
}
fetch! { QueryAs, O }
fetch! { QueryScalar, (O,) }

/// A point in time as a column holds it, in milliseconds. Rows take it by `#[sqlx(try_from = "Ms")]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ms(pub Timestamp);

impl From<Ms> for Timestamp {
    fn from(Ms(at): Ms) -> Self {
        at
    }
}

/// The same where the column may be null.
#[derive(Debug, Clone, Copy)]
pub struct MaybeMs(Option<Timestamp>);

impl From<MaybeMs> for Option<Timestamp> {
    fn from(MaybeMs(at): MaybeMs) -> Self {
        at
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub Date);

impl From<Day> for Date {
    fn from(Day(day): Day) -> Self {
        day
    }
}

pub fn dates(days: Vec<Day>) -> Vec<Date> {
    days.into_iter().map(Date::from).collect()
}

/// A row of a call list as it is stored, and its cells.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct RowText {
    pub text: Box<RawValue>,
    #[serde(skip)]
    pub cells: RawRow,
}

impl RowText {
    pub fn parse(text: String) -> serde_json::Result<Self> {
        Ok(Self { cells: serde_json::from_str(&text)?, text: RawValue::from_string(text)? })
    }
}

macro_rules! column {
    ($($value:ty, $stored:ty, $of:expr;)+) => {$(
        impl Type<Sqlite> for $value {
            fn type_info() -> SqliteTypeInfo {
                <$stored as Type<Sqlite>>::type_info()
            }

            fn compatible(info: &SqliteTypeInfo) -> bool {
                <$stored as Type<Sqlite>>::compatible(info)
            }
        }

        impl<'r> Decode<'r, Sqlite> for $value {
            fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
                let of: fn($stored) -> Result<Self, BoxDynError> = $of;
                of(<$stored as Decode<Sqlite>>::decode(value)?)
            }
        }
    )+};
}
column! {
    Ms, i64, |ms| Ok(Self(Timestamp::from_millisecond(ms)?));
    MaybeMs, Option<i64>, |ms| Ok(Self(ms.map(Timestamp::from_millisecond).transpose()?));
    Day, String, |day| Ok(Self(day.parse()?));
    Salt, Vec<u8>, |bytes| Ok(Self::try_from(&bytes[..])?);
    RawRow, String, |row| Ok(serde_json::from_str(&row)?);
    RowText, String, |row| Ok(Self::parse(row)?);
    CdrRow, String, |row| Self::from_raw_json(&row).ok_or_else(|| "a stored row is damaged".into());
    RecordingName, Vec<u8>, |bytes| Self::new(bytes).ok_or_else(|| "a recording has an empty name".into());
}

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;

    use super::*;

    async fn is_read<T>(statement: &'static str) -> bool
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + Send + Unpin,
    {
        let mut db = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        sqlx::query_scalar::<_, T>(statement).fetch_one(&mut db).await.is_ok()
    }

    #[tokio::test]
    async fn a_column_that_does_not_hold_what_it_should_is_an_error() {
        const MS_MAX: &str = "select 9223372036854775807";
        assert!(is_read::<Ms>("select 0").await && !is_read::<Ms>(MS_MAX).await);
        assert!(is_read::<MaybeMs>("select null").await && !is_read::<MaybeMs>(MS_MAX).await);
        assert!(is_read::<Day>("select '2024-02-29'").await && !is_read::<Day>("select '2024-02-30'").await);
        assert!(is_read::<Salt>("select zeroblob(32)").await && !is_read::<Salt>("select x'00'").await);
        assert!(is_read::<Digest>("select zeroblob(32)").await && !is_read::<Digest>("select x'00'").await);
        assert!(is_read::<RawRow>("select '{}'").await && !is_read::<RawRow>("select '{'").await);
        assert!(is_read::<RowText>("select '{}'").await && !is_read::<RowText>("select '[1]'").await);
        assert!(!is_read::<CdrRow>("select '{'").await);
        let name = "select x'61'";
        assert!(is_read::<RecordingName>(name).await && !is_read::<RecordingName>("select x''").await);
    }
}
