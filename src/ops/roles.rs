//! Roles: create, change, delete.

use super::{Error, Result, input::RoleChanges};
use crate::{
    domain::{
        RoleId,
        fields::{Fields, RoleFields},
    },
    queue,
    store::roles::{self, Role},
};

const NOT_FOUND: Error = Error::NotFound("Role");

pub async fn create(queue: &queue::Client, fields: &RoleFields) -> Result<Role> {
    fields.check().map_err(Error::Invalid)?;
    let mut tx = queue.begin().await?;
    let id = roles::insert(&mut tx, fields).await?;
    let role = roles::get(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    tx.commit().await?;
    Ok(role)
}

pub async fn update(queue: &queue::Client, id: RoleId, changes: RoleChanges) -> Result<Role> {
    let mut tx = queue.begin().await?;
    let current = roles::get_locked(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    roles::update(&mut tx, id, &changes.onto(&current)?).await?;
    let role = roles::get(&mut tx, id).await?.ok_or(NOT_FOUND)?;
    tx.commit().await?;
    Ok(role)
}

pub async fn delete(queue: &queue::Client, id: RoleId) -> Result<()> {
    let mut tx = queue.begin().await?;
    let deleted = roles::delete(&mut tx, id)
        .await
        .map_err(|error| Error::in_use(error, "Role is used by annotators or workflows"))?;
    if !deleted {
        return Err(NOT_FOUND);
    }
    Ok(tx.commit().await?)
}
