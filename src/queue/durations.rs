//! Durations as Postgres takes them.

use std::time::Duration;

use sqlx::postgres::types::PgInterval;

/// To the microsecond, which is what Postgres holds; longer than Postgres can count is its longest.
pub(super) fn interval(duration: Duration) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX) }
}

/// The same for a time that is added to now or taken from it: a thousand years stand for ever.
pub(super) fn span(duration: Duration) -> PgInterval {
    const EVER: Duration = Duration::from_secs(1_000 * 365 * 24 * 60 * 60);
    interval(duration.min(EVER))
}
