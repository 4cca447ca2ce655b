//! Jobs that start by the clock: each tick fires once, however many workers run.
//!
//! The schedule's row says which tick is next. Whoever fires holds that row, and a tick is a row of its own with
//! a unique key, written in the transaction that enqueues its job.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::queue::{client::Client, registry::Schedule};

/// Ticks that were missed are made up for if they are no older than this, so that a change of leader loses
/// none; of older ones only the latest fires.
const CATCH_UP: Duration = Duration::from_secs(10);

/// Writes the schedules that the code names; a changed one starts anew.
pub(super) async fn register(pool: &PgPool, schedules: &[Schedule]) -> sqlx::Result<()> {
    for schedule in schedules {
        let now = sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(pool).await?;
        // A cron expression that never comes again fires never.
        let Some(next) = schedule.cron.after(&now).next() else { continue };
        sqlx::query!(
            "INSERT INTO schedules (name, cron, kind, next_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE SET cron = excluded.cron, kind = excluded.kind, updated_at = now(),
                 next_at = CASE WHEN schedules.cron = excluded.cron THEN schedules.next_at
                                ELSE excluded.next_at END",
            schedule.name,
            schedule.cron.source(),
            schedule.kind,
            next,
        )
        .execute(pool)
        .await?;
    }
    Ok(())
}

/// Fires what is due.
pub(super) async fn fire(client: &Client, schedules: &[Schedule]) -> sqlx::Result<()> {
    let due = sqlx::query_scalar!("SELECT name FROM schedules WHERE next_at <= now()")
        .fetch_all(client.pool())
        .await?;
    for schedule in schedules.iter().filter(|schedule| due.iter().any(|name| name == schedule.name)) {
        fire_one(client, schedule).await?;
    }
    Ok(())
}

async fn fire_one(client: &Client, schedule: &Schedule) -> sqlx::Result<()> {
    let mut tx = client.begin().await?;
    let Some(due) = sqlx::query!(
        r#"SELECT next_at, now() AS "now!" FROM schedules WHERE name = $1 AND next_at <= now()
           FOR UPDATE SKIP LOCKED"#,
        schedule.name
    )
    .fetch_optional(&mut *tx)
    .await?
    else {
        return Ok(());
    };
    let (ticks, next) = ticks(&schedule.cron, due.next_at, due.now);
    for tick in ticks {
        let job = (schedule.enqueue)(&mut tx).await?;
        let fired = sqlx::query!(
            "INSERT INTO schedule_ticks (schedule, tick, job_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            schedule.name,
            tick,
            job.id.0,
        )
        .execute(&mut *tx)
        .await?;
        if fired.rows_affected() == 0 {
            // Another fired it although this one holds the row: give way.
            return Ok(());
        }
        tracing::debug!(schedule = schedule.name, %tick, job = job.id.0, "schedule fired");
    }
    sqlx::query!(
        "UPDATE schedules SET next_at = coalesce($2::timestamptz, 'infinity'), last_at = $3, updated_at = now() WHERE name = $1",
        schedule.name,
        next,
        due.now,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// The ticks to fire at `now` when `first` is the first that did not, and the one after them.
fn ticks(
    cron: &cron::Schedule,
    first: DateTime<Utc>,
    now: DateTime<Utc>,
) -> (Vec<DateTime<Utc>>, Option<DateTime<Utc>>) {
    let since = now - CATCH_UP;
    let mut due = if first < since { Vec::new() } else { vec![first] };
    due.extend(cron.after(&first.max(since)).take_while(|tick| *tick <= now));
    if due.is_empty() {
        // Missed long ago: one run makes up for all.
        due.push(first);
    }
    (due, cron.after(&now).next())
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use chrono::TimeZone;

    use super::*;

    fn at(hour: u32, minute: u32, second: u32) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 3, 1, hour, minute, second).unwrap()
    }

    fn fired(
        cron: &str,
        first: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> (Vec<DateTime<Utc>>, Option<DateTime<Utc>>) {
        ticks(&cron::Schedule::from_str(cron).unwrap(), first, now)
    }

    #[test]
    fn a_tick_fires_once_and_the_next_follows() {
        assert_eq!(fired("0 * * * * *", at(1, 0, 0), at(1, 0, 0)), (vec![at(1, 0, 0)], Some(at(1, 1, 0))));
    }

    #[test]
    fn a_short_gap_is_made_up_for() {
        let (due, next) = fired("* * * * * *", at(1, 0, 0), at(1, 0, 3));
        assert_eq!(due, [at(1, 0, 0), at(1, 0, 1), at(1, 0, 2), at(1, 0, 3)]);
        assert_eq!(next, Some(at(1, 0, 4)));
    }

    #[test]
    fn a_long_gap_fires_once() {
        let (due, next) = fired("0 */5 * * * *", at(1, 0, 0), at(7, 3, 0));
        assert_eq!((due, next), (vec![at(1, 0, 0)], Some(at(7, 5, 0))));
    }
}
