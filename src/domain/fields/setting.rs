use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Fields;
use crate::domain::check::{Checks, Issue};

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = SettingInput)]
pub struct SettingFields {
    /// Any JSON.
    #[schema(value_type = Value)]
    pub value: serde_json::Value,
    /// Absent or null: stays as it is.
    #[schema(max_length = 500)]
    pub description: Option<String>,
}

impl Fields for SettingFields {
    fn check(&self) -> Result<(), Vec<Issue>> {
        let mut checks = Checks::default();
        checks.optional_text("description", self.description.as_deref(), 0..=500);
        checks.done()
    }
}
