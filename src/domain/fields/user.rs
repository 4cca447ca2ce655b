use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Fields;
use crate::domain::{
    UserRole,
    check::{Checks, Issue, is_email},
};

/// A person who may log in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = UserInput)]
pub struct UserFields {
    /// Unique, whatever its case.
    #[schema(format = "email", max_length = 254)]
    pub email: String,
    #[schema(inline)]
    pub role: UserRole,
    /// Kept as a hash. A new one ends all sessions of theirs.
    #[schema(required = true, min_length = 8, max_length = 1024, format = "password")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

impl Fields for UserFields {
    fn check(&self) -> Result<(), Vec<Issue>> {
        let mut checks = Checks::default();
        checks.require("email", is_email(&self.email), "must be an email address");
        let long_enough = |password: &str| password.chars().count() >= 8 && password.len() <= 1024;
        checks.require(
            "password",
            self.password.as_deref().is_none_or(long_enough),
            "must have 8 characters at least, and 1024 bytes at most",
        );
        checks.done()
    }
}
