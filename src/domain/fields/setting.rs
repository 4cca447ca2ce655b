use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
