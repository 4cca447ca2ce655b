//! Which version of an annotator's derived secrets is in force.

use sqlx::PgConnection;

use crate::domain::AnnotatorId;

pub async fn version(db: &mut PgConnection, id: AnnotatorId) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar!("SELECT secret_version FROM annotators WHERE id = $1 AND status <> 'deleted'", id.0)
        .fetch_optional(db)
        .await
}
