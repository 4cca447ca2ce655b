//! SQL of the labeling tables and nothing else: one file an aggregate, functions over `&mut PgConnection`.
//! A transition is one guarded UPDATE that says by its row count whether it happened.

pub mod annotations;
pub mod annotator_secrets;
pub mod annotators;
pub mod api_keys;
pub mod assigning;
pub mod assignment_views;
pub mod assignments;
pub mod exports;
pub mod gold;
pub mod gold_tasks;
pub mod images;
pub mod instance_databases;
pub mod instances;
pub mod labeling_configs;
mod page;
pub mod publishing;
pub mod reconciling;
pub mod roles;
pub mod rollups;
pub mod sessions;
pub mod settings;
pub mod sources;
pub mod tasks;
pub mod users;
pub mod workflows;

pub use page::{Page, Slice};

/// Every migration, in the binary.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// Whether the database answers.
pub async fn ping(pool: &sqlx::PgPool) -> sqlx::Result<()> {
    sqlx::query_scalar!(r#"SELECT 1 AS "one!""#).fetch_one(pool).await.map(|_| ())
}

/// How many migrations of this binary the database has not seen; all, if it has seen none.
pub async fn missing_migrations(pool: &sqlx::PgPool) -> sqlx::Result<usize> {
    let has_any = sqlx::query_scalar!(r#"SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS "there!""#)
        .fetch_one(pool)
        .await?;
    let applied: Vec<i64> = if has_any {
        // The table is sqlx's own and not among our migrations, so this query can't be checked against them.
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success").fetch_all(pool).await?
    } else {
        Vec::new()
    };
    Ok(MIGRATOR.iter().filter(|migration| !applied.contains(&migration.version)).count())
}
