//! When a batch counts as idle.

use std::time::Duration;

use serde_json::Value;

/// The setting's key. Its value is a number of hours, or null: never.
pub const IDLE_HOURS: &str = "assignments.idleHours";

/// Ten years.
const MOST_HOURS: f64 = 87_600.0;

/// After how long without an event a batch is taken back. `Ok(None)`: never. The error says what the value must be.
pub fn as_idle(value: &Value) -> Result<Option<Duration>, &'static str> {
    match value {
        Value::Null => Ok(None),
        value => value
            .as_f64()
            .filter(|hours| *hours > 0.0 && *hours <= MOST_HOURS)
            .map(|hours| Some(Duration::from_secs_f64(hours * 3600.0)))
            .ok_or("must be a number of hours above 0 and up to 87600, or null for never"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hours_become_a_time_and_nonsense_does_not() {
        assert_eq!(as_idle(&json!(1.5)), Ok(Some(Duration::from_secs(5400))));
        assert_eq!(as_idle(&json!(null)), Ok(None));
        for bad in [json!(0), json!(-1), json!("8"), json!(87_601), json!({}), json!(true)] {
            assert!(as_idle(&bad).is_err(), "{bad}");
        }
    }
}
