use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Fields;
use crate::domain::{
    Difficulty, LabelingConfigId,
    check::{Checks, Issue},
};

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GoldTaskInput)]
pub struct GoldTaskFields {
    #[schema(max_length = 255)]
    pub name: Option<String>,
    #[schema(min_length = 1, max_length = 1024, example = "gold/cat_001.jpg")]
    pub s3_image_key: String,
    /// The right answer, as a Label Studio annotation's `result`. It must fit the labeling config. A region of a
    /// number or a rating may also hold `tolerance`: how far an answer may be off and still be right.
    #[schema(value_type = Vec<Object>, min_items = 1)]
    pub expected_labels: Vec<Map<String, Value>>,
    #[schema(value_type = i64)]
    pub labeling_config_id: LabelingConfigId,
    #[schema(max_length = 100)]
    pub category: Option<String>,
    #[schema(inline)]
    pub difficulty: Option<Difficulty>,
}

impl Fields for GoldTaskFields {
    fn check(&self) -> Result<(), Vec<Issue>> {
        let mut checks = Checks::default();
        checks.optional_text("name", self.name.as_deref(), 0..=255);
        checks.text("s3ImageKey", &self.s3_image_key, 1..=1024);
        checks.require("expectedLabels", !self.expected_labels.is_empty(), "must hold at least one result");
        checks.optional_text("category", self.category.as_deref(), 0..=100);
        checks.done()
    }
}
