//! Who may come in: the one check of whatever a caller shows, logins, sessions, and the administrator of the
//! settings.
//!
//! Sessions and API keys are found by the SHA-256 of what is shown. Both have 256 random bits, so a plain hash
//! is as good as a slow one, and looking it up in an index tells by its time nothing that would help to guess.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::{Error, Result, passwords};
use crate::{
    config::Secret,
    domain::{ApiKey, Caller, Scope},
    lock::{Key, lock_in},
    queue,
    store::{
        api_keys,
        sessions::{self, SessionUser},
        users,
    },
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
    sessions::forget_failures(&mut tx, email).await?;
    sessions::open(&mut tx, &digest(&session.token), user.id, session.expires_at).await?;
    tx.commit().await?;
    Ok(session)
}

/// Counts the attempt as failed before it is looked at, so that of many at once no more than the limit get
/// through; a success takes that back. Answers whose email it is.
async fn admit(queue: &queue::Client, email: &str) -> Result<Option<users::Credentials>> {
    let mut tx = queue.begin().await?;
    lock_in(&mut tx, Key::Login(email_hash(email))).await?;
    let failures = sessions::failures(&mut tx, email, WINDOW).await?;
    if failures.count >= MAX_FAILURES {
        let passed = failures.oldest.map(|oldest| (Utc::now() - oldest).to_std().unwrap_or_default());
        return Err(Error::TooMany {
            message: "too many failed logins with this email",
            retry_after_secs: WINDOW.saturating_sub(passed.unwrap_or_default()).as_secs().max(1),
        });
    }
    sessions::record_failure(&mut tx, email, WINDOW).await?;
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

/// What a caller shows, however it was spelled.
#[derive(Debug)]
pub enum Credential {
    /// The token of a session.
    Session(String),
    /// Said to be an API key.
    Key(String),
}

/// Who it is that shows this; none if it is unknown, expired or revoked.
pub async fn identify(queue: &queue::Client, shown: &Credential) -> Result<Option<Caller>> {
    match shown {
        Credential::Session(token) => {
            let user = session(queue, token).await?;
            Ok(user.map(|user| Caller { scope: user.role.scope(), name: user.email }))
        }
        Credential::Key(shown) => {
            let Some(key) = ApiKey::parse(shown) else { return Ok(None) };
            let mut db = queue.pool().acquire().await?;
            let Some(key) = api_keys::valid(&mut db, &digest(key.expose())).await? else { return Ok(None) };
            if key.is_use_due {
                api_keys::record_use(&mut db, key.id).await?;
            }
            let scope = Scope::highest(&key.scopes);
            Ok(scope.map(|scope| Caller { name: format!("key {}", key.name), scope }))
        }
    }
}

/// Whose session the token opens; none if it is unknown or has expired.
pub async fn session(queue: &queue::Client, token: &str) -> Result<Option<SessionUser>> {
    let mut db = queue.pool().acquire().await?;
    Ok(sessions::get(&mut db, &digest(token)).await?)
}

pub async fn log_out(queue: &queue::Client, token: &str) -> Result<()> {
    let mut db = queue.pool().acquire().await?;
    Ok(sessions::close(&mut db, &digest(token)).await?)
}

pub(super) fn digest(token: &str) -> [u8; 32] {
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
