//! Passwords as argon2id hashes. Hashing takes tens of milliseconds and 19 MiB by design: a few run at once, and
//! none on the threads that answer requests.

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier},
};
use tokio::sync::Semaphore;

static AT_ONCE: Semaphore = Semaphore::const_new(4);

pub async fn hash(password: String) -> anyhow::Result<String> {
    apart(move || Ok(Argon2::default().hash_password(password.as_bytes())?.to_string())).await
}

pub async fn verify(password: String, hash: String) -> anyhow::Result<bool> {
    apart(move || match Argon2::default().verify_password(password.as_bytes(), hash.as_str()) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(error.into()),
    })
    .await
}

async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let permit = AT_ONCE.acquire().await?;
    let done = tokio::task::spawn_blocking(move || {
        // Held to the work's end, also when nobody waits for it any more.
        let _permit = permit;
        work()
    });
    done.await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_opens_its_own_hash_only() {
        let hashed = hash("correct horse".into()).await.unwrap();
        assert!(hashed.starts_with("$argon2id$"));
        assert!(verify("correct horse".into(), hashed.clone()).await.unwrap());
        assert!(!verify("wrong horse".into(), hashed).await.unwrap());
        assert!(verify("any".into(), "no hash".into()).await.is_err());
    }
}
