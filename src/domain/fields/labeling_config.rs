use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Fields;
use crate::domain::{
    check::{Checks, Issue},
    interface,
};

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LabelingConfigInput)]
pub struct LabelingConfigFields {
    #[schema(min_length = 1, max_length = 100)]
    pub name: String,
    #[schema(max_length = 500)]
    pub description: Option<String>,
    /// Label Studio's XML: well-formed, without a DTD, `<View>` as its root, at least one object tag, names that
    /// differ, and each `toName` the name of an object tag.
    #[schema(max_length = 50000, example = "<View><Image name=\"image\" value=\"$image\"/></View>")]
    pub config_xml: String,
}

impl Fields for LabelingConfigFields {
    fn check(&self) -> Result<(), Vec<Issue>> {
        let mut checks = Checks::default();
        checks.text("name", &self.name, 1..=100);
        checks.optional_text("description", self.description.as_deref(), 0..=500);
        for problem in interface::check(&self.config_xml).err().unwrap_or_default() {
            checks.require("configXml", false, problem);
        }
        checks.done()
    }
}
