//! Settings: JSON values by key.

use super::{Error, Result};
use crate::{
    domain::{
        check::Checks,
        fields::{Fields, SettingFields},
    },
    queue,
    store::settings::{self, Setting},
};

/// Creates or updates the setting.
pub async fn put(queue: &queue::Client, key: &str, fields: &SettingFields) -> Result<Setting> {
    let mut checks = Checks::default();
    checks.text("key", key, 1..=200);
    checks.done().map_err(Error::Invalid)?;
    fields.check().map_err(Error::Invalid)?;
    let mut tx = queue.begin().await?;
    let setting = settings::put(&mut tx, key, fields).await?;
    tx.commit().await?;
    Ok(setting)
}
