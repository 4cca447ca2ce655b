//! What can go wrong with a call, and whether asking again can help.

use labelfleet::queue::JobError;
use reqwest::{Method, StatusCode};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or half of one. Whether a write happened is not known: look before doing it again.
    #[error("Label Studio did not answer {method} {path}")]
    NoAnswer {
        method: Method,
        path: String,
        #[source]
        source: reqwest::Error,
    },
    /// An answer that refuses.
    #[error("Label Studio answered {status} to {method} {path}: {body}")]
    Status {
        method: Method,
        path: String,
        status: StatusCode,
        /// The beginning of what it said.
        body: String,
    },
    /// An answer of another shape than this version's API has.
    #[error("Label Studio's answer to {method} {path} is not understood")]
    Malformed {
        method: Method,
        path: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{url:?} is no address of a Label Studio")]
    BadAddress {
        url: String,
        #[source]
        source: url::ParseError,
    },
}

impl Error {
    /// Whether the same call may succeed later: the instance is starting, restarting, overloaded or unreachable.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error()
                    || matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
            Self::Malformed { .. } | Self::BadAddress { .. } => false,
        }
    }

    /// Whether the thing asked for is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status: StatusCode::NOT_FOUND, .. })
    }

    /// Whether nobody said anything.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::NoAnswer { .. })
    }

    /// Whether the token opens nothing here.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Status { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. })
    }

    /// How a job ends by this error, where nothing better is known of the call.
    pub fn into_job_error(self) -> JobError {
        if self.is_transient() { JobError::Retry(self.into()) } else { JobError::Discard(self.into()) }
    }
}
