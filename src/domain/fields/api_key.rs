use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{
    Scope,
    check::{Checks, Issue},
};

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiKeyInput)]
pub struct ApiKeyFields {
    /// What it is for.
    #[schema(min_length = 1, max_length = 100, example = "nightly export")]
    pub name: String,
    /// What it opens: `read`, `write` or `admin`, each with all before it.
    #[schema(inline, min_items = 1, max_items = 3)]
    pub scopes: Vec<Scope>,
    /// Absent or null: it does not expire.
    pub expires_at: Option<DateTime<Utc>>,
}

impl ApiKeyFields {
    pub fn check(&self, now: DateTime<Utc>) -> Result<(), Vec<Issue>> {
        let mut checks = Checks::default();
        checks.text("name", &self.name, 1..=100);
        checks.require("scopes", !self.scopes.is_empty(), "must name at least one scope");
        checks.require("scopes", self.scopes.len() <= Scope::ALL.len(), "must name each scope once at most");
        checks.require("expiresAt", self.expires_at.is_none_or(|at| at > now), "must be in the future");
        checks.done()
    }
}
