//! What starts by the clock, and what operators tell it. The leader acts on it, within a second.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;

use crate::domain::time;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleView {
    pub name: String,
    /// Of the job that it enqueues.
    pub kind: String,
    /// Seconds, minutes, hours, days, months, weekdays.
    #[schema(example = "0 */5 * * * *")]
    pub cron: String,
    /// Whose clock the expression is of.
    #[schema(example = "UTC")]
    pub time_zone: String,
    /// What becomes of ticks that nobody fired in time: `skip` them, fire `once` for all, or fire `all`.
    #[schema(example = "once")]
    pub catch_up: String,
    #[serde(serialize_with = "time::optional_millis")]
    pub last_at: Option<DateTime<Utc>>,
    /// Null: never again.
    #[serde(serialize_with = "time::optional_millis")]
    pub next_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "time::optional_millis")]
    pub paused_at: Option<DateTime<Utc>>,
    /// It was asked to fire now and has not yet.
    #[serde(serialize_with = "time::optional_millis")]
    pub run_requested_at: Option<DateTime<Utc>>,
}

/// What an operator tells a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Fire once now, whatever the clock says.
    Run,
    Pause,
    Resume,
}

/// By name.
pub async fn list(pool: &PgPool) -> sqlx::Result<Vec<ScheduleView>> {
    sqlx::query_as!(
        ScheduleView,
        r#"SELECT name, kind, cron, time_zone, catch_up, last_at, nullif(next_at, 'infinity') AS next_at, paused_at,
                  run_requested_at
           FROM schedules ORDER BY name"#
    )
    .fetch_all(pool)
    .await
}

/// None: there is no such schedule. Doing it twice is doing it once.
pub async fn tell(pool: &PgPool, name: &str, order: Order) -> sqlx::Result<Option<ScheduleView>> {
    sqlx::query_as!(
        ScheduleView,
        r#"UPDATE schedules SET
               run_requested_at = CASE WHEN $2 THEN coalesce(run_requested_at, now()) ELSE run_requested_at END,
               paused_at = CASE WHEN $3 THEN coalesce(paused_at, now()) WHEN $4 THEN NULL ELSE paused_at END
           WHERE name = $1
           RETURNING name, kind, cron, time_zone, catch_up, last_at, nullif(next_at, 'infinity') AS next_at, paused_at,
                     run_requested_at"#,
        name,
        order == Order::Run,
        order == Order::Pause,
        order == Order::Resume,
    )
    .fetch_optional(pool)
    .await
}
