//! Row ids as types, so that one can't be passed for another.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
            sqlx::Type, utoipa::ToSchema,
        )]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<i64> for $name {
            fn from(id: i64) -> Self {
                Self(id)
            }
        }
    )*};
}

id! {
    RoleId,
    LabelingConfigId,
    WorkflowId,
    GoldTaskId,
    AnnotatorId,
    /// One unit of labeling.
    TaskId,
    /// A batch of tasks given to an annotator: one Label Studio project.
    AssignmentId,
    /// A task or gold task inside an assignment.
    AssignmentTaskId,
    /// An annotation as Label Studio gave it.
    AnnotationId,
    RejectionId,
    UserId,
    ApiKeyId,
    /// A job of the engine, as rows of labeling name the one that wrote them. Nothing is looked up by it.
    JobRef,
    /// A batch of the engine's jobs, likewise.
    JobBatchRef,
}
