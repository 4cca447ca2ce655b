//! Sessions of users, and failed logins. Only hashes of tokens are kept.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, postgres::types::PgInterval};

use crate::domain::{UserId, UserRole};

/// Whose session it is.
#[derive(Debug, Clone)]
pub struct SessionUser {
    pub email: String,
    pub role: UserRole,
    pub expires_at: DateTime<Utc>,
}

/// Opens a session and clears away expired ones. Only the token's hash is kept.
pub async fn open(
    db: &mut PgConnection,
    token_sha256: &[u8],
    user: UserId,
    expires_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM sessions WHERE expires_at <= now()").execute(&mut *db).await?;
    sqlx::query!(
        "INSERT INTO sessions (token_sha256, user_id, expires_at) VALUES ($1, $2, $3)",
        token_sha256,
        user.0,
        expires_at
    )
    .execute(db)
    .await?;
    Ok(())
}

pub async fn get(db: &mut PgConnection, token_sha256: &[u8]) -> sqlx::Result<Option<SessionUser>> {
    sqlx::query_as!(
        SessionUser,
        r#"SELECT email, role AS "role: UserRole", expires_at
           FROM sessions JOIN users ON users.id = user_id
           WHERE token_sha256 = $1 AND expires_at > now()"#,
        token_sha256
    )
    .fetch_optional(db)
    .await
}

/// Ends all sessions of a user.
pub async fn close_all_of(db: &mut PgConnection, user: UserId) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM sessions WHERE user_id = $1", user.0).execute(db).await?;
    Ok(())
}

pub async fn close(db: &mut PgConnection, token_sha256: &[u8]) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM sessions WHERE token_sha256 = $1", token_sha256).execute(db).await?;
    Ok(())
}

/// Keeps a failed login, and clears away those that no longer count.
pub async fn record_failure(db: &mut PgConnection, email: &str, window: Duration) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM login_failures WHERE failed_at <= now() - $1::interval", interval(window)?)
        .execute(&mut *db)
        .await?;
    sqlx::query!("INSERT INTO login_failures (email) VALUES ($1)", email).execute(db).await?;
    Ok(())
}

/// Failed logins with this email within the window.
#[derive(Debug, Clone, Copy)]
pub struct Failures {
    pub count: i64,
    pub oldest: Option<DateTime<Utc>>,
}

pub async fn failures(db: &mut PgConnection, email: &str, window: Duration) -> sqlx::Result<Failures> {
    sqlx::query_as!(
        Failures,
        r#"SELECT count(*) AS "count!", min(failed_at) AS oldest FROM login_failures
           WHERE lower(email) = lower($1) AND failed_at > now() - $2::interval"#,
        email,
        interval(window)?
    )
    .fetch_one(db)
    .await
}

/// After a success nothing counts any more.
pub async fn forget_failures(db: &mut PgConnection, email: &str) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM login_failures WHERE lower(email) = lower($1)", email).execute(db).await?;
    Ok(())
}

fn interval(duration: Duration) -> sqlx::Result<PgInterval> {
    PgInterval::try_from(duration).map_err(sqlx::Error::Encode)
}
