//! API keys: made, listed by the store, revoked.

use chrono::Utc;

use super::{Error, Result, auth::digest};
use crate::{
    domain::{ApiKey, ApiKeyId, fields::ApiKeyFields},
    queue,
    store::api_keys::{self, ApiKeyRow},
};

/// Makes a key. It is told here and never again: the database has its hash.
pub async fn create(
    queue: &queue::Client,
    fields: &ApiKeyFields,
    created_by: &str,
) -> Result<(ApiKey, ApiKeyRow)> {
    fields.check(Utc::now()).map_err(Error::Invalid)?;
    let key = ApiKey::new(rand::random());
    let mut db = queue.pool().acquire().await?;
    let row = api_keys::insert(&mut db, fields, key.prefix(), &digest(key.expose()), created_by).await?;
    Ok((key, row))
}

/// From now on the key opens nothing. Revoking it again changes nothing.
pub async fn revoke(queue: &queue::Client, id: ApiKeyId) -> Result<()> {
    let mut db = queue.pool().acquire().await?;
    if api_keys::revoke(&mut db, id).await? { Ok(()) } else { Err(Error::NotFound("API key")) }
}
