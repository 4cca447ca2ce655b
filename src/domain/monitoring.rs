//! How the figures of monitoring and quality are formed from what is counted.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};

/// When the day of `now` began, in UTC: the fleet has one day, wherever its annotators are.
pub fn day_start(now: DateTime<Utc>) -> DateTime<Utc> {
    now.date_naive().and_time(NaiveTime::MIN).and_utc()
}

/// When the hour of `now` began.
pub fn hour_start(now: DateTime<Utc>) -> DateTime<Utc> {
    now - TimeDelta::nanoseconds(now.timestamp_nanos_opt().unwrap_or_default().rem_euclid(3_600_000_000_000))
}

/// `4h 32m`; hours are not made days. A time that lies ahead (clocks differ) is none.
pub fn uptime(length: TimeDelta) -> String {
    let minutes = length.num_minutes().max(0);
    format!("{}h {}m", minutes / 60, minutes % 60)
}

/// `part / whole` in four digits; none of nothing.
pub fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| (part / whole * 10_000.0).round() / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_hours_begin_in_utc() {
        let now: DateTime<Utc> = "2026-04-06T23:59:59.999+00:00".parse().unwrap();
        assert_eq!(day_start(now).to_rfc3339(), "2026-04-06T00:00:00+00:00");
        assert_eq!(hour_start(now).to_rfc3339(), "2026-04-06T23:00:00+00:00");
        assert_eq!(hour_start(hour_start(now)), hour_start(now));
    }

    #[test]
    fn uptimes() {
        assert_eq!(uptime(TimeDelta::seconds(59)), "0h 0m");
        assert_eq!(uptime(TimeDelta::seconds(4 * 3600 + 32 * 60 + 59)), "4h 32m");
        assert_eq!(uptime(TimeDelta::hours(51)), "51h 0m");
        assert_eq!(uptime(TimeDelta::seconds(-90)), "0h 0m");
    }

    #[test]
    fn nothing_is_not_rated() {
        assert_eq!(ratio(0.0, 0.0), None);
        assert_eq!(ratio(0.0, 3.0), Some(0.0));
        assert_eq!(ratio(2.0, 3.0), Some(0.6667));
    }
}
