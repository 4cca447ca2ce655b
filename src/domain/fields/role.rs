use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Fields;
use crate::domain::check::{Checks, Issue};

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RoleInput)]
pub struct RoleFields {
    /// Unique.
    #[schema(min_length = 1, max_length = 100, example = "labeler")]
    pub name: String,
    #[schema(max_length = 500)]
    pub description: Option<String>,
    #[schema(pattern = "^#[0-9A-Fa-f]{6}$", example = "#3B82F6")]
    pub color: Option<String>,
}

impl Fields for RoleFields {
    fn check(&self) -> Result<(), Vec<Issue>> {
        let mut checks = Checks::default();
        checks.text("name", &self.name, 1..=100);
        checks.optional_text("description", self.description.as_deref(), 0..=500);
        let is_color = |text: &str| {
            text.strip_prefix('#')
                .is_some_and(|hex| hex.len() == 6 && hex.chars().all(|c| c.is_ascii_hexdigit()))
        };
        checks.require("color", self.color.as_deref().is_none_or(is_color), "must look like #3B82F6");
        checks.done()
    }
}
