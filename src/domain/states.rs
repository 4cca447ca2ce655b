//! The states of rows, spelled in Rust as in the database and the API.

use serde::{Deserialize, Serialize};

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $(#[serde(rename = $text)] $variant,)*
        }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownState;

            fn from_str(text: &str) -> Result<Self, UnknownState> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    other => Err(UnknownState(other.to_owned())),
                }
            }
        }

        // Derived, it would spell the variants as Rust does: the derive can't read a macro's literals.
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .enum_values(Some([$($text),*]))
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}

        // Lets a `text` column be read with `column as "column: State"`.
        impl sqlx::Type<sqlx::Postgres> for $name {
            fn type_info() -> sqlx::postgres::PgTypeInfo {
                <str as sqlx::Type<sqlx::Postgres>>::type_info()
            }
            fn compatible(ty: &sqlx::postgres::PgTypeInfo) -> bool {
                <str as sqlx::Type<sqlx::Postgres>>::compatible(ty)
            }
        }

        impl sqlx::postgres::PgHasArrayType for $name {
            fn array_type_info() -> sqlx::postgres::PgTypeInfo {
                <&str as sqlx::postgres::PgHasArrayType>::array_type_info()
            }
        }

        impl sqlx::Decode<'_, sqlx::Postgres> for $name {
            fn decode(value: sqlx::postgres::PgValueRef<'_>) -> Result<Self, sqlx::error::BoxDynError> {
                Ok(<&str as sqlx::Decode<sqlx::Postgres>>::decode(value)?.parse()?)
            }
        }
    )*};
}

/// A word that no state is spelled by.
#[derive(Debug, thiserror::Error)]
#[error("unknown state {0:?}")]
pub struct UnknownState(String);

states! {
    /// created -> starting -> active -> stopping -> stopped -> starting …; any of them -> deleted;
    /// starting and active -> error -> starting.
    AnnotatorStatus {
        Created = "created", Starting = "starting", Active = "active", Stopping = "stopping",
        Stopped = "stopped", Error = "error", Deleted = "deleted",
    }
    /// pending -> in_progress -> completed; pending and in_progress -> failed | cancelled. Back: completed ->
    /// in_progress when an answer is taken back, in_progress -> pending when its project is gone.
    AssignmentStatus {
        Pending = "pending", InProgress = "in_progress", Completed = "completed",
        Failed = "failed", Cancelled = "cancelled",
    }
    /// open -> done | skipped (and back when the annotation is deleted); open -> released.
    AssignmentTaskState { Open = "open", Done = "done", Skipped = "skipped", Released = "released" }
    /// available -> assigned -> completed | skipped (and back); available <-> withdrawn, when what it was made from is
    /// taken back; completed <-> escalated, when it was rejected more often than its workflow allows.
    TaskStatus {
        Available = "available", Assigned = "assigned", Completed = "completed", Skipped = "skipped",
        Withdrawn = "withdrawn", Escalated = "escalated",
    }
    /// pending -> routed | escalated; any -> withdrawn, when the review is taken back, -> pending, when it is renewed.
    RejectionStatus {
        Pending = "pending", Routed = "routed", Escalated = "escalated", Withdrawn = "withdrawn",
    }
    ReviewDecision { Accept = "accept", Reject = "reject" }
    RejectionMode { None = "none", Archive = "archive", RouteToWorkflow = "route_to_workflow" }
    Difficulty { Easy = "easy", Medium = "medium", Hard = "hard" }
    UserRole { Admin = "admin", Operator = "operator", Viewer = "viewer" }
    /// What a caller may do. A ladder: each opens what those before it do, and more.
    Scope { Read = "read", Write = "write", Admin = "admin" }
    AnnotationAction { Created = "created", Updated = "updated", Deleted = "deleted" }
    /// The two sources of the audit log.
    EventKind { Container = "container", Annotation = "annotation" }
    EventSource { Webhook = "webhook", Reconcile = "reconcile" }
    /// What an assignment is exported as; `docs/EXPORTS.md` has the formats.
    ExportFormat {
        Json = "json", Jsonl = "jsonl", Csv = "csv", Coco = "coco", Yolo = "yolo", Voc = "voc",
    }
}
