use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Fields;
use crate::domain::{
    ExportFormats, LabelingConfigId, RejectionMode, RoleId, WorkflowId,
    check::{Checks, Issue},
};

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WorkflowInput)]
pub struct WorkflowFields {
    #[schema(min_length = 1, max_length = 255)]
    pub name: String,
    /// Annotators of this role get batches.
    #[schema(value_type = Option<i64>)]
    pub role_id: Option<RoleId>,
    #[schema(value_type = Option<i64>)]
    pub labeling_config_id: Option<LabelingConfigId>,
    /// The upstream workflow of a chain: its finished work is this one's source, in place of `s3SourcePath`.
    #[schema(value_type = Option<i64>)]
    pub previous_workflow_id: Option<WorkflowId>,
    /// Prefix of the source images in the bucket.
    #[schema(min_length = 1, max_length = 1024, example = "images/cars/")]
    pub s3_source_path: String,
    /// Prefix under which annotations are exported.
    #[schema(min_length = 1, max_length = 900, example = "exports/cars/")]
    pub s3_export_path: String,
    /// Images in a batch.
    #[serde(default = "hundred")]
    #[schema(minimum = 1, maximum = 10000, default = 100)]
    pub images_per_project: i32,
    /// Batches an annotator gets at most.
    #[schema(minimum = 1)]
    pub max_projects: Option<i32>,
    #[schema(minimum = 0)]
    pub estimated_time_minutes: Option<i32>,
    /// Annotators who are ready get their batches by themselves.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub auto_assign: bool,
    /// Gold tasks for every image.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1, default = 0)]
    pub gold_standard_rate: f64,
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub shuffle_images: bool,
    /// False pauses the workflow.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub is_active: bool,
    // `none` by default. (A doc comment on an inlined enum would become a schema beside it that no text fits.)
    #[serde(default = "no_rejection")]
    #[schema(inline)]
    pub rejection_mode: RejectionMode,
    /// S3 path for archived rejections: a prefix in the fleet's bucket, or `s3://bucket/prefix`. By default
    /// `rejected/` under `s3ExportPath`.
    #[schema(max_length = 900)]
    pub rejection_archive_bucket: Option<String>,
    /// Required when `rejectionMode` is `route_to_workflow`.
    #[schema(value_type = Option<i64>)]
    pub rejection_route_workflow_id: Option<WorkflowId>,
    /// Rework goes to the annotator whose work was rejected, while they are there and have the role.
    #[serde(default)]
    #[schema(default = false)]
    pub rejection_return_to_original: bool,
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub rejection_flag_annotator: bool,
    /// How often a piece of work may come back before somebody has to decide; without it, any number of times.
    #[schema(minimum = 0)]
    pub max_rework_iterations: Option<i32>,
    /// What an assignment is exported as. JSON always is, whether named or not.
    #[serde(default)]
    #[schema(value_type = Vec<crate::domain::ExportFormat>, inline)]
    pub export_formats: ExportFormats,
}

fn hundred() -> i32 {
    100
}

fn yes() -> bool {
    true
}

fn no_rejection() -> RejectionMode {
    RejectionMode::None
}

impl WorkflowFields {
    /// What is wrong with the fields; `has_route` says whether there is somewhere to route rejections to.
    pub fn issues(&self, has_route: bool) -> Vec<Issue> {
        let mut checks = Checks::default();
        checks.text("name", &self.name, 1..=255);
        checks.text("s3SourcePath", &self.s3_source_path, 1..=1024);
        // The key of an export adds to it, and S3 takes 1024 bytes.
        checks.text("s3ExportPath", &self.s3_export_path, 1..=900);
        checks.within("imagesPerProject", self.images_per_project, 1..=10_000);
        checks.at_least("maxProjects", self.max_projects, 1);
        checks.at_least("estimatedTimeMinutes", self.estimated_time_minutes, 0);
        checks.within("goldStandardRate", self.gold_standard_rate, 0.0..=1.0);
        checks.optional_text("rejectionArchiveBucket", self.rejection_archive_bucket.as_deref(), 0..=900);
        checks.require(
            "rejectionRouteWorkflowId",
            self.rejection_mode != RejectionMode::RouteToWorkflow || has_route,
            "is required when rejectionMode is \"route_to_workflow\"",
        );
        checks.at_least("maxReworkIterations", self.max_rework_iterations, 0);
        checks.done().err().unwrap_or_default()
    }
}

impl Fields for WorkflowFields {
    fn check(&self) -> Result<(), Vec<Issue>> {
        let issues = self.issues(self.rejection_route_workflow_id.is_some());
        if issues.is_empty() { Ok(()) } else { Err(issues) }
    }
}
