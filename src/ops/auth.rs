//! Who may come in: logins, sessions, and the administrator of the settings.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::{Error, Result, passwords};
use crate::{
    config::Secret,
    lock::{Key, lock_in},
    queue,
    store::users::{self, SessionUser},
};

pub const SESSION_LENGTH: Duration = Duration::from_secs(7 * 24 * 3600);

/// So many failures with one email within the window, and no more attempts are looked at.
const MAX_FAILURES: i64 = 5;
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// A session's token, which only its holder knows: the database has its hash.
pub struct NewSession {
    pub token: String,
    pub expires_at: DateTime<Utc>,
}

pub async fn log_in(queue: &queue::Client, email: &str, password: String) -> Result<NewSession> {
    if email.chars().count() > 254 || password.len() > 1024 || email.contains('\0') {
        return Err(refused());
    }
    let known = admit(queue, email).await?;
    let Some(user) = known else {
        // As long as a wrong password takes, so that the time tells nobody which emails are known.
        passwords::hash(password).await?;
        return Err(refused());
    };
    if !passwords::verify(password, user.password_hash).await? {
        return Err(refused());
    }
    let session = NewSession {
        token: hex::encode(rand::random::<[u8; 32]>()),
        expires_at: Utc::now() + SESSION_LENGTH,
    };
    let mut tx = queue.begin().await?;
    users::forget_failures(&mut tx, email).await?;
    users::open_session(&mut tx, &digest(&session.token), user.id, session.expires_at).await?;
    tx.commit().await?;
    Ok(session)
}

/// Counts the attempt as failed before it is looked at, so that of many at once no more than the limit get
/// through; a success takes that back. Answers whose email it is.
async fn admit(queue: &queue::Client, email: &str) -> Result<Option<users::Credentials>> {
    let mut tx = queue.begin().await?;
    lock_in(&mut tx, Key::Login(email_hash(email))).await?;
    let failures = users::failures(&mut tx, email, WINDOW).await?;
    if failures.count >= MAX_FAILURES {
        let passed = failures.oldest.map(|oldest| (Utc::now() - oldest).to_std().unwrap_or_default());
        return Err(Error::TooMany {
            message: "too many failed logins with this email",
            retry_after_secs: WINDOW.saturating_sub(passed.unwrap_or_default()).as_secs().max(1),
        });
    }
    users::record_failure(&mut tx, email, WINDOW).await?;
    let known = users::credentials(&mut tx, email).await?;
    tx.commit().await?;
    Ok(known)
}

/// The same for all spellings of an email that count together.
fn email_hash(email: &str) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = digest(&email.to_lowercase());
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn refused() -> Error {
    Error::Unauthorized("wrong email or password")
}

/// Whose session the token opens; none if it is unknown or has expired.
pub async fn session(queue: &queue::Client, token: &str) -> Result<Option<SessionUser>> {
    let mut db = queue.pool().acquire().await?;
    Ok(users::session(&mut db, &digest(token)).await?)
}

pub async fn log_out(queue: &queue::Client, token: &str) -> Result<()> {
    let mut db = queue.pool().acquire().await?;
    Ok(users::close_session(&mut db, &digest(token)).await?)
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Makes sure that this administrator can log in. A password that is theirs already changes nothing.
pub async fn ensure_admin(queue: &queue::Client, email: &str, password: &Secret) -> Result<()> {
    let mut db = queue.pool().acquire().await?;
    if let Some(user) = users::credentials(&mut db, email).await?
        && passwords::verify(password.expose().to_owned(), user.password_hash).await?
    {
        return Ok(());
    }
    let hash = passwords::hash(password.expose().to_owned()).await?;
    Ok(users::put_admin(&mut db, email, &hash).await?)
}

/// Whether there is anybody who may log in.
pub async fn has_users(queue: &queue::Client) -> Result<bool> {
    let mut db = queue.pool().acquire().await?;
    Ok(users::exist(&mut db).await?)
}
