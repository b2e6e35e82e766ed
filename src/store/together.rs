//! Statements that are run together: one hop to the thread of SQLite and back costs as much as several of them.

use std::fmt;

use anyhow::{Context as _, Result, anyhow};
use sqlx::error::BoxDynError;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, FromRow};

use super::sql::{Bind, Conn, Doing, Value};

/// A statement with its values that is not run yet. Its parameters are all `?`: numbers would count through everything that
/// it is run with.
pub struct Statement {
    sql: &'static str,
    values: Vec<Bound>,
}

type Bound = Box<dyn FnOnce(&mut SqliteArguments) -> Result<(), BoxDynError> + Send>;

/// A statement that takes its values by [`bind_all`](super::sql::BindAll::bind_all).
pub fn statement(sql: &'static str) -> Statement {
    Statement { sql, values: Vec::new() }
}

impl Bind for Statement {
    fn with<V: Value>(mut self, value: V) -> Self {
        let stored = value.stored();
        self.values.push(Box::new(move |values| values.add(stored)));
        self
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sql)
    }
}

impl Statement {
    /// Runs it alone. `doing` says what for, in an error.
    pub async fn run(self, db: &mut Conn, doing: impl Doing) -> Result<()> {
        let mut values = SqliteArguments::default();
        bind(self.values, &mut values)?;
        sqlx::query_with(self.sql, values).execute(db).await.context(doing).map(drop)
    }
}

/// Runs statements in their order, and gives the rows of those that return any. After an error the caller's unit is undone.
pub async fn returned<O>(db: &mut Conn, statements: Vec<Statement>, doing: impl Doing) -> Result<Vec<O>>
where
    O: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
{
    let sql: Vec<&str> = statements.iter().map(|statement| statement.sql).collect();
    let sql = sql.join(";\n");
    let mut values = SqliteArguments::default();
    for statement in statements {
        bind(statement.values, &mut values)?;
    }
    // Each part is a constant of this program.
    sqlx::query_as_with(AssertSqlSafe(sql), values).fetch_all(db).await.context(doing)
}

fn bind(bound: Vec<Bound>, values: &mut SqliteArguments) -> Result<()> {
    let all = bound.into_iter().try_for_each(|add| add(values));
    all.map_err(|error| anyhow!("a value has no place in a column: {error}"))
}

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;

    use super::*;
    use crate::store::sql::BindAll as _;

    #[tokio::test]
    async fn values_go_to_their_own_statement_and_rows_come_from_all() {
        let mut db = Conn::connect("sqlite::memory:").await.unwrap();
        statement("create table words (id integer primary key, word text not null)")
            .run(&mut db, "")
            .await
            .unwrap();
        let insert = |id: i64, word: &str| statement("insert into words values (?, ?)").bind_all((id, word));
        let statements = vec![
            insert(1, "a"),
            statement("update words set word = word || ? where id = ? returning id, word")
                .bind_all(("b", 1_i64)),
            insert(2, "c"),
            statement("select id, word from words where id = ?").bind_all((2_i64,)),
        ];
        let rows: Vec<(i64, String)> = returned(&mut db, statements, "").await.unwrap();
        assert_eq!(rows, [(1, "ab".to_owned()), (2, "c".to_owned())]);
        let rows: Result<Vec<(i64,)>> = returned(&mut db, vec![insert(3, "d"), insert(3, "e")], "").await;
        assert!(rows.is_err());
        assert!(statement("select ?").bind_all((u64::MAX,)).run(&mut db, "").await.is_err());
    }
}
