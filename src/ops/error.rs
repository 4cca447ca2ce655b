//! The one error type behind every surface; `http` gives it its envelope and status.

pub use crate::domain::check::Issue;
use crate::queue::WaitError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Malformed input, every bad field named. 400
    #[error("validation failed: {}", told(.0))]
    Invalid(Vec<Issue>),
    /// Well formed, but the thing's state forbids it. 400
    #[error("{0}")]
    Refused(String),
    /// Nobody, or not who they say. 401
    #[error("{0}")]
    Unauthorized(&'static str),
    /// Known, and not allowed to. 403
    #[error("{0}")]
    Forbidden(String),
    #[error("{0} not found")]
    NotFound(&'static str),
    /// What a list names and is not there. 404
    #[error("not found: {}", told(.0))]
    Absent(Vec<Issue>),
    #[error("{0}")]
    Conflict(String),
    /// What a list wants and somebody has. 409
    #[error("taken already: {}", told(.0))]
    Taken(Vec<Issue>),
    /// 429
    #[error("{message}; try again in {retry_after_secs} s")]
    TooMany { message: &'static str, retry_after_secs: u64 },
    /// Something this needs does not answer now. 503
    #[error("{0}")]
    Unavailable(String),
    /// 503 when the database is away, else 500.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// On one line.
fn told(issues: &[Issue]) -> String {
    issues.iter().map(|issue| format!("{}: {}", issue.path, issue.message)).collect::<Vec<_>>().join("; ")
}

impl Error {
    /// One bad field.
    pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Issue { path: path.into(), message: message.into() }])
    }

    /// Makes of a refused deletion the answer that something still needs the thing.
    pub fn in_use(error: sqlx::Error, message: &'static str) -> Self {
        match &error {
            sqlx::Error::Database(cause) if cause.is_foreign_key_violation() => {
                Self::Conflict(message.to_owned())
            }
            _ => error.into(),
        }
    }
}

impl From<WaitError> for Error {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Database(error) => error.into(),
            WaitError::NoJob(_) => Self::Internal(error.into()),
        }
    }
}

/// Constraints speak for themselves: what a user may run into has its answer here, so that nothing has to be
/// looked up before a write.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(cause) = &error else { return Self::Database(error) };
        match cause.constraint() {
            Some("annotators_email_key") => {
                Self::Conflict("an annotator with this email exists already".into())
            }
            Some("roles_name_key") => Self::Conflict("a role with this name exists already".into()),
            Some("users_email_key") => Self::Conflict("a user with this email exists already".into()),
            Some("annotators_role_id_fkey" | "workflows_role_id_fkey") => {
                Self::invalid("roleId", "no such role")
            }
            Some("workflows_labeling_config_id_fkey" | "gold_tasks_labeling_config_id_fkey") => {
                Self::invalid("labelingConfigId", "no such labeling config")
            }
            Some("workflows_previous_workflow_id_fkey") => {
                Self::invalid("previousWorkflowId", "no such workflow")
            }
            Some("workflows_rejection_route_workflow_id_fkey") => {
                Self::invalid("rejectionRouteWorkflowId", "no such workflow")
            }
            // Postgres broke a deadlock, or two serializable transactions met.
            _ if cause.code().is_some_and(|code| matches!(&*code, "40001" | "40P01")) => {
                Self::Unavailable("another change was in the way and nothing was changed; try again".into())
            }
            // Class 22 is what a value brings about: U+0000 in a text, say.
            _ if cause.code().is_some_and(|code| code.starts_with("22")) => {
                Self::Refused(format!("the database can't hold this value: {}", cause.message()))
            }
            _ => Self::Database(error),
        }
    }
}
