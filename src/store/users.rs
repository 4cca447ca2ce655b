//! Users: people who may log in.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::{Page, Slice};
use crate::domain::{UserId, UserRole, fields::UserFields, time};

#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    #[schema(value_type = i64)]
    pub id: UserId,
    pub email: String,
    #[schema(inline)]
    pub role: UserRole,
    #[serde(serialize_with = "time::millis")]
    pub created_at: DateTime<Utc>,
}

pub async fn list(db: &mut PgConnection, page: Page) -> sqlx::Result<Slice<User>> {
    let total = sqlx::query_scalar!(r#"SELECT count(*) AS "total!" FROM users"#).fetch_one(&mut *db).await?;
    let rows = sqlx::query_as!(
        User,
        r#"SELECT id AS "id: UserId", email, role AS "role: UserRole", created_at
           FROM users ORDER BY id LIMIT $1 OFFSET $2"#,
        page.limit,
        page.offset
    )
    .fetch_all(db)
    .await?;
    Ok(Slice { rows, total })
}

pub async fn get(db: &mut PgConnection, id: UserId) -> sqlx::Result<Option<User>> {
    sqlx::query_as!(
        User,
        r#"SELECT id AS "id: UserId", email, role AS "role: UserRole", created_at FROM users WHERE id = $1"#,
        id.0
    )
    .fetch_optional(db)
    .await
}

/// [`get`], and nobody changes them before the transaction ends.
pub async fn get_locked(db: &mut PgConnection, id: UserId) -> sqlx::Result<Option<User>> {
    sqlx::query!("SELECT FROM users WHERE id = $1 FOR UPDATE", id.0).fetch_optional(&mut *db).await?;
    get(db, id).await
}

/// All administrators, who stay that before the transaction ends: locked in the order of their ids, so that
/// two who look at once wait for each other and the second sees what the first did.
pub async fn lock_admins(db: &mut PgConnection) -> sqlx::Result<Vec<UserId>> {
    sqlx::query_scalar!(r#"SELECT id AS "id: UserId" FROM users WHERE role = 'admin' ORDER BY id FOR UPDATE"#)
        .fetch_all(db)
        .await
}

pub async fn insert(db: &mut PgConnection, fields: &UserFields, password_hash: &str) -> sqlx::Result<User> {
    sqlx::query_as!(
        User,
        r#"INSERT INTO users (email, role, password_hash) VALUES ($1, $2, $3)
           RETURNING id AS "id: UserId", email, role AS "role: UserRole", created_at"#,
        fields.email,
        fields.role.as_str(),
        password_hash
    )
    .fetch_one(db)
    .await
}

/// Without a hash the password stays.
pub async fn update(
    db: &mut PgConnection,
    id: UserId,
    fields: &UserFields,
    password_hash: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE users SET email = $2, role = $3, password_hash = COALESCE($4, password_hash) WHERE id = $1",
        id.0,
        fields.email,
        fields.role.as_str(),
        password_hash
    )
    .execute(db)
    .await?;
    Ok(())
}

/// False if there was none. Their sessions end with them.
pub async fn delete(db: &mut PgConnection, id: UserId) -> sqlx::Result<bool> {
    let deleted = sqlx::query!("DELETE FROM users WHERE id = $1", id.0).execute(db).await?;
    Ok(deleted.rows_affected() == 1)
}

/// Who may log in.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub id: UserId,
    pub password_hash: String,
}

pub async fn credentials(db: &mut PgConnection, email: &str) -> sqlx::Result<Option<Credentials>> {
    sqlx::query_as!(
        Credentials,
        r#"SELECT id AS "id: UserId", password_hash FROM users WHERE lower(email) = lower($1)"#,
        email
    )
    .fetch_optional(db)
    .await
}

/// Creates an administrator or gives them a new password, which ends their sessions.
pub async fn put_admin(db: &mut PgConnection, email: &str, password_hash: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "WITH admin AS (
             INSERT INTO users (email, password_hash, role) VALUES ($1, $2, 'admin')
             ON CONFLICT (lower(email)) DO UPDATE SET password_hash = excluded.password_hash, role = 'admin'
             RETURNING id
         )
         DELETE FROM sessions USING admin WHERE user_id = admin.id",
        email,
        password_hash
    )
    .execute(db)
    .await?;
    Ok(())
}

pub async fn exist(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM users) AS "any!""#).fetch_one(db).await
}
