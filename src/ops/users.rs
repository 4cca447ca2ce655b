//! People who may log in. There is always an administrator among them.

use super::{Error, Result, input::UserChanges, passwords};
use crate::{
    domain::{
        UserId, UserRole,
        fields::{Fields, UserFields},
    },
    queue,
    store::{
        sessions,
        users::{self, User},
    },
};

const NOT_FOUND: Error = Error::NotFound("User");

pub async fn create(queue: &queue::Client, fields: UserFields) -> Result<User> {
    fields.check().map_err(Error::Invalid)?;
    let password = fields.password.clone().ok_or_else(|| Error::invalid("password", "is required"))?;
    let hash = passwords::hash(password).await?;
    let mut db = queue.pool().acquire().await?;
    Ok(users::insert(&mut db, &fields, &hash).await?)
}

/// A new password ends all sessions of theirs; a new role holds from the next request on.
pub async fn update(queue: &queue::Client, id: UserId, changes: UserChanges) -> Result<User> {
    let mut db = queue.pool().acquire().await?;
    let seen = users::get(&mut db, id).await?.ok_or(NOT_FOUND)?;
    drop(db);
    // Hashing takes its time: before the transaction, and of what the caller said only.
    let hash = match changes.clone().onto(&seen)?.password {
        Some(password) => Some(passwords::hash(password).await?),
        None => None,
    };
    let mut tx = queue.begin().await?;
    let admins = users::lock_admins(&mut tx).await?;
    let current = users::get_locked(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    let fields = changes.onto(&current)?;
    if fields.role != UserRole::Admin {
        keep_an_admin(&admins, id)?;
    }
    users::update(&mut tx, id, &fields, hash.as_deref()).await?;
    if hash.is_some() {
        sessions::close_all_of(&mut tx, id).await?;
    }
    let user = users::get(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    tx.commit().await?;
    Ok(user)
}

pub async fn delete(queue: &queue::Client, id: UserId) -> Result<()> {
    let mut tx = queue.begin().await?;
    let admins = users::lock_admins(&mut tx).await?;
    keep_an_admin(&admins, id)?;
    if !users::delete(&mut tx, id).await? {
        return Err(NOT_FOUND);
    }
    Ok(tx.commit().await?)
}

fn keep_an_admin(admins: &[UserId], leaving: UserId) -> Result<()> {
    if admins == [leaving] {
        return Err(Error::Conflict("this is the last administrator: make another one first".into()));
    }
    Ok(())
}
