//! SQL of the labeling tables and nothing else: one file an aggregate, functions over `&mut PgConnection`.
//! A transition is one guarded UPDATE that says by its row count whether it happened.

pub mod annotations;
pub mod annotator_secrets;
pub mod annotators;
pub mod api_keys;
pub mod assigning;
pub mod assignment_views;
pub mod assignments;
pub mod chaining;
pub mod closing;
pub mod events;
pub mod exports;
pub mod gold;
pub mod gold_tasks;
pub mod images;
pub mod instance_databases;
pub mod instances;
pub mod labeling_configs;
pub mod migrations;
pub mod monitoring;
mod page;
pub mod publishing;
pub mod quality;
pub mod reconciling;
pub mod rejection_views;
pub mod rejections;
pub mod reviews;
pub mod roles;
pub mod rollups;
pub mod sessions;
pub mod settings;
pub mod sources;
pub mod task_views;
pub mod tasks;
pub mod users;
pub mod workflow_graph;
pub mod workflows;

pub use page::{Page, Slice};

/// Whether the database answers.
pub async fn ping(pool: &sqlx::PgPool) -> sqlx::Result<()> {
    sqlx::query_scalar!(r#"SELECT 1 AS "one!""#).fetch_one(pool).await.map(|_| ())
}
