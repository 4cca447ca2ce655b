//! SQL of the labeling tables and nothing else: one file an aggregate, functions over `&mut PgConnection`.
//! A transition is one guarded UPDATE that says by its row count whether it happened.

pub mod annotations;
pub mod assigning;
pub mod assignments;
pub mod gold;
pub mod sources;
pub mod tasks;

/// Every migration, in the binary.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();
