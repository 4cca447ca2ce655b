//! Settings: JSON values by key. Those that mean something to us are checked.

use super::{Error, Result};
use crate::{
    domain::{check::Checks, fields::SettingFields, settings::known},
    queue,
    store::settings::{self, Setting},
};

/// Creates or updates the setting.
pub async fn put(queue: &queue::Client, key: &str, fields: &SettingFields) -> Result<Setting> {
    let mut checks = Checks::default();
    checks.text("key", key, 1..=200);
    if let Some(known) = known(key) {
        checks.require("value", known.parse(&fields.value).is_some(), known.wanted());
    }
    checks.optional_text("description", fields.description.as_deref(), 0..=500);
    checks.done().map_err(Error::Invalid)?;
    let mut tx = queue.begin().await?;
    let setting = settings::put(&mut tx, key, fields).await?;
    tx.commit().await?;
    Ok(setting)
}
