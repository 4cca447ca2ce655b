//! The settings that mean something to us: here is the one list, with what may be set, in which unit, and what
//! holds while nothing is set. Any other key may be set too, and is kept for whoever reads it.

use std::ops::RangeInclusive;

use serde_json::Value;

/// A number that operators may set.
#[derive(Debug)]
pub struct Known {
    pub key: &'static str,
    /// What it decides, for people.
    pub what: &'static str,
    pub unit: &'static str,
    pub default: f64,
    pub range: RangeInclusive<f64>,
}

pub static ACCURACY_THRESHOLD: Known = Known {
    key: "quality.accuracyThreshold",
    what: "Annotators whose gold accuracy is lower are counted as below it by `GET /api/quality`",
    unit: "fraction",
    default: 0.7,
    range: 0.0..=1.0,
};

pub static IDLE_HOURS: Known = Known {
    key: "assignments.idleHours",
    what: "An assignment of which nothing was heard for so long is taken back; 0: never",
    unit: "hours",
    default: 0.0,
    range: 0.0..=87_600.0,
};

pub static KNOWN: [&Known; 2] = [&ACCURACY_THRESHOLD, &IDLE_HOURS];

/// The known setting of this key, if it is one.
pub fn known(key: &str) -> Option<&'static Known> {
    KNOWN.into_iter().find(|known| known.key == key)
}

impl Known {
    /// The number that this value means, null the default; none if it may not be set.
    pub fn parse(&self, value: &Value) -> Option<f64> {
        match value {
            Value::Null => Some(self.default),
            value => value.as_f64().filter(|number| self.range.contains(number)),
        }
    }

    /// What holds, given what is stored. A value from before it was known may be anything: the default holds.
    pub fn effective(&self, stored: Option<&Value>) -> f64 {
        stored.and_then(|value| self.parse(value)).unwrap_or(self.default)
    }

    /// What may be set, for people.
    pub fn wanted(&self) -> String {
        let (least, most) = (self.range.start(), self.range.end());
        format!("must be a number from {least} to {most} ({}), or null for {}", self.unit, self.default)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_may_be_set_and_keys_are_unique() {
        for setting in KNOWN {
            assert_eq!(setting.parse(&json!(setting.default)), Some(setting.default), "{}", setting.key);
            assert_eq!(KNOWN.iter().filter(|other| other.key == setting.key).count(), 1);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_means_the_default() {
        for bad in [json!(-0.1), json!(1.1), json!("0.5"), json!([]), json!(true)] {
            assert_eq!(ACCURACY_THRESHOLD.parse(&bad), None, "{bad}");
            assert_eq!(ACCURACY_THRESHOLD.effective(Some(&bad)), 0.7, "{bad}");
        }
        assert_eq!(ACCURACY_THRESHOLD.effective(Some(&json!(0.5))), 0.5);
        assert_eq!(ACCURACY_THRESHOLD.effective(None), 0.7);
        assert_eq!((IDLE_HOURS.parse(&json!(1.5)), IDLE_HOURS.parse(&json!(null))), (Some(1.5), Some(0.0)));
    }
}
