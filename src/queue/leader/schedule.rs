//! Jobs that start by the clock: each tick fires once, however many workers run.
//!
//! The schedule's row says which tick is next. Whoever fires holds that row, and a tick is a row of its own with
//! a unique key, written in the transaction that enqueues its job. Ticks that fall into a pause are passed over. What an
//! operator wants run now is enqueued, and the wish cleared, in one transaction, too.

use sqlx::PgPool;
use tracing::Instrument;

use super::ticks;
use crate::{
    queue::{
        client::{Client, Tx},
        insert::Enqueued,
        registry::Schedule,
    },
    trace,
};

/// Writes the schedules that the code names; a changed one starts anew.
pub(super) async fn register(pool: &PgPool, schedules: &[Schedule]) -> sqlx::Result<()> {
    for schedule in schedules {
        let now = sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(pool).await?;
        // A cron expression that never comes again fires never.
        let Some(next) = ticks::after(&schedule.cron, schedule.timing.zone, now).next() else { continue };
        sqlx::query!(
            "INSERT INTO schedules (name, cron, kind, next_at, time_zone, catch_up) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (name) DO UPDATE SET cron = excluded.cron, kind = excluded.kind, updated_at = now(),
                 time_zone = excluded.time_zone, catch_up = excluded.catch_up,
                 next_at = CASE WHEN schedules.cron = excluded.cron AND schedules.time_zone = excluded.time_zone
                                THEN schedules.next_at ELSE excluded.next_at END",
            schedule.name,
            schedule.cron.source(),
            schedule.kind,
            next,
            schedule.timing.zone.name(),
            schedule.timing.catch_up.as_str(),
        )
        .execute(pool)
        .await?;
    }
    Ok(())
}

/// Fires what is due.
pub(super) async fn fire(client: &Client, schedules: &[Schedule]) -> sqlx::Result<()> {
    let due = sqlx::query_scalar!(
        "SELECT name FROM schedules WHERE next_at <= now() OR run_requested_at IS NOT NULL"
    )
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
        r#"SELECT next_at, now() AS "now!", next_at <= now() AS "is_due!", paused_at IS NOT NULL AS "is_paused!",
                  run_requested_at IS NOT NULL AS "is_wanted!"
           FROM schedules WHERE name = $1 AND (next_at <= now() OR run_requested_at IS NOT NULL)
           FOR UPDATE SKIP LOCKED"#,
        schedule.name
    )
    .fetch_optional(&mut *tx)
    .await?
    else {
        return Ok(());
    };
    if due.is_wanted {
        let job = enqueue(schedule, &mut tx).await?;
        tracing::info!(schedule = schedule.name, job = job.id.0, "schedule fired at an operator's wish");
    }
    let (mut ticks, mut next) = (Vec::new(), Some(due.next_at));
    if due.is_due {
        (ticks, next) = ticks::due(&schedule.cron, schedule.timing, due.next_at, due.now);
        if due.is_paused {
            ticks.clear();
        }
    }
    let has_fired = due.is_wanted || !ticks.is_empty();
    for tick in ticks {
        let job = enqueue(schedule, &mut tx).await?;
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
        "UPDATE schedules SET next_at = coalesce($2::timestamptz, 'infinity'), updated_at = now(), run_requested_at = NULL,
                last_at = CASE WHEN $4 THEN $3 ELSE last_at END
         WHERE name = $1",
        schedule.name,
        next,
        due.now,
        has_fired,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Each job starts a trace, and all its attempts are in it.
async fn enqueue(schedule: &Schedule, tx: &mut Tx) -> sqlx::Result<Enqueued> {
    let span = tracing::info_span!(
        target: trace::TARGET,
        parent: None,
        "schedule",
        otel.name = %format_args!("schedule {}", schedule.name),
        otel.kind = "producer",
        messaging.system = "labelfleet",
        messaging.operation.name = "schedule",
        messaging.operation.type = "create",
        job.kind = schedule.kind,
    );
    (schedule.enqueue)(tx).instrument(span).await
}
