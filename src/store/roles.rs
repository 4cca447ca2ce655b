//! Roles: which annotators receive which workflows.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{Page, Slice};
use crate::domain::{RoleId, fields::RoleFields, time};

#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Role {
    #[schema(value_type = i64)]
    pub id: RoleId,
    pub name: String,
    pub description: Option<String>,
    pub color: Option<String>,
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
}

/// A role as others show it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RoleRef {
    #[schema(value_type = i64)]
    pub id: RoleId,
    pub name: String,
    pub color: Option<String>,
}

pub async fn list(db: &mut PgConnection, page: Page) -> sqlx::Result<Slice<Role>> {
    let total = sqlx::query_scalar!(r#"SELECT count(*) AS "total!" FROM roles"#).fetch_one(&mut *db).await?;
    let rows = sqlx::query_as!(
        Role,
        r#"SELECT id AS "id: RoleId", name, description, color, created_at
           FROM roles ORDER BY id LIMIT $1 OFFSET $2"#,
        page.limit,
        page.offset
    )
    .fetch_all(db)
    .await?;
    Ok(Slice { rows, total })
}

pub async fn get(db: &mut PgConnection, id: RoleId) -> sqlx::Result<Option<Role>> {
    sqlx::query_as!(
        Role,
        r#"SELECT id AS "id: RoleId", name, description, color, created_at FROM roles WHERE id = $1"#,
        id.0
    )
    .fetch_optional(db)
    .await
}

/// Which of these there are.
pub async fn known(db: &mut PgConnection, ids: &[RoleId]) -> sqlx::Result<Vec<RoleId>> {
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    sqlx::query_scalar!(r#"SELECT id AS "id: RoleId" FROM roles WHERE id = ANY($1)"#, &ids)
        .fetch_all(db)
        .await
}

/// [`get`], and nobody changes it before the transaction ends.
pub async fn get_locked(db: &mut PgConnection, id: RoleId) -> sqlx::Result<Option<Role>> {
    sqlx::query!("SELECT FROM roles WHERE id = $1 FOR NO KEY UPDATE", id.0).fetch_optional(&mut *db).await?;
    get(db, id).await
}

pub async fn insert(db: &mut PgConnection, fields: &RoleFields) -> sqlx::Result<RoleId> {
    sqlx::query_scalar!(
        r#"INSERT INTO roles (name, description, color) VALUES ($1, $2, $3) RETURNING id AS "id: RoleId""#,
        fields.name,
        fields.description,
        fields.color
    )
    .fetch_one(db)
    .await
}

pub async fn update(db: &mut PgConnection, id: RoleId, fields: &RoleFields) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE roles SET name = $2, description = $3, color = $4 WHERE id = $1",
        id.0,
        fields.name,
        fields.description,
        fields.color
    )
    .execute(db)
    .await?;
    Ok(())
}

/// False if there was none. Deleted annotators, whom nobody sees, do not hold a role.
pub async fn delete(db: &mut PgConnection, id: RoleId) -> sqlx::Result<bool> {
    sqlx::query!("UPDATE annotators SET role_id = NULL WHERE role_id = $1 AND status = 'deleted'", id.0)
        .execute(&mut *db)
        .await?;
    let deleted = sqlx::query!("DELETE FROM roles WHERE id = $1", id.0).execute(db).await?;
    Ok(deleted.rows_affected() == 1)
}
