//! Bringing the schema up to date, while others read and write.
//!
//! Indexes on tables that may be large are made by `CREATE INDEX CONCURRENTLY IF NOT EXISTS`, each in a migration of
//! its own outside of a transaction. Two things follow. Whoever waits for their turn must not do so inside a
//! statement, because that statement's snapshot is what the index's making waits for: both would wait for ever. And
//! one that was cut off leaves an index that is not valid, which is dropped before it is made again.

use std::sync::LazyLock;

use sqlx::{
    AssertSqlSafe, PgConnection, PgPool,
    migrate::{MigrateError, Migrator},
};

use crate::lock::{self, Key};

/// Every migration, in the binary. Applied by [`run`], which takes the lock.
pub static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!();
    migrator.set_locking(false);
    migrator
});

/// Applies what the database has not seen. Any number of processes may do so at once.
pub async fn run(connection: &mut PgConnection) -> Result<(), MigrateError> {
    let lock = lock::lock_on(connection, Key::Migrations).await?;
    drop_invalid_indexes(connection).await?;
    MIGRATIONS.run(&mut *connection).await?;
    Ok(lock::unlock_on(connection, lock).await?)
}

/// Indexes of ours whose making was cut off; one that an operator is making is left alone.
async fn drop_invalid_indexes(connection: &mut PgConnection) -> sqlx::Result<()> {
    let invalid = sqlx::query_scalar!(
        r#"SELECT relname AS "name!" FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
           WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace"#
    )
    .fetch_all(&mut *connection)
    .await?;
    for name in invalid {
        let created = format!("CONCURRENTLY IF NOT EXISTS {name} ON");
        if MIGRATIONS.iter().any(|migration| migration.no_tx && migration.sql.as_str().contains(&created)) {
            // The name stands in our own SQL, as it does here.
            let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {name}");
            sqlx::query(AssertSqlSafe(drop)).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// How many migrations of this binary the database has not seen; all, if it has seen none.
pub async fn missing(pool: &PgPool) -> sqlx::Result<usize> {
    let has_any = sqlx::query_scalar!(r#"SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS "there!""#)
        .fetch_one(pool)
        .await?;
    let applied: Vec<i64> = if has_any {
        // The table is sqlx's own and not among our migrations, so this query can't be checked against them.
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(pool).await?
    } else {
        Vec::new()
    };
    Ok(MIGRATIONS.iter().filter(|migration| !applied.contains(&migration.version)).count())
}

#[cfg(test)]
mod tests {
    use super::MIGRATIONS;

    #[test]
    fn what_runs_outside_of_a_transaction_can_be_run_again() {
        for migration in MIGRATIONS.iter().filter(|migration| migration.no_tx) {
            let sql = migration.sql.as_str();
            let code = sql.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join(" ");
            let statements = code.split(';').filter(|part| !part.trim().is_empty()).count();
            assert_eq!(statements, 1, "{}: several statements are a transaction", migration.version);
            let again = ["CONCURRENTLY IF NOT EXISTS ", "CONCURRENTLY IF EXISTS "];
            assert!(again.iter().any(|way| sql.contains(way)), "{}: {sql}", migration.version);
        }
    }
}
