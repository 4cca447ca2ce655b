//! Settings: JSON values by key.

use super::{Error, Result};
use crate::{
    domain::{
        check::Checks,
        fields::{Fields, SettingFields},
        idle::{IDLE_HOURS, as_idle},
        monitoring::{ACCURACY_THRESHOLD, as_threshold},
    },
    queue,
    store::settings::{self, Setting},
};

/// Creates or updates the setting.
pub async fn put(queue: &queue::Client, key: &str, fields: &SettingFields) -> Result<Setting> {
    let mut checks = Checks::default();
    checks.text("key", key, 1..=200);
    let is_threshold = key != ACCURACY_THRESHOLD || as_threshold(&fields.value).is_some();
    checks.require("value", is_threshold, "must be a number from 0 to 1");
    if key == IDLE_HOURS
        && let Err(problem) = as_idle(&fields.value)
    {
        checks.require("value", false, problem);
    }
    checks.done().map_err(Error::Invalid)?;
    fields.check().map_err(Error::Invalid)?;
    let mut tx = queue.begin().await?;
    let setting = settings::put(&mut tx, key, fields).await?;
    tx.commit().await?;
    Ok(setting)
}
