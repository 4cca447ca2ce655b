//! The one error type behind every surface; `http` gives it its envelope and status.

use serde::Serialize;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Malformed input, every bad field named. 400
    #[error("validation failed: {}", .0.iter().map(|issue| format!("{}: {}", issue.path, issue.message)).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Issue>),
    /// Well formed, but the thing's state forbids it. 400
    #[error("{0}")]
    Refused(String),
    #[error("{0} not found")]
    NotFound(&'static str),
    #[error("{0}")]
    Conflict(String),
    /// 503 when the database is away, else 500.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One bad field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Issue {
    /// Where, as a path into the body: `annotators[2].email`.
    pub path: String,
    /// What is wanted there.
    pub message: String,
}
